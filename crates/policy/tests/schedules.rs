//! Schedules beside a signal and instead of one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    clippy::unnecessary_wraps,
    reason = "tests; the numbers are exact"
)]

mod common;

use common::engines::*;
use common::*;
use rheostat_policy::{MetricType, Outcome};
use rheostat_reading::Timestamp;

fn on(text: &str) -> Timestamp {
    let at: jiff::Timestamp = text.parse().unwrap();
    Timestamp::from_unix_nanos(u64::try_from(at.as_nanosecond()).unwrap())
}

#[test]
fn a_schedule_bounds_the_size_under_both_metric_types() {
    let bounded = trigger(&[
        ("signal", "prometheus"),
        ("prometheus", "main"),
        ("query", "q"),
        ("target", "10"),
        ("staleAfter", "10m"),
        ("timezone", "Europe/Zurich"),
        (
            "schedule",
            "floor 3 from 0 8 * * mon-fri to 0 20 * * mon-fri\nceiling 4 from 0 20 * * * to 0 8 * * *; ceiling 0 from 0 0 * * 0 to 0 12 * * 0",
        ),
    ]);
    // Tuesday in summer, UTC+2.
    let (day, night, sunday) = (
        on("2026-07-14T06:00:00Z"),
        on("2026-07-14T18:00:00Z"),
        on("2026-07-12T05:00:00Z"),
    );
    let value = |now: Timestamp, number| {
        let mut reading = count(number);
        reading.as_mut().unwrap().at = now;
        vec![reading]
    };
    for metric_type in BOTH {
        let pods = times(6, &blind());
        let run = |now, demand| run_at(&bounded, metric_type, now, 6, &pods, &value(now, demand));
        assert_eq!(size(&bounded, &run(day, 10.0)), 3, "{metric_type}");
        assert_eq!(size(&bounded, &run(day, 90.0)), 9, "{metric_type}");
        assert_eq!(size(&bounded, &run(night, 90.0)), 4, "{metric_type}");
        assert_eq!(size(&bounded, &run(night, 10.0)), 1, "{metric_type}");
        let off = run(sunday, 90.0);
        assert!(
            matches!(off.outcome, Outcome::Known { active: false, .. }),
            "{metric_type}"
        );
    }
    // At zero and while blind a floor still adds, and never takes away.
    let starts = run_at(&bounded, MetricType::AverageValue, day, 0, &[], &[]);
    assert_eq!(starts.outcome, known(30.0, true));
    let blind_now = |replicas| run_at(&bounded, MetricType::AverageValue, day, replicas, &[], &[]).outcome;
    assert_eq!(blind_now(2), known(30.0, true));
    assert_eq!(blind_now(5), Outcome::Unknown);
    let at_night = run_at(&bounded, MetricType::AverageValue, night, 0, &[], &[]);
    assert_eq!(at_night.outcome, Outcome::AtZero);
    let text = run_at(
        &bounded,
        MetricType::AverageValue,
        night,
        6,
        &[],
        &value(night, 90.0),
    )
    .explain(&bounded)
    .to_string();
    assert!(
        text.contains("at most 4 replicas") && text.contains("in force: ceiling 4"),
        "{text}"
    );

    let alone = trigger(&[
        ("signal", "schedule"),
        ("schedule", "count 2 from 0 8 * * * to 0 20 * * *"),
    ]);
    let noon = on("2026-07-14T12:00:00Z");
    let evaluation = run_at(&alone, MetricType::AverageValue, noon, 0, &[], &[]);
    assert_eq!(evaluation.outcome, known(2.0, true));
    let late = run_at(
        &alone,
        MetricType::AverageValue,
        on("2026-07-14T20:00:00Z"),
        0,
        &[],
        &[],
    );
    assert_eq!(late.outcome, Outcome::AtZero);
}

#[test]
fn the_clock_of_a_schedule_never_goes_back() {
    let holds = |window: &str, at: &str| {
        let schedule = rheostat_policy::Schedule::parse(window, Some("Europe/Zurich")).unwrap();
        schedule.windows()[0].holds(on(at))
    };
    let usual = "floor 1 from 0 8 * * * to 0 20 * * *";
    for (at, expected) in [
        ("2026-01-14T06:59:59Z", false),
        ("2026-01-14T07:00:00Z", true),
        ("2026-01-14T18:59:59Z", true),
        ("2026-01-14T19:00:00Z", false),
        ("2026-07-14T06:00:00Z", true),
        ("2026-07-14T18:00:00Z", false),
    ] {
        assert_eq!(holds(usual, at), expected, "{at}");
    }
    // 29 March 2026: 2:00 becomes 3:00 at 1:00 UTC. What lies in between does not come.
    let skipped = "floor 1 from 30 2 * * * to 50 2 * * *";
    let across = "floor 1 from 30 2 * * * to 0 6 * * *";
    for minute in ["00:59", "01:00", "01:30", "02:00"] {
        assert!(!holds(skipped, &format!("2026-03-29T{minute}:00Z")), "{minute}");
    }
    assert!(!holds(across, "2026-03-29T00:59:59Z"));
    assert!(holds(across, "2026-03-29T01:00:00Z"));
    // 25 October 2026: 3:00 becomes 2:00 at 1:00 UTC. Nothing comes twice.
    let early = "floor 1 from 0 1 * * * to 30 2 * * *";
    assert!(holds(early, "2026-10-25T00:29:59Z"));
    for minute in ["00:30", "00:59", "01:00", "01:10", "01:45", "02:00"] {
        assert!(!holds(early, &format!("2026-10-25T{minute}:00Z")), "{minute}");
        assert!(holds(across, &format!("2026-10-25T{minute}:00Z")), "{minute}");
    }
}
