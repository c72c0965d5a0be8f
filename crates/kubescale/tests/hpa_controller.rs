//! The model against the HPA controller's own functions, which decided the steps in
//! `tests/hpa_controller/*.json` for random specs, values and times under a simulated clock.
//! `tests/hpa_controller/record_test.go` made them and says how.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use rheostat_kubescale::hpa::{
    Behavior, Condition, ControllerSettings, Hpa, HpaMetric, HpaSettings, MetricType, Start, Sync, Target,
};
use rheostat_kubescale::{Quantity, Workload};
use rheostat_reading::Timestamp;
use serde::Deserialize;

#[derive(Deserialize)]
struct Run {
    min: i32,
    max: i32,
    downscale_s: f64,
    behavior: Option<Behavior>,
    metrics: Vec<Metric>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Metric {
    kind: MetricType,
    target: f64,
}

#[derive(Deserialize)]
struct Step {
    at_ms: u64,
    spec: i32,
    status: i32,
    pods: i32,
    ready: i32,
    /// One per metric; nothing is an error.
    values: Vec<Option<f64>>,
    to: i32,
    /// `AbleToScale`, if metrics decided: status and reason.
    able: String,
    /// `ScalingActive`, likewise.
    active: String,
    /// `ScalingLimited`, likewise.
    limited: String,
}

impl Run {
    fn hpa(&self) -> Hpa {
        let metric = |(index, metric): (usize, &Metric)| HpaMetric {
            name: format!("m{index}"),
            target: Target {
                kind: metric.kind,
                quantity: Quantity::from_float(metric.target),
            },
        };
        let settings = HpaSettings {
            min_replicas: self.min,
            max_replicas: self.max,
            metrics: self.metrics.iter().enumerate().map(metric).collect(),
            behavior: self.behavior.clone(),
        };
        let controller = ControllerSettings {
            downscale_stabilization_seconds: self.downscale_s,
            ..ControllerSettings::default()
        };
        Hpa::new(settings, controller).unwrap()
    }
}

fn sync(hpa: &mut Hpa, step: &Step) -> Sync {
    let now = Timestamp::from_unix_nanos(1_000_000_000_000_000).plus(Duration::from_millis(step.at_ms));
    let scale = Workload {
        spec_replicas: step.spec,
        status_replicas: step.status,
        pods: step.pods,
        ready_pods: step.ready,
    };
    let reading = |value: &Option<f64>| {
        value
            .map(|value| vec![Quantity::from_float(value)])
            .ok_or_else(|| "failed".to_owned())
    };
    match hpa.start(now, &scale) {
        Start::Decided(sync) => *sync,
        Start::NeedsMetrics => hpa.finish(now, &scale, &step.values.iter().map(reading).collect::<Vec<_>>()),
    }
}

fn shown(condition: Option<Condition>) -> String {
    let status = |is_true| if is_true { "True" } else { "False" };
    condition.map_or_else(String::new, |c| format!("{} {:?}", status(c.is_true), c.reason))
}

#[test]
fn every_recorded_step_is_decided_alike() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hpa_controller");
    let (mut steps, mut changes, mut reasons) = (0, 0, std::collections::BTreeSet::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let runs: Vec<Run> = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        for (number, run) in runs.iter().enumerate() {
            let mut hpa = run.hpa();
            for (index, step) in run.steps.iter().enumerate() {
                let sync = sync(&mut hpa, step);
                let place = format!("{} run {number} step {index}: {sync:#?}", file.display());
                assert_eq!(sync.to, step.to, "{place}");
                if sync.stabilized.is_some() {
                    // The recorder reads the conditions before the scale is written.
                    let able = sync
                        .stabilization
                        .map_or_else(|| "ReadyForNewScale".to_owned(), |r| format!("{r:?}"));
                    assert_eq!(format!("True {able}"), step.able, "{place}");
                    assert_eq!(shown(sync.conditions.scaling_limited), step.limited, "{place}");
                    reasons.extend([step.able.clone(), step.limited.clone()]);
                }
                if !step.active.is_empty() {
                    assert_eq!(shown(sync.conditions.scaling_active), step.active, "{place}");
                    reasons.insert(step.active.clone());
                }
                steps += 1;
                changes += usize::from(sync.to != sync.from);
            }
        }
    }
    assert!(
        steps > 1000 && changes > 300,
        "{steps} steps with {changes} changes prove little"
    );
    assert_eq!(reasons.len(), 10, "every reason is to be seen: {reasons:?}");
    println!("{steps} steps with {changes} changes agree");
}
