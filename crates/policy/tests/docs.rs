//! docs/triggers.md and the code name the same keys, signals and profiles, with the same numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;

use rheostat_policy::{
    Aggregation, Key, MANUAL_DEMAND_ANNOTATION, PEER_METRICS, PEER_PROFILES, PeerMeaning, Profile, Signal,
    Trigger, Within,
};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/triggers.md");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines from the heading `from` to the next one.
fn section(page: &str, from: &str) -> String {
    let lines = page.lines().skip_while(|line| *line != from).skip(1);
    let text: Vec<_> = lines.take_while(|line| !line.starts_with("## ")).collect();
    assert!(!text.is_empty(), "no section {from:?}");
    text.join("\n")
}

/// All that stands in backquotes in the first column of the tables of `section`, without headings.
fn first_column(section: &str) -> BTreeSet<String> {
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| quoted(row.split('|').nth(1).unwrap()))
        .collect()
}

fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    names.map(str::to_owned).collect()
}

#[test]
fn every_key_is_there_and_no_other() {
    let page = page();
    let keys = section(&page, "## Keys");
    let mut listed = first_column(&keys);
    let plain = keys
        .lines()
        .find(|line| line.starts_with("KEDA's own keys"))
        .unwrap();
    listed.extend(quoted(plain));
    let peer = section(&page, "## Coming from keda-gpu-scaler");
    let (peers_keys, _) = peer.split_once("| its `metricType` |").unwrap();
    listed.extend(first_column(peers_keys));
    assert_eq!(listed, names(Key::ALL.iter().map(|key| key.name)));
}

#[test]
fn every_signal_is_there_and_no_other() {
    let listed = first_column(&section(&page(), "## Signals"));
    assert_eq!(listed, names(Signal::all().map(Signal::name)));
    assert!(page().contains(MANUAL_DEMAND_ANNOTATION));
}

#[test]
fn every_profile_is_there_with_its_numbers() {
    let section = section(&page(), "## Profiles");
    assert_eq!(
        first_column(&section),
        names(Profile::ALL.iter().map(|profile| profile.name()))
    );
    for profile in Profile::ALL {
        let start = format!("| `{}` |", profile.name());
        let row = section.lines().find(|line| line.starts_with(&start)).unwrap();
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        assert_eq!(quoted(cells[2])[0], profile.load().to_string(), "{row}");
        let aggregation = quoted(cells[2]).get(1).cloned();
        let expected = (profile.aggregation() != Aggregation::Avg)
            .then(|| format!("aggregation: {}", profile.aggregation()));
        assert_eq!(aggregation, expected, "{row}");
        assert_eq!(cells[3], profile.target().to_string(), "{row}");
        assert_eq!(cells[4], profile.activation().to_string(), "{row}");
    }
}

#[test]
fn a_guard_without_slots_is_warned_of_for_the_engines_that_report_none() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/engines.md");
    let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let table = || {
        let lines = page
            .lines()
            .skip_while(|line| !line.starts_with("| engine | waiting"));
        lines.take_while(|line| line.starts_with('|'))
    };
    let cells = |line: &str| -> Vec<String> {
        let cells = line.split('|').map(|cell| cell.trim().to_owned());
        cells.collect()
    };
    let head = cells(table().next().unwrap());
    let column = |name: &str| head.iter().position(|cell| cell == name).unwrap();
    let warns = |metadata: &[(&str, &str)]| {
        let metadata = metadata
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()));
        let parsed = Trigger::parse(&metadata.collect()).unwrap();
        let mut warnings = parsed.warnings.iter();
        warnings.any(|warning| warning.key == "guard" && warning.message.contains("slotsPerReplica"))
    };
    let mut engines = 0;
    for row in table().skip(2).map(cells) {
        let tells = |name: &str| row[column(name)] != "–";
        let engine = row[column("engine")].as_str();
        let waiting = [("signal", "engine.waiting"), ("target", "5"), ("engine", engine)];
        let expected = (tells("waiting") || tells("running")) && !tells("max_sequences");
        assert_eq!(warns(&waiting), expected, "{engine}");
        for quiet in [("slotsPerReplica", "8"), ("guard", "off")] {
            assert!(!warns(&[&waiting[..], &[quiet]].concat()), "{engine} {quiet:?}");
        }
        let busy = ("signal", "engine.concurrency");
        assert!(!warns(&[busy, waiting[1], waiting[2]]), "{engine}");
        engines += 1;
    }
    assert!(engines >= 12, "only {engines} engines are listed");
    assert!(warns(&[("signal", "engine.waiting"), ("target", "5")]));
}

/// docs/engines.md is written from the catalogue of engines.
#[test]
fn no_profile_denies_what_its_engine_tells() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/engines.md");
    let engines =
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let queues = engines
        .lines()
        .filter(|line| line.starts_with("| tensorflow-serving |"));
    let told = queues.map(|line| line.split('|').nth(8).unwrap().trim().to_owned());
    assert_eq!(
        told.collect::<Vec<_>>(),
        ["yes"],
        "queue_time of TensorFlow Serving"
    );
    let section = section(&page(), "## Profiles");
    let row = section
        .lines()
        .find(|line| line.starts_with("| `tensorflow-serving` |"));
    let row = row.unwrap();
    assert!(
        row.contains("time in the queue") && !row.contains("no queue"),
        "{row}"
    );
}

#[test]
fn every_choice_is_there() {
    let keys = section(&page(), "## Keys");
    for (key, choices) in [
        (
            "`within`",
            Within::ALL.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ),
        (
            "`aggregation`",
            Aggregation::ALL.iter().map(ToString::to_string).collect(),
        ),
    ] {
        let row = keys
            .lines()
            .find(|line| line.starts_with(&format!("| {key}")))
            .unwrap();
        assert_eq!(quoted(row.split('|').nth(2).unwrap()), choices);
    }
}

#[test]
fn every_name_of_the_peers_is_there_with_what_becomes_of_it() {
    let page = page();
    let peer = section(&page, "## Coming from keda-gpu-scaler");
    let (_, rest) = peer.split_once("| its `metricType` |").unwrap();
    let (metrics, profiles) = rest.split_once("| its `profile` |").unwrap();
    for (table, known) in [(metrics, PEER_METRICS), (profiles, PEER_PROFILES)] {
        assert_eq!(first_column(table), names(known.iter().map(|entry| entry.0)));
        for (name, meaning) in known {
            let row = table.lines().find(|line| {
                quoted(line.split('|').nth(1).unwrap_or_default()).contains(&(*name).to_owned())
            });
            let row = row.unwrap();
            match meaning {
                PeerMeaning::Signal { signal, factor, .. } => {
                    assert!(row.contains(&format!("`{}`", signal.name())), "{row}");
                    let same = (*factor - 1.0).abs() < f64::EPSILON;
                    assert!(same || row.contains(&format!("× {factor}")), "{row}");
                }
                PeerMeaning::Profile { profile, .. } if profile.name() != *name => {
                    assert!(row.contains(&format!("`{}`", profile.name())), "{row}");
                }
                PeerMeaning::Profile { .. } => assert!(row.contains("the same name"), "{row}"),
            }
        }
    }
}
