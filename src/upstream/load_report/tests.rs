//! Owns the tests of load reports.

use super::*;

/// Source: cases that were held against Envoy 1.40, whose `/clusters` shows the weights.
#[test]
fn reports_are_worth_what_they_are_worth_in_envoy() {
    let worth = |penalty, metrics: &[&str]| Worth {
        error_penalty: penalty,
        metrics: metrics.iter().filter_map(|name| Metric::read(name)).collect(),
    };
    let plain = worth(0.0, &["foo"]);
    let penalty = worth(3.0, &[]);
    let foo = worth(0.0, &["named_metrics.foo"]);
    let star = worth(0.0, &["named_metrics.*", "mem_utilization"]);
    let util = worth(0.0, &["utilization.u", "request_cost.*"]);
    let all = [&plain, &penalty, &foo, &star, &util];
    let none = [0; 5];
    for (value, expected) in [
        ("TEXT cpu_utilization=0.5,rps_fractional=100", [200; 5]),
        ("BIN CQAAAAAAAOA/MQAAAAAAAFlA", [200; 5]),
        ("BIN CZqZmZmZmdk/MQAAAAAAAF5AQg4KA2ZvbxGamZmZmZnpPw==", [300, 300, 150, 150, 300]),
        (
            r#"JSON {"application_utilization":0.1,"cpu_utilization":0.5,"rps_fractional":100}"#,
            [1000; 5],
        ),
        ("TEXT cpu_utilization=0.5,rps_fractional=100,eps=50", [200, 50, 200, 200, 200]),
        ("TEXT cpu_utilization=0.5", none),
        ("TEXT rps_fractional=100", none),
        ("TEXT cpu_utilization=0.5,rps_fractional=90,nonsense=1", none),
        ("TEXT cpu_utilization=0.5,cpu_utilization=0.6,rps_fractional=80", none),
        (
            "TEXT cpu_utilization=0.5,rps_fractional=70,named_metrics.foo=0.7",
            [140, 140, 100, 100, 140],
        ),
        (
            "TEXT cpu_utilization=0.5,rps_fractional=70,named_metrics.bar=0.35",
            [140, 140, 140, 200, 140],
        ),
        ("TEXT cpu_utilization:0.5,rps_fractional:60", [120; 5]),
        ("cpu_utilization=0.5,rps_fractional=50", none),
        ("text cpu_utilization=0.5,rps_fractional=40", none),
        (r#"JSON {"cpuUtilization":0.5,"rpsFractional":30}"#, [60; 5]),
        (r#"JSON {"cpu_utilization":0.5,"rps_fractional":20,"bogus":3}"#, none),
        ("TEXT  cpu_utilization = 0.5 , rps_fractional = 35 ", none),
        ("TEXT cpu_utilization=0.5,rps_fractional=36,mem_utilization=0.9", [72, 72, 72, 40, 72]),
        ("TEXT cpu_utilization=0.5,rps=37", none),
        ("TEXT cpu_utilization=0.5,rps_fractional=38,utilization.foo=0.9", [76; 5]),
        ("TEXT cpu_utilization=0.5,rps_fractional=39,request_cost.foo=0.9", none),
        ("TEXT cpu_utilization=0.5, rps_fractional=41,", [82; 5]),
        ("TEXT ,cpu_utilization=0.5,rps_fractional=42", [84; 5]),
        ("TEXT cpu_utilization=abc,rps_fractional=43", none),
        ("TEXT cpu_utilization=-0.5,rps_fractional=44", none),
        ("TEXT cpu_utilization=nan,rps_fractional=45", none),
        ("TEXT cpu_utilization=0.0000001,rps_fractional=1e12", [u32::MAX; 5]),
        ("TEXT cpu_utilization=1e999,rps_fractional=49", none),
        ("TEXT cpu_utilization=,rps_fractional=51", none),
        ("TEXT cpu_utilization=0.5=3,rps_fractional=52", none),
        ("TEXT cpu_utilization=0.5,rps_fractional=49,named_metrics.=0.7", none),
        ("BIN !!!", none),
        ("", none),
        (
            r#"JSON {"cpu_utilization":0.5,"rps_fractional":53,"named_metrics":{"foo":0.25},
               "utilization":{"u":0.1},"request_cost":{"r":0.05}}"#,
            [106, 106, 212, 212, 530],
        ),
    ] {
        let mut headers = HeaderBlock::default();
        headers.append_name(b"endpoint-load-metrics", value.as_bytes());
        let report = read::report(&headers);
        let weight = |worth: &&Worth| report.as_ref().and_then(|report| worth.weight(report));
        assert_eq!(all.each_ref().map(|worth| weight(worth).unwrap_or(0)), expected, "{value}");
    }
}

#[test]
fn the_binary_header_goes_before_the_other_and_the_first_of_several_counts() {
    let text = |weight| format!("TEXT cpu_utilization=0.5,rps_fractional={weight}");
    let mut headers = HeaderBlock::default();
    headers.append_name(b"endpoint-load-metrics", text(47).as_bytes());
    headers.append_name(b"endpoint-load-metrics", text(48).as_bytes());
    let weight = |headers: &HeaderBlock| Worth::default().weight(&read::report(headers).unwrap());
    assert_eq!(weight(&headers), Some(94));
    headers.append_name(b"endpoint-load-metrics-bin", b"CQAAAAAAAOA/MQAAAAAAAFlA");
    assert_eq!(weight(&headers), Some(200));
}

#[test]
fn a_report_with_something_that_is_no_number_is_none() {
    for value in [
        "BIN CQAAAAAAAPh/MQAAAAAAAFlA",
        "BIN CQAAAAAAAPB/MQAAAAAAAFlA",
        "TEXT cpu_utilization=nan,rps_fractional=100",
    ] {
        let mut headers = HeaderBlock::default();
        headers.append_name(b"endpoint-load-metrics", value.as_bytes());
        assert!(read::report(&headers).is_none(), "{value}");
    }
}

#[test]
fn no_bytes_are_too_odd_to_be_read() {
    for length in 0..64 {
        let bytes: Vec<u8> = (0..length).map(|at: u32| (at * 73 + length * 31) as u8).collect();
        let mut headers = HeaderBlock::default();
        let value = crate::base64::write(&bytes);
        headers.append_name(b"endpoint-load-metrics-bin", value.as_bytes());
        let _ = read::report(&headers);
    }
}
