//! Owns a worker's clock: the `date` header is written once a second, not once a request.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use rustix::time::{ClockId, clock_gettime};

use crate::codec::Known;

/// Length of an IMF-fixdate such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
const DATE_BYTES: usize = 29;

/// Names of the days of a week.
const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Names of the months.
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// 1970-01-01 was a Thursday.
const FIRST_WEEKDAY: u64 = 4;

/// The clock of one worker.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    shared: Rc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    second: Cell<i64>,
    line: RefCell<Box<[u8]>>,
}

// === impl Clock ===

impl Clock {
    /// Calls `use_it` with the whole line of the `date` header at this moment.
    pub fn with_date_line<T>(&self, use_it: impl FnOnce(&[u8]) -> T) -> T {
        // A second is told as well by the clock that ticks every few milliseconds, for half the price.
        let now = clock_gettime(ClockId::RealtimeCoarse).tv_sec;
        if self.shared.second.get() != now {
            let date = imf_fixdate(u64::try_from(now).unwrap_or(0));
            *self.shared.line.borrow_mut() = Known::Date.line(&date);
            self.shared.second.set(now);
        }
        use_it(&self.shared.line.borrow())
    }
}

/// Writes a unix time as an IMF-fixdate.
fn imf_fixdate(unix: u64) -> [u8; DATE_BYTES] {
    let (days, seconds) = (unix / 86_400, unix % 86_400);
    let (year, month, day) = civil(days);
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    out[..3].copy_from_slice(&weekday_name(weekday(days)).as_bytes()[..3]);
    two(&mut out, 5, day);
    out[8..11].copy_from_slice(&month_name(month).as_bytes()[..3]);
    two(&mut out, 12, year / 100);
    two(&mut out, 14, year % 100);
    two(&mut out, 17, seconds / 3_600);
    two(&mut out, 20, seconds / 60 % 60);
    two(&mut out, 23, seconds % 60);
    out
}

fn two(out: &mut [u8; DATE_BYTES], at: usize, value: u64) {
    out[at] = b'0' + (value / 10 % 10) as u8;
    out[at + 1] = b'0' + (value % 10) as u8;
}

/// The weekday of a day since 1970-01-01, from 0, Sunday.
pub fn weekday(days: u64) -> u64 {
    (days + FIRST_WEEKDAY) % 7
}

/// The name of a weekday, from 0, Sunday.
pub fn weekday_name(weekday: u64) -> &'static str {
    WEEKDAYS[(weekday % 7) as usize]
}

/// The name of a month, from 1.
pub fn month_name(month: u64) -> &'static str {
    MONTHS[(month.clamp(1, 12) - 1) as usize]
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar. Years are counted from
/// March, so that the leap day is the last of its year.
pub fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_rfc_9110_says() {
        for (unix, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_510_800, "Tue, 24 Nov 2026 09:00:00 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&imf_fixdate(unix)).unwrap(), text);
        }
    }
}
