//! `rheostat explain --replay`, as a person runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rheostat_crd::{Policy, Surroundings};
use rheostat_decisions::DecisionLog;
use rheostat_reading::{Ratio, Timestamp};
use rheostat_sizing::{Milestones, Observation, QueuedOutside, Replica, Schedule, Sizer, Stage};

/// An hour of a workload whose load goes up and down, as a scaler logs it: each count that is decided is there
/// a moment later.
fn log(directory: &Path) {
    let log = DecisionLog::on_disk(directory, 64 * 1024 * 1024).unwrap();
    let policy = Policy::read(&serde_json::json!({"utilization": "50%"})).unwrap();
    let intent = Arc::new(policy.intent(&Surroundings {
        min_replicas: 1,
        max_replicas: 20,
        cooldown_period: Duration::from_secs(300),
        gpus_per_pod: Some(1.0),
    }));
    let mut sizer = Sizer::new();
    let mut replicas = 2;
    for step in 0..720_u32 {
        let now = Timestamp::from_unix_nanos(1_800_000_000_000_000_000 + u64::from(step) * 5_000_000_000);
        let load = f64::from(step % 240) / 60.0;
        let pod = |place: u32| Replica {
            name: format!("chat-{place}").into(),
            hardware: "H100".into(),
            created: now,
            stage: Stage::Ready,
            milestones: Milestones::default(),
            serving: None,
            gpu_utilization: Some(Ratio((load / f64::from(replicas)).min(1.0))),
            power: None,
        };
        let observation = Observation {
            now,
            replicas,
            pods: (0..replicas).map(pod).collect(),
            queued_outside: QueuedOutside::Untold,
            schedule: Schedule::default(),
            pool: None,
            partner: None,
        };
        replicas = log
            .decide("team-a/chat", &mut sizer, &intent, observation)
            .replicas;
        written(&log, u64::from(step) + 1);
    }
}

/// Waits until so many decisions are written: a test decides faster than a disk may write, and what the log cannot
/// take it drops.
fn written(log: &DecisionLog, decisions: u64) {
    for _ in 0..60_000 {
        let stats = log.stats();
        assert_eq!(stats.lost, 0, "{stats:?}");
        if stats.written == decisions {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    panic!("{decisions} were not written: {:?}", log.stats());
}

/// Whether it succeeded, and what it said.
fn explain(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rheostat"))
        .arg("explain")
        .args(arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn a_log_replays_bit_for_bit_and_a_changed_decision_is_found() {
    let directory = tempfile::tempdir().unwrap();
    log(directory.path());
    let path = directory.path().to_str().unwrap();
    let (same, said) = explain(&["--replay", path]);
    assert!(same && said.contains("720"), "{said}");
    let (same, said) = explain(&["--replay", path, "team-a/chat", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(same, "{said}");
    assert_eq!(
        (&json["decisions"], &json["different"]),
        (&720.into(), &0.into()),
        "{json:#}"
    );

    let file = directory.path().join("decisions-00000001.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let mut record: serde_json::Value = serde_json::from_str(&lines[500]).unwrap();
    let logged = record["decision"]["replicas"].as_u64().unwrap();
    record["decision"]["replicas"] = (logged + 1).into();
    lines[500] = record.to_string();
    fs::write(&file, lines.join("\n") + "\n").unwrap();
    let (same, said) = explain(&["--replay", file.to_str().unwrap()]);
    assert!(
        !same && said.contains("does not replay to the same decisions"),
        "{said}"
    );
    assert!(
        said.contains("team-a/chat") && said.contains("decision 500"),
        "{said}"
    );
}

#[test]
fn what_another_policy_would_have_said_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    log(&path);
    let policy = directory.path().join("policy.yaml");
    fs::write(
        &policy,
        "kind: ScalingPolicy\nspec: {utilization: 50%, replicas: {max: 3}}\n",
    )
    .unwrap();
    let (path, policy) = (path.to_str().unwrap(), policy.to_str().unwrap());
    let (fine, said) = explain(&["--replay", path, "--what-if", policy]);
    assert!(fine && said.contains("most replicas: 3 instead of"), "{said}");
    let (fine, said) = explain(&["--what-if", policy, "team-a/chat"]);
    assert!(!fine && said.contains("--replay"), "{said}");
}

#[test]
fn a_scaler_in_the_environment_is_in_nobodys_way() {
    let directory = tempfile::tempdir().unwrap();
    log(directory.path());
    let explain = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_rheostat"))
            .env("RHEOSTAT_SCALER", "ftp://scaler")
            .arg("explain")
            .args(arguments)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let path = directory.path().to_str().unwrap();
    let (same, said) = explain(&["--replay", path]);
    assert!(same, "{said}");
    let (same, said) = explain(&["--replay", path, "--scaler", "http://scaler"]);
    assert!(!same && said.contains("cannot be used with"), "{said}");
    let (asked, said) = explain(&["team-a/chat"]);
    assert!(
        !asked && said.contains("\"ftp://scaler\" does not begin with http://"),
        "{said}"
    );
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    log(directory.path());
    for options in [&[][..], &["--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_rheostat"))
            .args(["explain", "--replay"])
            .arg(directory.path())
            .args(options)
            .stdout(writer)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}
