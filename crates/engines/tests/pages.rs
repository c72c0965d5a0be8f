//! Each engine's page, in its own names, and the readings that come of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rheostat_engines::{
    Engine, EngineChoice, EngineReport, History, PageKind, Pages, Reader, Sample, View, recognise,
};
use rheostat_reading::Absent;
use support::{at, without_counts};

/// The pages, and whose they are.
const PAGES: &[(&str, Engine)] = &[
    ("vllm.txt", Engine::Vllm),
    ("vllm-v0.txt", Engine::Vllm),
    ("vllm-data-parallel.txt", Engine::Vllm),
    ("ray-serve-llm.txt", Engine::Vllm),
    ("kserve-vllm.txt", Engine::Vllm),
    ("sglang.txt", Engine::Sglang),
    ("sglang-old.txt", Engine::Sglang),
    ("tgi.txt", Engine::Tgi),
    ("tei.txt", Engine::Tei),
    ("triton.txt", Engine::Triton),
    ("triton-summaries.txt", Engine::Triton),
    ("triton-tensorrt-llm.txt", Engine::Triton),
    ("trtllm-serve.txt", Engine::TrtllmServe),
    ("nim.txt", Engine::Nim),
    ("lmdeploy.txt", Engine::Lmdeploy),
    ("llama-cpp.txt", Engine::LlamaCpp),
    ("ollama.json", Engine::Ollama),
    ("torchserve.txt", Engine::TorchServe),
    ("tensorflow-serving.txt", Engine::TensorflowServing),
];

#[test]
fn every_page_is_recognised() {
    for (name, engine) in PAGES {
        assert_eq!(recognise(&page(name)).ok(), Some(*engine), "{name}");
    }
    for engine in Engine::ALL {
        assert!(
            *engine == Engine::Custom || PAGES.iter().any(|(_, of)| of == engine),
            "there is no page of {engine}"
        );
    }
}

/// The page is read twice, ten seconds apart, the first time with nothing counted yet: a rate is a
/// tenth of what the page shows. To write the expected readings anew, set `WRITE_EXPECTED`; then read
/// what has changed.
#[test]
fn every_page_gives_the_expected_readings() {
    let mut wrong = Vec::new();
    for (name, engine) in PAGES {
        for choice in [EngineChoice::Named(*engine), EngineChoice::Recognise] {
            let found = readings(&scraped_twice(&page(name), &choice, *engine));
            let path = path(name).with_extension("readings");
            if std::env::var_os("WRITE_EXPECTED").is_some() {
                std::fs::write(&path, &found).unwrap();
            }
            let expected = std::fs::read_to_string(&path).unwrap();
            if found != expected {
                wrong.push(format!("{name}, {choice}:\n{found}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn scraped_twice(page: &[u8], choice: &EngineChoice, engine: Engine) -> EngineReport {
    let view = View::everything();
    let mut reader = Reader::new(choice).unwrap();
    let mut history = History::new(&view);
    let mut sample = Sample::default();
    let slots = engine
        .pages()
        .iter()
        .any(|page| page.kind == PageKind::Slots)
        .then(|| self::page("llama-cpp-slots.json"));
    let zero = if engine == Engine::Ollama {
        page.to_vec()
    } else {
        without_counts(page)
    };
    for (main, seconds) in [(zero.as_slice(), 0), (page, 10)] {
        let pages = Pages {
            main,
            slots: slots.as_deref(),
            ..Pages::default()
        };
        reader.read(&pages, &view, &mut sample).unwrap();
        history.push(&sample, at(seconds));
    }
    history.report()
}

/// What is known, one line each; what the engine cannot tell is left out.
fn readings(report: &EngineReport) -> String {
    let mut text = format!("engine {}\nsleep {:?}\n", report.engine.unwrap(), report.sleep);
    for (quantity, observed) in report.readings.iter() {
        let _ = match observed {
            Ok(reading) => {
                let value = format!("{:.6}", reading.amount.value());
                let value = value.trim_end_matches('0').trim_end_matches('.');
                let over = if reading.window > Duration::ZERO {
                    format!(" over {:?}", reading.window)
                } else {
                    String::new()
                };
                writeln!(
                    text,
                    "{quantity} {value} {}{over}, {}",
                    quantity.unit(),
                    reading.quality
                )
            }
            Err(Absent::NotSupported) => Ok(()),
            Err(absent) => writeln!(text, "{quantity}: {absent}"),
        };
    }
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/pages")
        .join(name)
}

fn page(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}
