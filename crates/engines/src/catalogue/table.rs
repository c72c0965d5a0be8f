//! Keeps the tables of `docs/engines.md` what the catalogue says. To write them anew, run the test with
//! `WRITE_EXPECTED` set.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::{ALL, Candidate, Combine, Definition, Take, definition};
use crate::fact::Shape;
use crate::{CustomEngine, Engine, Fact};

const BEGIN: &str = "<!-- begin: written from the catalogue -->\n";
const END: &str = "<!-- end -->\n";

/// The columns of the overview.
const OVERVIEW: &[Fact] = &[
    Fact::Waiting,
    Fact::Running,
    Fact::KvCacheUsage,
    Fact::Ttft,
    Fact::Itl,
    Fact::Tpot,
    Fact::E2e,
    Fact::QueueTime,
    Fact::Requests,
    Fact::PromptTokens,
    Fact::GenerationTokens,
    Fact::PrefixCacheHits,
    Fact::Preemptions,
    Fact::LoraAdapters,
    Fact::KvTokens,
    Fact::MaxSequences,
];

#[test]
fn the_documentation_has_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/engines.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    let expected = tables();
    if std::env::var_os("WRITE_EXPECTED").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
    } else {
        assert_eq!(found, expected, "run this test with WRITE_EXPECTED=1");
    }
}

#[test]
fn every_example_in_the_documentation_is_taken() {
    let text = include_str!("../../../../docs/engines.md");
    let mut examples = 0;
    for example in text.split("```yaml custom\n").skip(1) {
        let (example, _) = example.split_once("```").unwrap();
        CustomEngine::parse(example).unwrap_or_else(|error| panic!("{error}:\n{example}"));
        examples += 1;
    }
    assert!(examples > 0);
    for fact in Fact::ALL {
        assert!(text.contains(&format!("`{fact}`")), "{fact} is not described");
    }
}

#[test]
fn the_catalogue_makes_sense() {
    for definition in ALL {
        let mut facts = BTreeSet::new();
        assert!(super::definition(definition.engine).is_some());
        assert!(!definition.prefixes.is_empty());
        for row in definition.rows {
            assert!(
                facts.insert(row.fact),
                "{}: {} twice",
                definition.engine,
                row.fact
            );
            let mut names = BTreeSet::new();
            for candidate in row.candidates {
                let id = (candidate.name, candidate.filter);
                assert!(names.insert(id), "{}: {id:?} twice", definition.engine);
                let fits = matches!(
                    (row.fact.shape(), candidate.take),
                    (
                        Shape::Gauge,
                        Take::Gauge | Take::Labels(_) | Take::AdapterLists(_) | Take::Models
                    ) | (Shape::Counter, Take::Counter)
                        | (Shape::Distribution, Take::Histogram | Take::SumWithCount(_))
                );
                assert!(fits, "{}: {id:?}", definition.engine);
                assert!(candidate.scale > 0.0);
            }
        }
    }
}

fn tables() -> String {
    let mut text = "| engine |".to_owned();
    for fact in OVERVIEW {
        let _ = write!(text, " {} |", fact.name());
    }
    text += "\n|---|";
    text += &"---|".repeat(OVERVIEW.len());
    text += "\n";
    for &engine in Engine::ALL {
        if engine == Engine::Custom {
            continue;
        }
        let _ = write!(text, "| {engine} |");
        for &fact in OVERVIEW {
            let _ = write!(text, " {} |", told(engine, fact));
        }
        text += "\n";
    }
    for &engine in Engine::ALL {
        if let Some(definition) = definition(engine) {
            section(&mut text, definition);
        }
    }
    text
}

/// How `engine` tells `fact`, in a word.
fn told(engine: Engine, fact: Fact) -> &'static str {
    if engine == Engine::LlamaCpp && matches!(fact, Fact::KvCacheUsage | Fact::MaxSequences) {
        return "`/slots`";
    }
    let row =
        |fact| definition(engine).and_then(|definition| definition.rows.iter().find(|row| row.fact == fact));
    match row(fact)
        .and_then(|row| row.candidates.first())
        .map(|candidate| candidate.take)
    {
        Some(Take::SumWithCount(_)) => "mean",
        Some(_) => "yes",
        None if fact == Fact::KvTokens && row(Fact::KvBlockTokens).is_some() => "yes",
        None if fact == Fact::PrefixCacheHits && row(Fact::PrefixCacheHitRate).is_some() => "yes",
        None => "–",
    }
}

fn section(text: &mut String, definition: &Definition) {
    let engine = definition.engine;
    let _ = write!(
        text,
        "\n### `{engine}`\n\nPage {}",
        quoted(engine.default_paths())
    );
    if let Some(port) = engine.default_port() {
        let _ = write!(text, ", port {port}");
    }
    let prefixes: Vec<&str> = definition
        .prefixes
        .iter()
        .copied()
        .filter(|prefix| !prefix.is_empty())
        .collect();
    if prefixes.is_empty() {
        *text += ". Names have no prefix";
    } else {
        let _ = write!(text, ". Names begin with {}", quoted(&prefixes));
        if prefixes.len() < definition.prefixes.len() {
            *text += " or nothing";
        }
    }
    let labels = &definition.labels;
    for (what, names) in [
        ("Model", labels.model),
        ("Adapter", labels.adapter),
        ("Rank", labels.rank),
    ] {
        if !names.is_empty() {
            let _ = write!(text, ". {what}: label {}", quoted(names));
        }
    }
    *text += ".\n\n| told | by the first of these that is there | as |\n|---|---|---|\n";
    for row in definition.rows {
        let names: Vec<String> = row.candidates.iter().map(name).collect();
        let mut kinds: Vec<String> = row.candidates.iter().map(kind).collect();
        kinds.dedup();
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            row.fact,
            names.join(", else "),
            kinds.join(", ")
        );
    }
}

fn name(candidate: &Candidate) -> String {
    let labels: Vec<String> = candidate
        .filter
        .iter()
        .map(|(label, value)| format!("{label}=\"{value}\""))
        .collect();
    let mut text = if labels.is_empty() {
        format!("`{}`", candidate.name)
    } else {
        format!("`{}{{{}}}`", candidate.name, labels.join(","))
    };
    match candidate.take {
        Take::SumWithCount(count) => {
            let _ = write!(text, " by `{count}`");
        }
        Take::Labels(labels) | Take::AdapterLists(labels) => {
            let _ = write!(text, " (label {})", quoted(labels));
        }
        Take::Gauge | Take::Counter | Take::Histogram | Take::Models => {}
    }
    for more in candidate.plus {
        let _ = write!(text, " + `{more}`");
    }
    text
}

fn kind(candidate: &Candidate) -> String {
    let kind = match candidate.take {
        Take::Gauge | Take::Labels(_) => "gauge",
        Take::Counter => "counter",
        Take::Histogram => "histogram",
        Take::SumWithCount(_) => "sum and count",
        Take::AdapterLists(_) => "adapters named",
        Take::Models => "models named",
    };
    let combine = match (candidate.take, candidate.combine) {
        (Take::Gauge | Take::Labels(_), Combine::Sum) => ", added",
        (Take::Gauge | Take::Labels(_), Combine::Mean) => ", mean",
        (Take::Gauge | Take::Labels(_), Combine::Max) => ", largest",
        _ => "",
    };
    let unit = if (candidate.scale - 1e-3).abs() < 1e-12 {
        ", milliseconds"
    } else if (candidate.scale - 1e-6).abs() < 1e-12 {
        ", microseconds"
    } else {
        ""
    };
    format!("{kind}{combine}{unit}")
}

fn quoted(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
