//! Whole pages in both formats, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;
use rheostat_promtext::{EncodeError, Encoder, Format, Histogram, HistogramSnapshot, Kind};

fn page(format: Format) -> String {
    let mut page = Encoder::new(format);
    page.family("rheostat_build_info", Kind::Info, "", "What was built.")
        .unwrap()
        .info(&[("version", "0.1.0"), ("commit", "abc")])
        .unwrap();
    let mut power = page
        .family(
            "rheostat_gpu_power_watts",
            Kind::Gauge,
            "watts",
            "Power \"drawn\".\nA \\ B",
        )
        .unwrap();
    power
        .sample(&[("gpu_uuid", "GPU-1"), ("node", "a\"b\\c\nd")], 312.5)
        .unwrap();
    power.sample(&[("gpu_uuid", "GPU-2")], 70.0).unwrap();
    page.family(
        "rheostat_gpu_energy_joules_total",
        Kind::Counter,
        "joules",
        "Energy used.",
    )
    .unwrap()
    .sample(&[], 1e21)
    .unwrap();
    page.family(
        "rheostat_nothing_known",
        Kind::Gauge,
        "",
        "A family without samples.",
    )
    .unwrap();
    let wait = Histogram::new(&[0.1, 1.0]).unwrap();
    for seconds in [0.05, 0.5, 0.5, 30.0] {
        wait.observe(seconds);
    }
    let mut family = page
        .family(
            "rheostat_wait_seconds",
            Kind::Histogram,
            "seconds",
            "Time waited.",
        )
        .unwrap();
    family.histogram(&[("kind", "a")], &wait.snapshot()).unwrap();
    family
        .histogram(&[], &Histogram::new(&[]).unwrap().snapshot())
        .unwrap();
    page.finish()
}

#[test]
fn prometheus_page() {
    assert_eq!(
        page(Format::Prometheus),
        r#"# HELP rheostat_build_info What was built.
# TYPE rheostat_build_info gauge
rheostat_build_info{commit="abc",version="0.1.0"} 1
# HELP rheostat_gpu_power_watts Power "drawn".\nA \\ B
# TYPE rheostat_gpu_power_watts gauge
rheostat_gpu_power_watts{gpu_uuid="GPU-1",node="a\"b\\c\nd"} 312.5
rheostat_gpu_power_watts{gpu_uuid="GPU-2"} 70
# HELP rheostat_gpu_energy_joules_total Energy used.
# TYPE rheostat_gpu_energy_joules_total counter
rheostat_gpu_energy_joules_total 1e21
# HELP rheostat_nothing_known A family without samples.
# TYPE rheostat_nothing_known gauge
# HELP rheostat_wait_seconds Time waited.
# TYPE rheostat_wait_seconds histogram
rheostat_wait_seconds_bucket{kind="a",le="0.1"} 1
rheostat_wait_seconds_bucket{kind="a",le="1"} 3
rheostat_wait_seconds_bucket{kind="a",le="+Inf"} 4
rheostat_wait_seconds_sum{kind="a"} 31.05
rheostat_wait_seconds_count{kind="a"} 4
rheostat_wait_seconds_bucket{le="+Inf"} 0
rheostat_wait_seconds_sum 0
rheostat_wait_seconds_count 0
"#
    );
}

#[test]
fn open_metrics_page() {
    assert_eq!(
        page(Format::OpenMetrics),
        r#"# HELP rheostat_build What was built.
# TYPE rheostat_build info
rheostat_build_info{commit="abc",version="0.1.0"} 1
# HELP rheostat_gpu_power_watts Power \"drawn\".\nA \\ B
# TYPE rheostat_gpu_power_watts gauge
# UNIT rheostat_gpu_power_watts watts
rheostat_gpu_power_watts{gpu_uuid="GPU-1",node="a\"b\\c\nd"} 312.5
rheostat_gpu_power_watts{gpu_uuid="GPU-2"} 70
# HELP rheostat_gpu_energy_joules Energy used.
# TYPE rheostat_gpu_energy_joules counter
# UNIT rheostat_gpu_energy_joules joules
rheostat_gpu_energy_joules_total 1e21
# HELP rheostat_nothing_known A family without samples.
# TYPE rheostat_nothing_known gauge
# HELP rheostat_wait_seconds Time waited.
# TYPE rheostat_wait_seconds histogram
# UNIT rheostat_wait_seconds seconds
rheostat_wait_seconds_bucket{kind="a",le="0.1"} 1
rheostat_wait_seconds_bucket{kind="a",le="1.0"} 3
rheostat_wait_seconds_bucket{kind="a",le="+Inf"} 4
rheostat_wait_seconds_sum{kind="a"} 31.05
rheostat_wait_seconds_count{kind="a"} 4
rheostat_wait_seconds_bucket{le="+Inf"} 0
rheostat_wait_seconds_sum 0
rheostat_wait_seconds_count 0
# EOF
"#
    );
}

