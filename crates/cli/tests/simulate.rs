//! `rheostat simulate`, as a person runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// Five minutes at two requests a second, three quarters of an hour of quiet, and a minute more.
fn trace(directory: &Path) {
    let times = (0..600).chain(6000..6120).map(|half| half * 500);
    let line = |at: u32| format!("{{\"timestamp\": {at}, \"input_length\": 800, \"output_length\": 200}}\n");
    fs::write(directory.join("trace.jsonl"), times.map(line).collect::<String>()).unwrap();
}

/// Runs `spec` on the trace: the report, or what was said where it failed.
fn simulate(spec: &str, options: &[&str]) -> Result<serde_json::Value, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    trace(path);
    fs::write(
        path.join("policy.yaml"),
        format!("kind: ScalingPolicy\nspec: {spec}\n"),
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_rheostat"))
        .current_dir(path)
        .args(
            "simulate --plain --trace trace.jsonl --cold-start 60s --policy policy.yaml --json out.json"
                .split(' '),
        )
        .args(options)
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let report = fs::read(path.join("out.json")).unwrap();
    Ok(serde_json::from_slice(&report).unwrap())
}

fn over_optimum(report: &serde_json::Value) -> f64 {
    report["cases"][0]["rows"][0]["score"]["over_optimum"]
        .as_f64()
        .unwrap()
}

fn gpu_hours(report: &serde_json::Value) -> f64 {
    report["cases"][0]["rows"][0]["score"]["gpu_hours"]
        .as_f64()
        .unwrap()
}

#[test]
fn a_policy_is_held_to_the_floor_and_scored_by_a_bound_with_the_same() {
    // One replica with four GPUs.
    let always = 3059.5 / 3600.0 * 4.0;
    let floor = simulate("{slo: {ttft: 5s, itl: 200ms}}", &[]).unwrap();
    assert_eq!(floor["min_replicas"], 1);
    assert!(gpu_hours(&floor) > always - 1e-3, "{floor:#}");
    let policys = simulate("{slo: {ttft: 5s, itl: 200ms}, replicas: {min: 2, max: 9}}", &[]).unwrap();
    assert_eq!(
        (&policys["min_replicas"], &policys["max_replicas"]),
        (&2.into(), &9.into())
    );
    assert!(gpu_hours(&policys) > 2.0 * always - 1e-3, "{policys:#}");
    // What is given holds against the policy's.
    let zero = "{slo: {ttft: 5s, itl: 200ms}, replicas: {min: 0, scaleToZeroAfter: 6m}}";
    let given = simulate(zero, &["--min-replicas", "1"]).unwrap();
    assert_eq!(given["min_replicas"], 1);
    assert!(gpu_hours(&given) > always - 1e-3, "{given:#}");
    for report in [floor, policys, given] {
        assert!(over_optimum(&report) >= 1.0, "{report:#}");
    }
}

#[test]
fn zero_comes_after_the_time_that_the_policy_says() {
    let zero = "{slo: {ttft: 5s}, replicas: {min: 0, scaleToZeroAfter: 6m}}";
    let report = simulate(zero, &[]).unwrap();
    assert_eq!(report["min_replicas"], 0);
    // Two replicas for five minutes and until the last one is seen to be over, one for five more, and two starts at
    // the end. KEDA's five minutes of cooldown are within the six: without them, or with them twice, it would be
    // five minutes less or more.
    let seconds = gpu_hours(&report) * 3600.0 / 4.0;
    assert!((1100.0..1400.0).contains(&seconds), "{seconds} s");
    // Nor does it begin with going to zero: only the last minute's requests, one in six, find nobody.
    let report = simulate("{slo: {ttft: 5s}, replicas: {min: 0, scaleToZeroAfter: 5m}}", &[]).unwrap();
    let attainment = report["cases"][0]["rows"][0]["score"]["attainment"]
        .as_f64()
        .unwrap();
    assert!(attainment > 0.8, "{attainment}");
}

#[test]
fn a_policy_is_scored_by_its_own_slo() {
    let spec = "{slo: {ttft: 2s, itl: 100ms, attainment: 95%}}";
    let report = simulate(spec, &[]).unwrap();
    assert_eq!(report["slo"]["attainment"], 0.95);
    assert_eq!(report["slo"]["ttft"], serde_json::json!({"secs": 2, "nanos": 0}));
    simulate(spec, &["--slo", "ttft=2s,itl=100ms,attainment=95%"]).unwrap();
    let error = simulate(spec, &["--slo", "ttft=5s"]).unwrap_err();
    assert!(
        error.contains(
            "--slo is ttft=5s,attainment=99%, but the policy aims at ttft=2s,itl=100ms,attainment=95%"
        ),
        "{error}"
    );
    let by_the_option = simulate("{concurrency: 8}", &["--slo", "e2e=1m"]).unwrap();
    assert_eq!(
        by_the_option["slo"]["e2e"],
        serde_json::json!({"secs": 60, "nanos": 0})
    );
}
