//! `rheostat backtest`, as a person runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// A request each half second for five minutes, and twenty a second for two minutes more.
fn trace(directory: &Path) {
    let times = (0..300_000).step_by(500).chain((300_000..420_000).step_by(50));
    let line = |at: u32| format!("{{\"timestamp\": {at}, \"input_length\": 800, \"output_length\": 200}}\n");
    fs::write(directory.join("trace.jsonl"), times.map(line).collect::<String>()).unwrap();
}

/// Whether it succeeded on the trace, in `directory`, and what it said.
fn backtest(directory: &Path, options: &str) -> (bool, String) {
    trace(directory);
    let output = Command::new(env!("CARGO_BIN_EXE_rheostat"))
        .current_dir(directory)
        .args("backtest --plain --trace trace.jsonl".split(' '))
        .args(options.split(' '))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn what_misses_the_slo_or_was_not_tuned_is_not_said_to_be_beaten() {
    let directory = tempfile::tempdir().unwrap();
    let run = |options: &str| {
        let (fine, said) = backtest(directory.path(), options);
        assert!(fine, "{said}");
        said
    };
    let options = "--policies rheostat,gke-queue-size --cold-start 180s";
    let said = run(options);
    let (_, aims) = said.split_once("How far ours closes").unwrap();
    assert!(
        aims.contains("gke-queue-size, default") && aims.contains("% is below 99 %)"),
        "{said}"
    );
    assert!(!aims.contains("hindsight") && !aims.contains("mean"), "{said}");
    let tuned = run(&format!("{options} --tune 4"));
    assert!(tuned.contains("even tuned in hindsight"), "{tuned}");
}

#[test]
fn reports_are_not_written_over_what_is_read_nor_left_empty() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("kept")).unwrap();
    for options in [
        "--json ./trace.jsonl",
        "--json report --html report",
        "--resume kept --json kept/results.jsonl",
    ] {
        let (fine, said) = backtest(directory.path(), options);
        assert!(!fine && said.contains(" too; give it another name"), "{said}");
    }
    let (fine, said) = backtest(
        directory.path(),
        "--max-replicas 0 --json a.json --html b.html --cold-start 60s",
    );
    assert!(!fine && said.contains("--max-replicas"), "{said}");
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["kept", "trace.jsonl"]);
}

#[test]
fn a_static_level_needs_a_search() {
    let directory = tempfile::tempdir().unwrap();
    let (fine, said) = backtest(directory.path(), "--policies rheostat,static");
    assert!(!fine && said.contains("give --tune RUNS too"), "{said}");
    let (fine, said) = backtest(directory.path(), "--policies static --tune 4 --cold-start 60s");
    assert!(fine && said.contains("hindsight"), "{said}");
}

#[test]
fn what_is_named_twice_is_run_once() {
    let directory = tempfile::tempdir().unwrap();
    let (fine, said) = backtest(
        directory.path(),
        "--policies rheostat,gke-queue-size,rheostat --cold-start 60s,120s,1m",
    );
    assert!(fine && said.contains("4/4 ") && !said.contains("5/"), "{said}");
}