#[test]
fn names_that_break_the_rules_are_refused() {
    let refused = |name: &str, kind, unit: &str| {
        let mut page = Encoder::new(Format::Prometheus);
        let error = page.family(name, kind, unit, "Help.").map(drop).unwrap_err();
        assert_eq!(page.finish(), "", "{name} left something on the page");
        error
    };
    for name in ["", "1up", "a-b", "ä", "a b", "a{b"] {
        assert_eq!(
            refused(name, Kind::Gauge, ""),
            EncodeError::FamilyName { family: name.into() }
        );
    }
    for (name, kind) in [
        ("requests", Kind::Counter),
        ("_total", Kind::Counter),
        ("requests_info_total", Kind::Counter),
        ("build", Kind::Info),
        ("queue_total", Kind::Gauge),
        ("queue_count", Kind::Gauge),
        ("wait_seconds_sum", Kind::Histogram),
    ] {
        assert!(
            matches!(refused(name, kind, ""), EncodeError::Suffix { .. }),
            "{name}"
        );
    }
    for (name, kind, unit) in [
        ("wait", Kind::Histogram, "seconds"),
        ("seconds", Kind::Gauge, "seconds"),
        ("waitseconds", Kind::Gauge, "seconds"),
        ("energy_total", Kind::Counter, "joules"),
        ("build_info", Kind::Info, "info"),
    ] {
        assert!(
            matches!(refused(name, kind, unit), EncodeError::Unit { .. }),
            "{name}"
        );
    }
    let mut page = Encoder::new(Format::Prometheus);
    assert_eq!(
        page.family("up", Kind::Gauge, "", " ").unwrap_err(),
        EncodeError::NoHelp { family: "up".into() }
    );
}

#[test]
fn a_family_is_on_a_page_once() {
    let mut page = Encoder::new(Format::Prometheus);
    page.family("wait_seconds", Kind::Histogram, "seconds", "Help.")
        .unwrap();
    page.family("requests_total", Kind::Counter, "", "Help.").unwrap();
    page.family("node_info", Kind::Info, "", "Help.").unwrap();
    for (name, kind) in [
        ("wait_seconds", Kind::Gauge),
        ("requests_total", Kind::Counter),
        // In OpenMetrics these would be described twice.
        ("requests", Kind::Gauge),
        ("node", Kind::Histogram),
    ] {
        assert!(
            matches!(
                page.family(name, kind, "", "Help."),
                Err(EncodeError::DuplicateFamily { .. })
            ),
            "{name}"
        );
    }
    page.family("other", Kind::Gauge, "", "Help.").unwrap();
}

