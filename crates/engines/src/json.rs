//! The pages of engines that are JSON: Ollama's `/api/ps`, llama.cpp's `/slots`, vLLM's
//! `/is_sleeping`.

use rheostat_reading::Absent;
use serde::Deserialize;

use crate::combine::count;
use crate::error::{PageError, excerpt, list};
use crate::fact::PerFact;
use crate::sample::{Sample, Told};
use crate::{Engine, Fact, PageKind, Sleep, View};

/// Ollama's list of loaded models (`docs/api.md`, "List Running Models").
#[derive(Deserialize)]
struct Processes {
    models: Vec<Process>,
}

#[derive(Deserialize)]
struct Process {
    #[serde(default)]
    name: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    size_vram: u64,
    /// Since 0.11.
    context_length: Option<u32>,
}

/// A slot of llama.cpp's server (`tools/server/README.md`, "GET /slots").
#[derive(Deserialize)]
struct Slot {
    n_ctx: f64,
}

#[derive(Deserialize)]
struct Sleeping {
    is_sleeping: bool,
}

/// Whether `page` looks like Ollama's.
pub(crate) fn is_ollama(page: &[u8]) -> bool {
    page.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<Processes>(page).is_ok()
}

/// Reads Ollama's `/api/ps`, which tells neither queue nor batch: those stay not supported.
pub(crate) fn ollama(page: &[u8], view: &View, sample: &mut Sample) -> Result<(), PageError> {
    let processes: Processes = serde_json::from_slice(page).map_err(|source| PageError::Json {
        engine: Engine::Ollama,
        kind: PageKind::Main,
        source,
        excerpt: excerpt(page),
    })?;
    sample.engine = Some(Engine::Ollama);
    sample.told = PerFact::default();
    if view.adapter.is_some() {
        return Ok(());
    }
    let wanted = |process: &&Process| {
        view.model
            .as_ref()
            .is_none_or(|model| *model == process.name || *model == process.model)
    };
    let models: Vec<&Process> = processes.models.iter().filter(wanted).collect();
    *sample.told.get_mut(Fact::ModelsLoaded) = Told::Now(count(models.len()));
    let context = models.iter().filter_map(|model| model.context_length).max();
    *sample.told.get_mut(Fact::MaxContext) = match context {
        Some(tokens) => Told::Now(f64::from(tokens)),
        None if models.is_empty() => Told::Not(Absent::Failed("no model is loaded".to_owned())),
        None => Told::Not(Absent::Failed("`/api/ps` has no `context_length`".to_owned())),
    };
    sample.notes.extend(models.iter().take(4).map(|model| {
        let mib = model.size_vram >> 20;
        format!("{} holds {mib} MiB of GPU memory", list(&[&model.name]))
    }));
    Ok(())
}

/// Reads vLLM's `/is_sleeping`. An engine without that page answers with something else, which tells
/// nothing.
pub(crate) fn sleeping(page: &[u8], sample: &mut Sample) {
    if let Ok(answer) = serde_json::from_slice::<Sleeping>(page) {
        sample.sleep = if answer.is_sleeping {
            Sleep::Asleep
        } else {
            Sleep::Awake
        };
    }
}

/// Reads llama.cpp's `/slots`, which can be switched off: then the answer is an error, which tells
/// nothing.
pub(crate) fn slots(page: &[u8], sample: &mut Sample) {
    let Ok(slots) = serde_json::from_slice::<Vec<Slot>>(page) else {
        sample
            .notes
            .push("`/slots` is switched off (`--no-slots`), so that capacity is not told".to_owned());
        return;
    };
    *sample.told.get_mut(Fact::MaxSequences) = Told::Now(count(slots.len()));
    let context = slots.iter().map(|slot| slot.n_ctx).fold(0.0, f64::max);
    *sample.told.get_mut(Fact::MaxContext) = Told::Now(context);
    let cache: f64 = slots.iter().map(|slot| slot.n_ctx).sum();
    *sample.told.get_mut(Fact::KvTokens) = Told::Now(cache);
}
