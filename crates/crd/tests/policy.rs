//! What policies mean, and why some mean nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use rheostat_crd::{Policy, Surroundings};
use rheostat_reading::{Ratio, Timestamp, Watts};
use rheostat_sizing::{
    Amount, Budget, Change, Intent, Limits, Objective, Part, Period, RateLimit, ReplicaShape, Role, Slo,
    WhenReached,
};
use serde_json::{Value, json};

const SURROUNDINGS: Surroundings = Surroundings {
    min_replicas: 1,
    max_replicas: 20,
    cooldown_period: Duration::from_secs(300),
    gpus_per_pod: None,
};

fn policy(yaml: &str) -> Policy {
    Policy::read(&serde_saphyr::from_str::<Value>(yaml).unwrap()).unwrap()
}

fn intent(yaml: &str) -> Intent {
    policy(yaml).intent(&SURROUNDINGS)
}

#[test]
fn one_line_is_a_policy_and_the_rest_has_defaults() {
    let expected = Intent {
        objective: Objective::Slo(Slo {
            ttft: Some(Duration::from_secs(2)),
            itl: None,
            e2e: None,
            attainment: Ratio(0.99),
        }),
        min_replicas: 1,
        max_replicas: 20,
        cold_start: Duration::from_secs(180),
        scale_to_zero_after: None,
        headroom: 0,
        limits: Limits::default(),
        replica: ReplicaShape {
            gpus: 1.0,
            price_per_gpu_hour: None,
            parameters: None,
        },
        role: None,
    };
    assert_eq!(intent("slo: {ttft: 2s}"), expected);
    assert_eq!(intent("concurrency: 32").objective, Objective::Concurrency(32.0));
    assert_eq!(
        intent("utilization: 70%").objective,
        Objective::Utilization(Ratio(0.7))
    );
}

#[test]
fn every_key_has_its_meaning() {
    let found = policy(
        "
        slo: {itl: 100ms, e2e: 30s, attainment: 99.5%}
        replicas: {min: 0, max: 16, headroom: 2, scaleToZeroAfter: 10m}
        coldStart: slow
        limits:
          up: [{replicas: 4, within: 1m}]
          down: [{percent: 50%, within: 5m}]
          maxUnready: 3
          budgets:
            - {gpuHours: 100, per: day, whenReached: fall, fallTo: 1}
            - {money: 500, per: month}
          power: 3kW
        gpu: {perReplica: 2, pricePerHour: 3.5}
        model: {parameters: 8B}
        pool: {name: main, gpus: 16, priority: 10}
        role: {part: decode, partner: chat-prefill, prefillPerDecode: 0.5}
        ",
    );
    let intent = found.intent(&Surroundings {
        min_replicas: 0,
        ..SURROUNDINGS
    });
    assert_eq!(
        (intent.min_replicas, intent.max_replicas, intent.headroom),
        (0, 16, 2)
    );
    assert_eq!(
        intent.scale_to_zero_after,
        Some(Duration::from_secs(300)),
        "KEDA waits another five minutes"
    );
    assert_eq!(intent.cold_start, Duration::from_secs(600));
    assert_eq!(
        intent.limits,
        Limits {
            up: vec![RateLimit {
                change: Change::Replicas(4),
                within: Duration::from_secs(60)
            }],
            down: vec![RateLimit {
                change: Change::Part(Ratio(0.5)),
                within: Duration::from_secs(300)
            }],
            max_unready: Some(3),
            budgets: vec![
                Budget {
                    amount: Amount::GpuHours(100.0),
                    per: Period::Day,
                    when_reached: WhenReached::Fall(1)
                },
                Budget {
                    amount: Amount::Money(500.0),
                    per: Period::Month,
                    when_reached: WhenReached::Freeze
                },
            ],
            power: Some(Watts(3000.0)),
        }
    );
    assert_eq!(
        intent.replica,
        ReplicaShape {
            gpus: 2.0,
            price_per_gpu_hour: Some(3.5),
            parameters: Some(8e9),
        }
    );
    assert_eq!(
        intent.role,
        Some(Role {
            part: Part::Decode,
            prefill_per_decode: Some(0.5)
        })
    );
    assert_eq!(found.partner(), Some("chat-prefill"));
    let pool = found.pool().unwrap();
    assert_eq!((pool.name.as_str(), pool.priority), ("main", 10));
    assert!((pool.gpus - 16.0).abs() < 1e-9 && (pool.weight - 1.0).abs() < 1e-9);
}

#[test]
fn the_bounds_of_the_scaled_object_hold_too() {
    let wide = intent("{concurrency: 8, replicas: {min: 0, max: 100}}");
    assert_eq!((wide.min_replicas, wide.max_replicas), (1, 20));
    assert_eq!(wide.scale_to_zero_after, None, "the ScaledObject keeps one");
    let narrow = intent("{concurrency: 8, replicas: {min: 4, max: 6}}");
    assert_eq!((narrow.min_replicas, narrow.max_replicas), (4, 6));
    let low = intent("{concurrency: 8, replicas: {max: 6}}");
    assert_eq!((low.min_replicas, low.max_replicas), (1, 6));
}

#[test]
fn the_pods_say_how_many_gpus_a_replica_holds_where_the_policy_does_not() {
    let of_pods = Surroundings {
        gpus_per_pod: Some(4.0),
        ..SURROUNDINGS
    };
    let gpus = |yaml: &str| policy(yaml).intent(&of_pods).replica.gpus;
    assert!((gpus("concurrency: 8") - 4.0).abs() < 1e-9);
    assert!((gpus("{concurrency: 8, gpu: {perReplica: 8}}") - 8.0).abs() < 1e-9);
}