#[test]
fn samples_that_break_the_rules_leave_no_trace() {
    let mut page = Encoder::new(Format::Prometheus);
    let mut gauge = page.family("queue", Kind::Gauge, "", "Help.").unwrap();
    for label in ["", "1a", "__name__", "a-b", "a:b", "ü"] {
        assert_eq!(
            gauge.sample(&[(label, "x")], 1.0),
            Err(EncodeError::LabelName {
                family: "queue".into(),
                label: label.into()
            })
        );
    }
    assert!(matches!(
        gauge.sample(&[("a", "1"), ("a", "2")], 1.0),
        Err(EncodeError::DuplicateLabel { .. })
    ));
    gauge.sample(&[("a", "1"), ("b", "2")], 1.0).unwrap();
    assert!(matches!(
        gauge.sample(&[("b", "2"), ("a", "1")], 1.0),
        Err(EncodeError::DuplicateSample { .. })
    ));
    let none = HistogramSnapshot {
        bounds: vec![],
        counts: vec![0],
        sum: 0.0,
    };
    assert!(matches!(
        gauge.histogram(&[], &none),
        Err(EncodeError::WrongKind { .. })
    ));
    assert!(matches!(gauge.info(&[]), Err(EncodeError::WrongKind { .. })));

    let mut counter = page.family("requests_total", Kind::Counter, "", "Help.").unwrap();
    for value in [-1.0, f64::NAN] {
        assert!(matches!(
            counter.sample(&[], value),
            Err(EncodeError::Value { .. })
        ));
    }
    let mut info = page.family("node_info", Kind::Info, "", "Help.").unwrap();
    assert!(matches!(info.sample(&[], 2.0), Err(EncodeError::Value { .. })));

    let mut wait = page.family("wait", Kind::Histogram, "", "Help.").unwrap();
    assert!(matches!(
        wait.sample(&[], 1.0),
        Err(EncodeError::WrongKind { .. })
    ));
    assert!(matches!(
        wait.histogram(&[("le", "1")], &none),
        Err(EncodeError::ReservedLabel { .. })
    ));
    for (bounds, counts) in [
        (vec![1.0], vec![1]),
        (vec![2.0, 1.0], vec![0, 0, 0]),
        (vec![f64::NAN], vec![0, 0]),
    ] {
        let malformed = HistogramSnapshot {
            bounds,
            counts,
            sum: 0.0,
        };
        assert!(matches!(
            wait.histogram(&[], &malformed),
            Err(EncodeError::Bounds { .. })
        ));
    }
    let text = page.finish();
    let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(samples, [r#"queue{a="1",b="2"} 1"#]);
}

#[test]
fn numbers_are_short_and_spelled_as_the_formats_want() {
    for (value, text) in [
        (0.0, "0"),
        (-0.5, "-0.5"),
        (0.1 + 0.2, "0.30000000000000004"),
        (85_899_345_920.0, "85899345920"),
        (1e300, "1e300"),
        (5e-324, "5e-324"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
        (f64::NAN, "NaN"),
    ] {
        let mut page = Encoder::new(Format::OpenMetrics);
        page.family("x", Kind::Gauge, "", "Help.")
            .unwrap()
            .sample(&[], value)
            .unwrap();
        assert!(page.finish().contains(&format!("\nx {text}\n")), "{value}");
    }
}

/// Reads one sample line back: labels and value. Knows only what the encoder may write.
fn read_sample(line: &str) -> (Vec<(String, String)>, f64) {
    let mut rest = line
        .strip_prefix("x{")
        .expect("the name and an open brace")
        .chars();
    let mut labels = Vec::new();
    loop {
        let name: String = rest.by_ref().take_while(|character| *character != '=').collect();
        assert_eq!(rest.next(), Some('"'));
        let mut value = String::new();
        loop {
            match rest.next().expect("a closing quote") {
                '"' => break,
                '\\' => value.push(match rest.next() {
                    Some('n') => '\n',
                    Some(escaped @ ('\\' | '"')) => escaped,
                    other => panic!("escaped {other:?}"),
                }),
                character => value.push(character),
            }
        }
        labels.push((name, value));
        match rest.next() {
            Some(',') => {}
            Some('}') => break,
            other => panic!("{other:?} after a label"),
        }
    }
    let value = rest.as_str().strip_prefix(' ').expect("a space before the value");
    (labels, value.parse().expect("a number"))
}

proptest! {
    #[test]
    fn labels_and_values_read_back(
        labels in prop::collection::btree_map("[a-zA-Z][a-zA-Z0-9_]{0,8}", any::<String>(), 1..5),
        value in any::<f64>(),
        open_metrics in any::<bool>(),
    ) {
        let format = if open_metrics { Format::OpenMetrics } else { Format::Prometheus };
        let given: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut page = Encoder::new(format);
        page.family("x", Kind::Gauge, "", "Help.").unwrap().sample(&given, value).unwrap();
        let text = page.finish();
        let samples: Vec<&str> = text.split('\n').filter(|line| line.starts_with('x')).collect();
        prop_assert_eq!(samples.len(), 1);
        let (read_labels, read_value) = read_sample(samples[0]);
        prop_assert_eq!(read_labels, labels.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(read_value.is_nan(), value.is_nan());
        if !value.is_nan() {
            prop_assert_eq!(read_value.to_bits(), value.to_bits());
        }
    }

    #[test]
    fn help_stays_on_its_line(help in any::<String>()) {
        let mut page = Encoder::new(Format::Prometheus);
        let begun = page.family("x", Kind::Gauge, "", &help).map(drop);
        prop_assert_eq!(begun.is_err(), help.trim().is_empty());
        let expected = if begun.is_ok() { 3 } else { 1 };
        prop_assert_eq!(page.finish().split('\n').count(), expected);
    }
}
