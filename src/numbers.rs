//! Owns how numbers with a fraction are printed: C's `%g`, or the shortest form that reads back the same.

/// Six digits, as C's `%g`.
pub(crate) fn general(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { "nan".to_owned() };
    }
    let (digits, exponent) = parts(&format!("{value:.5e}"));
    match exponent {
        -4..6 => trimmed(format!("{value:.*}", (5 - exponent) as usize)),
        _ => scientific(&trimmed(digits), exponent),
    }
}

/// The fewest characters that read back as the same number; `3e+05`, but `10000`.
pub(crate) fn shortest(value: f64) -> String {
    let plain = format!("{value}");
    let (digits, exponent) = parts(&format!("{value:e}"));
    let short = scientific(&digits, exponent);
    if short.len() < plain.len() { short } else { plain }
}

/// The fewest digits that read back as the same number, without an exponent.
pub(crate) fn plain(value: f64) -> String {
    if value.is_nan() { "nan".to_owned() } else { value.to_string() }
}

/// 32 digits, as Envoy writes numbers for Prometheus: all there are of a double.
pub(crate) fn whole(value: f64) -> String {
    const DIGITS: i32 = 32;
    if !value.is_finite() || value == 0.0 {
        return general(value);
    }
    let before = value.abs().log10().floor() as i32 + 1;
    trimmed(format!("{value:.*}", usize::try_from(DIGITS - before).unwrap_or(0)))
}

/// Takes `1.5e-3` apart.
fn parts(text: &str) -> (String, i32) {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (digits.to_owned(), exponent.parse().unwrap_or(0))
}

fn trimmed(text: String) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn scientific(digits: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_envoy_prints_them() {
        for (value, text) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (1.025, "1.025"),
            (99.9, "99.9"),
            (600_000.0, "600000"),
            (1_800_000.0, "1.8e+06"),
            (3_600_000.0, "3.6e+06"),
            (123_456.789, "123457"),
            (0.000_012_3, "1.23e-05"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(general(value), text);
        }
        for (value, text) in [
            (0.0, "0"),
            (60.5, "60.5"),
            (600_000.0, "600000"),
            (31.333_333_333_333_332, "31.333333333333332149095440399833"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(whole(value), text);
        }
        assert_eq!(
            (plain(31.333_333_333_333_332), plain(f64::NAN)),
            ("31.333333333333332".to_owned(), "nan".to_owned())
        );
        for (value, text) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (10_000.0, "10000"),
            (300_000.0, "3e+05"),
            (1_800_000.0, "1800000"),
            (1.025, "1.025"),
        ] {
            assert_eq!(shortest(value), text);
        }
    }
}