#[test]
fn a_schedule_has_floors_ceilings_and_blackouts_in_its_zone() {
    let found = policy(
        "
        concurrency: 8
        timeZone: Europe/Zurich
        schedule:
          - floor 3 from 0 8 * * * to 0 20 * * *
          - ceiling 5 from 0 12 * * * to 0 13 * * *
          - blackout from 0 6 * * * to 0 7 * * * in UTC
        ",
    );
    // 1970-01-01 in Zurich is an hour ahead of UTC.
    let at = |hour: u64, minute: u64| {
        let schedule = found.schedule_at(Timestamp::from_unix_nanos(
            (hour * 3600 + minute * 60) * 1_000_000_000,
        ));
        (schedule.floor, schedule.ceiling, schedule.frozen)
    };
    assert_eq!(at(6, 59), (None, None, true));
    assert_eq!(at(7, 0), (Some(3), None, false));
    assert_eq!(at(11, 30), (Some(3), Some(5), false));
    assert_eq!(at(19, 0), (None, None, false));
}

#[test]
fn what_means_nothing_is_told_with_key_value_and_what_is_allowed() {
    for (yaml, parts) in [
        ("{}", vec!["slo, concurrency or utilization is missing"]),
        (
            "{concurrency: 8, utilization: 70%}",
            vec!["spec.concurrency and spec.utilization"],
        ),
        ("slo: {}", vec!["slo.ttft, slo.itl or slo.e2e is missing"]),
        ("slo: {ttft: 2}", vec!["spec:", "2"]),
        ("slo: {ttft: 2d}", vec!["spec.slo.ttft is \"2d\"", "500ms"]),
        (
            "slo: {ttft: 2s, attainment: 100%}",
            vec!["spec.slo.attainment", "50% to 99.99%"],
        ),
        ("{concurrency: 8, replica: {min: 1}}", vec!["replica", "replicas"]),
        ("concurrency: 0", vec!["spec.concurrency is 0", "0.01 to 1000000"]),
        (
            "{concurrency: 8, coldStart: quick}",
            vec!["spec.coldStart is \"quick\"", "fast", "2h"],
        ),
        (
            "{concurrency: 8, replicas: {min: 3, max: 2}}",
            vec!["replicas.min and spec.replicas.max"],
        ),
        (
            "{concurrency: 8, replicas: {min: 1, scaleToZeroAfter: 5m}}",
            vec!["no way to zero"],
        ),
        (
            "{concurrency: 8, schedule: [floor 2]}",
            vec!["spec.schedule", "window 1"],
        ),
        (
            "{concurrency: 8, timeZone: UTC}",
            vec!["spec.schedule is missing"],
        ),
        (
            "{concurrency: 8, limits: {up: [{replicas: 2, within: 24h}]}}",
            vec!["spec.limits.up[0].within is \"24h\"", "1h"],
        ),
        (
            "{concurrency: 8, limits: {up: [{within: 1m}]}}",
            vec!["spec.limits.up[0].replicas is missing"],
        ),
        (
            "{concurrency: 8, limits: {down: [{replicas: 1, percent: 5%, within: 1m}]}}",
            vec!["spec.limits.down[0].replicas and spec.limits.down[0].percent"],
        ),
        (
            "{concurrency: 8, limits: {budgets: [{money: 5, per: day}]}}",
            vec!["spec.gpu.pricePerHour is missing", "limits.budgets[0]"],
        ),
        (
            "{concurrency: 8, limits: {budgets: [{gpuHours: 5, per: week}]}}",
            vec!["week", "hour"],
        ),
        (
            "{concurrency: 8, limits: {budgets: [{gpuHours: 5, per: day, whenReached: fall}]}}",
            vec!["fallTo is missing"],
        ),
        (
            "{concurrency: 8, limits: {budgets: [{gpuHours: 5, per: day, fallTo: 2}]}}",
            vec!["fallTo goes with whenReached: fall"],
        ),
        ("{concurrency: 8, limits: {power: 3}}", vec!["3"]),
        (
            "{concurrency: 8, pool: {name: Main, gpus: 2}}",
            vec!["spec.pool.name is \"Main\""],
        ),
        (
            "{concurrency: 8, role: {part: prefill, prefillPerDecode: 2}}",
            vec!["spec.role.partner is missing"],
        ),
    ] {
        let error = Policy::read(&serde_saphyr::from_str::<Value>(yaml).unwrap())
            .unwrap_err()
            .to_string();
        for part in parts {
            assert!(error.contains(part), "{yaml}: {error}");
        }
    }
    let many = json!({"concurrency": 8, "limits": {"up": vec![json!({"replicas": 1, "within": "1m"}); 9]}});
    assert_eq!(
        Policy::read(&many).unwrap_err().to_string(),
        "spec.limits.up has 9 entries; allowed: at most 8"
    );
}

#[test]
fn the_policies_of_the_examples_mean_something() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/examples");
    let mut policies = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for document in text.split("\n---\n") {
            let object: serde_json::Value = serde_saphyr::from_str(document).unwrap();
            if object["kind"] == rheostat_crd::KIND {
                let read = Policy::read(&object["spec"]);
                assert!(read.is_ok(), "{}: {read:?}", path.display());
                policies += 1;
            }
        }
    }
    assert!(policies >= 1);
}
