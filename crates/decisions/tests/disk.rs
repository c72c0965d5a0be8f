//! The log on disk: within its size, whole after a crash, its owner's alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rheostat_decisions::{DecisionLog, LogError, Reader, Record, replay};
use rheostat_sizing::{Intent, Sizer};
use support::{intent, observation, wave};

const MIB: u64 = 1024 * 1024;

/// Decides about `workloads` in turn; what does not fit the writer's queue waits, so that nothing is lost.
fn decide(log: &DecisionLog, workloads: &[&str], steps: std::ops::Range<usize>, replicas: u32) {
    let intent: Arc<Intent> = intent(50);
    let mut sizers: Vec<Sizer> = workloads.iter().map(|_| Sizer::new()).collect();
    let mut decided = log.stats().written;
    for step in steps {
        for (workload, sizer) in workloads.iter().zip(&mut sizers) {
            let (_, load, known) = wave(step + 1)[step];
            log.decide(
                workload,
                sizer,
                &intent,
                observation(step, (replicas, load, known)),
            );
            decided += 1;
            while log.stats().written + 100 < decided {
                assert_eq!(log.stats().failure, None);
                std::thread::yield_now();
            }
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    files
}

fn records(path: &Path) -> Vec<Record> {
    Reader::open(path).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn what_was_decided_is_on_disk_and_is_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let log = DecisionLog::on_disk(directory.path(), 64 * MIB).unwrap();
    decide(&log, &["team-a/chat", "team-b/chat"], 0..200, 4);
    let kept = log.recent("team-b/chat");
    drop(log);
    let written = records(directory.path());
    assert_eq!(written.len(), 400);
    let found = replay(Reader::open(directory.path()).unwrap()).unwrap();
    assert!(found.is_equal(), "{found}");
    assert_eq!((found.decisions, found.workloads, found.left_out), (400, 2, 0));
    let last = kept.last().unwrap();
    let of_b = written
        .iter()
        .rfind(|record| record.workload == last.workload)
        .unwrap();
    assert_eq!(of_b.decision, last.decision);
    // A state at the beginning, not with each that memory keeps.
    assert_eq!(written.iter().filter(|record| record.before.is_some()).count(), 2);
}

#[test]
fn the_size_is_kept_and_every_file_can_be_replayed_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let size = 16 * MIB;
    let log = DecisionLog::on_disk(directory.path(), size).unwrap();
    decide(&log, &["team-a/chat"], 0..900, 60);
    assert_eq!(log.stats().lost, 0, "{:?}", log.stats());
    drop(log);
    let total: u64 = files(directory.path())
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(total <= size, "{total}");
    assert!(total > size / 2, "{total}");
    assert!(files(directory.path()).len() > 2);
    assert!(!directory.path().join("decisions-00000001.jsonl").exists());
    let found = replay(Reader::open(directory.path()).unwrap()).unwrap();
    assert!(found.is_equal(), "{found}");
    for file in files(directory.path()) {
        let found = replay(Reader::open(&file).unwrap()).unwrap();
        // A new file waits for the next state, which memory gets every 60 decisions.
        assert!(
            found.is_equal() && found.left_out <= 60,
            "{}: {found}",
            file.display()
        );
    }
}

#[test]
fn a_torn_last_line_costs_that_line_alone() {
    let directory = tempfile::tempdir().unwrap();
    let log = DecisionLog::on_disk(directory.path(), 64 * MIB).unwrap();
    decide(&log, &["team-a/chat"], 0..50, 4);
    drop(log);
    let file = files(directory.path()).remove(0);
    let length = fs::metadata(&file).unwrap().len();
    // The process was killed in the middle of the last line.
    OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(length - 700)
        .unwrap();
    let mut reader = Reader::open(directory.path()).unwrap();
    assert_eq!(reader.by_ref().filter(Result::is_ok).count(), 49);
    assert_eq!((reader.skipped().torn, reader.skipped().unreadable), (1, 0));

    // The next process goes on in the same file, without the half line.
    let log = DecisionLog::on_disk(directory.path(), 64 * MIB).unwrap();
    decide(&log, &["team-a/chat"], 50..80, 4);
    drop(log);
    assert_eq!(files(directory.path()).len(), 1);
    let mut reader = Reader::open(directory.path()).unwrap();
    let found = replay(reader.by_ref()).unwrap();
    assert!(found.is_equal(), "{found}");
    assert_eq!((found.decisions, found.left_out), (79, 0));
    assert_eq!((reader.skipped().torn, reader.skipped().unreadable), (0, 0));
}

#[test]
fn a_line_that_is_no_record_is_left_out_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let log = DecisionLog::on_disk(directory.path(), 64 * MIB).unwrap();
    decide(&log, &["team-a/chat"], 0..10, 2);
    drop(log);
    let file = files(directory.path()).remove(0);
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut out = fs::File::create(&file).unwrap();
    for (number, line) in lines.iter().enumerate() {
        writeln!(out, "{}", if number == 4 { "{\"workload\":" } else { line }).unwrap();
    }
    let mut reader = Reader::open(&file).unwrap();
    let found = replay(reader.by_ref()).unwrap();
    assert_eq!((found.different, found.decisions, found.left_out), (0, 4, 5));
    assert_eq!(reader.skipped().unreadable, 1);
    let first = reader.skipped().first.clone().unwrap();
    assert!(first.contains("decisions-00000001.jsonl:5"), "{first}");
}

#[test]
fn one_process_writes_and_too_little_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let log = DecisionLog::on_disk(directory.path(), MIB).unwrap();
    assert!(matches!(
        DecisionLog::on_disk(directory.path(), MIB),
        Err(LogError::InUse(_))
    ));
    drop(log);
    DecisionLog::on_disk(directory.path(), MIB).unwrap();
    assert!(matches!(
        DecisionLog::on_disk(directory.path(), MIB - 1),
        Err(LogError::TooSmall { .. })
    ));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Reader::open(empty.path()), Err(LogError::NoLog(_))));
}

#[test]
fn a_decision_that_no_file_can_hold_is_counted_and_made_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let log = DecisionLog::on_disk(directory.path(), MIB).unwrap();
    let (mut sizer, intent) = (Sizer::new(), intent(50));
    let decision = log.decide("team-a/chat", &mut sizer, &intent, observation(0, (500, 9, true)));
    assert_eq!(
        decision,
        Sizer::new().decide(&intent, &observation(0, (500, 9, true)))
    );
    while log.stats().lost == 0 {
        std::thread::yield_now();
    }
    let failure = log.stats().failure.unwrap();
    assert!(
        failure.contains("team-a/chat") && failure.contains("too small"),
        "{failure}"
    );
}
