//! Replays every recording of the real KEDA and HPA in `tests/recordings`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use rheostat_kubescale::recording::{Change, Recording, Tolerance, compare, replay};

fn tolerance(recording: &Recording) -> Tolerance {
    // The HPA's syncs are followed, so what is left is the time from its read to its write, which is
    // less than to the next sync even on a busy machine. KEDA's polls keep their own time, and where
    // a cooldown ends close to one, the next may be the first.
    let polling = recording.settings.scaled_object.polling_interval.unwrap_or(30);
    Tolerance {
        hpa: Duration::from_secs_f64(recording.settings.hpa_sync_s * 0.6),
        keda: Duration::from_secs(u64::from(polling) + 1),
    }
}

fn check(file: &Path) -> Result<usize, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let recording: Recording = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let real = recording.changes();
    let replayed = replay(&recording).map_err(|error| error.to_string())?;
    let show = |changes: &[Change]| {
        let show = |change: &Change| {
            let cause = change.cause.as_deref().unwrap_or_default();
            format!(
                "\n    {:>8.3} {:?} {} {cause}",
                change.at.as_secs_f64(),
                change.by,
                change.to
            )
        };
        changes.iter().map(show).collect::<String>()
    };
    compare(&real, &replayed, tolerance(&recording)).map_err(|difference| {
        format!(
            "{difference}\n  really:{}\n  in the model:{}",
            show(&real),
            show(&replayed)
        )
    })?;
    Ok(real.len())
}

#[test]
fn the_model_decides_as_the_real_thing_did() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut failures = Vec::new();
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match check(&file) {
            Ok(changes) => println!("{}: {changes} changes agree", file.display()),
            Err(error) => failures.push(format!("{}: {error}", file.display())),
        }
        checked += 1;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    println!("{checked} recordings agree");
}

/// A recording by hand, so that replay and comparison are themselves known to work.
const BY_HAND: &str = r#"{
  "format": 1, "name": "by hand", "description": "0, 1, 4",
  "settings": {
    "kubernetes": "none", "keda": "none", "hpa_sync_s": 2, "downscale_stabilisation_s": 5, "tolerance": 0.1,
    "pods": {"replicas": 0, "fit": 8, "coldStart": 0},
    "scaled_object": {
      "scaleTargetRef": {"name": "model"}, "maxReplicaCount": 8, "pollingInterval": 4, "cooldownPeriod": 6,
      "triggers": [{"type": "external", "metadata": {"scalerAddress": "x:6000"}}]
    },
    "hpa": {}
  },
  "script": [{"at": 0, "value": 0, "active": false}, {"at": 6, "value": 35, "active": true}],
  "timeline": [
    {"at_us": 100000, "what": "call", "rpc": "get_metric_spec", "by": "keda", "trigger": "demand", "answer": {"target": 10}},
    {"at_us": 200000, "what": "call", "rpc": "get_metrics", "by": "keda", "trigger": "demand", "answer": {"value": 0}},
    {"at_us": 2150000, "what": "scale_read", "by": "hpa", "wanted": 0, "existing": 0},
    {"at_us": 8220000, "what": "scale_write", "by": "keda", "replicas": 1, "status": 200},
    {"at_us": 8300000, "what": "replicas", "wanted": 1, "existing": 1, "ready": 1},
    {"at_us": 10150000, "what": "scale_read", "by": "hpa", "wanted": 1, "existing": 1},
    {"at_us": 10190000, "what": "scale_write", "by": "hpa", "replicas": 4, "status": 200},
    {"at_us": 10190000, "what": "hpa_status", "status": {}},
    {"at_us": 10250000, "what": "replicas", "wanted": 4, "existing": 4, "ready": 4}
  ]
}"#;

#[test]
fn replay_and_comparison_see_what_is_there_and_what_differs() {
    let recording: Recording = serde_json::from_str(BY_HAND).unwrap();
    let real = recording.changes();
    let replayed = replay(&recording).unwrap();
    compare(&real, &replayed, tolerance(&recording)).unwrap();
    assert_eq!(real.iter().map(|change| change.to).collect::<Vec<_>>(), [1, 4]);

    let mut other = BY_HAND.replace("\"value\": 35", "\"value\": 25");
    let error = check_text(&other).unwrap_err();
    assert!(
        error.contains("decision 2") && error.contains("set 4") && error.contains("is above its target"),
        "{error}"
    );
    other = BY_HAND.replace("10190000", "12190000");
    assert!(
        check_text(&other).unwrap_err().contains("decision 2"),
        "too late is a difference"
    );
    other = BY_HAND.replace("\"status\": 200}", "\"status\": 409}");
    assert!(
        check_text(&other).unwrap_err().contains("really none"),
        "a refused write is no change"
    );
}

fn check_text(text: &str) -> Result<(), String> {
    let recording: Recording = serde_json::from_str(text).unwrap();
    let replayed = replay(&recording).unwrap();
    compare(&recording.changes(), &replayed, tolerance(&recording))
        .map_err(|difference| difference.to_string())
}

/// A step that the script takes while the HPA controller reads, after it was answered or before.
fn step_during_a_read(step_at: f64) -> String {
    format!(
        r#"{{
  "format": 1, "name": "step during a read", "description": "the answer counts, not the end of the read",
  "settings": {{
    "hpa_sync_s": 2, "downscale_stabilisation_s": 5, "tolerance": 0.1, "pods": {{"replicas": 1}},
    "scaled_object": {{
      "scaleTargetRef": {{"name": "model"}}, "maxReplicaCount": 8, "pollingInterval": 4,
      "triggers": [{{"type": "external", "metadata": {{"scalerAddress": "x:6000"}}}}]
    }}
  }},
  "script": [{{"at": 0, "value": 35, "active": true}}, {{"at": {step_at}, "value": 10}}],
  "timeline": [
    {{"at_us": 200000, "what": "call", "rpc": "get_metrics", "by": "keda", "trigger": "demand"}},
    {{"at_us": 2150000, "what": "scale_read", "by": "hpa"}},
    {{"at_us": 2151000, "what": "metric_read", "until_us": 2170000}},
    {{"at_us": 2160000, "what": "call", "rpc": "get_metrics", "by": "hpa", "trigger": "demand"}},
    {{"at_us": 2190000, "what": "scale_write", "by": "hpa", "replicas": 4, "status": 200}},
    {{"at_us": 3000000, "what": "replicas", "existing": 4, "ready": 4}}
  ]
}}"#
    )
}

#[test]
fn a_step_after_the_answer_does_not_change_the_answer() {
    check_text(&step_during_a_read(2.165)).unwrap();
    let before = check_text(&step_during_a_read(2.155)).unwrap_err();
    assert!(before.contains("decision 1: really Hpa set 4"), "{before}");
    assert!(before.contains("in the model none"), "{before}");
}
