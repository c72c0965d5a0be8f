//! The pages of engines that are JSON: Ollama's `/api/ps`, llama.cpp's `/slots`, vLLM's
//! `/is_sleeping`.

use std::fmt;
use std::marker::PhantomData;

use rheostat_reading::{Absent, Quality};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::combine::count;
use crate::error::{PageError, excerpt, list};
use crate::fact::PerFact;
use crate::sample::{Sample, Told};
use crate::{Engine, Fact, PageKind, Sleep, View};

/// Ollama's list of loaded models (`docs/api.md`, "List Running Models").
#[derive(Deserialize)]
struct Processes {
    models: Few<Process>,
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
    n_ctx: u32,
    #[serde(default)]
    is_processing: bool,
    /// Absent while the slot has not been used.
    n_prompt_tokens: Option<u32>,
    #[serde(default)]
    next_token: FirstToken,
}

/// An object in older versions, a list of one in newer ones.
#[derive(Default)]
struct FirstToken(NextToken);

#[derive(Default, Deserialize)]
struct NextToken {
    #[serde(default)]
    n_decoded: u32,
}

#[derive(Deserialize)]
struct Sleeping {
    is_sleeping: bool,
}

/// A list that is refused where it is longer than any that means something.
struct Few<T>(Vec<T>);

/// Models of an Ollama, slots of a llama.cpp.
const MOST: usize = 4096;

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
    let models: Vec<&Process> = processes.models.0.iter().filter(wanted).collect();
    *sample.told.get_mut(Fact::ModelsLoaded) = Told::Now(count(models.len()), Quality::Measured);
    let context = models.iter().filter_map(|model| model.context_length).max();
    *sample.told.get_mut(Fact::MaxContext) = match context {
        Some(tokens) => Told::Now(f64::from(tokens), Quality::Measured),
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
    let slots = match serde_json::from_slice::<Few<Slot>>(page) {
        Ok(Few(slots)) => slots,
        Err(error) => {
            let start = excerpt(page);
            sample
                .notes
                .push(format!("`/slots` does not list slots: {error}, at `{start}`"));
            return;
        }
    };
    *sample.told.get_mut(Fact::MaxSequences) = Told::Now(count(slots.len()), Quality::Measured);
    let context = slots.iter().map(|slot| slot.n_ctx).max();
    if let Some(context) = context {
        *sample.told.get_mut(Fact::MaxContext) = Told::Now(f64::from(context), Quality::Measured);
    }
    // The gauge of older versions is better where it is there.
    if sample.now(Fact::KvCacheUsage).is_none() {
        *sample.told.get_mut(Fact::KvCacheUsage) = usage(&slots);
    }
}

/// The part of all slots' contexts that requests fill, as if each slot had a cache of its own. Where
/// they share one (`--kv-unified`), it fills sooner than this tells; hence an estimate.
fn usage(slots: &[Slot]) -> Told {
    let whole: f64 = slots.iter().map(|slot| f64::from(slot.n_ctx)).sum();
    let used: Option<f64> = slots
        .iter()
        .filter(|slot| slot.is_processing)
        .map(|slot| {
            let filled = f64::from(slot.n_prompt_tokens?) + f64::from(slot.next_token.0.n_decoded);
            Some(filled.min(f64::from(slot.n_ctx)))
        })
        .sum();
    match used {
        Some(used) if whole > 0.0 => Told::Now(used / whole, Quality::Estimated),
        _ => Told::Not(Absent::Failed(
            "`/slots` does not tell how much of their contexts is filled".to_owned(),
        )),
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Visit<T> {
            type Value = Few<T>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "a list of at most {MOST}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Few<T>, A::Error> {
                let mut few = Vec::new();
                while let Some(thing) = list.next_element()? {
                    if few.len() == MOST {
                        return Err(de::Error::invalid_length(MOST + 1, &self));
                    }
                    few.push(thing);
                }
                Ok(Few(few))
            }
        }

        deserializer.deserialize_seq(Visit(PhantomData))
    }
}

impl<'de> Deserialize<'de> for FirstToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;

        impl<'de> Visitor<'de> for Visit {
            type Value = FirstToken;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a token, or a list of them")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FirstToken, A::Error> {
                NextToken::deserialize(MapAccessDeserializer::new(map)).map(FirstToken)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<FirstToken, A::Error> {
                let first = list.next_element()?.unwrap_or_default();
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(FirstToken(first))
            }
        }

        deserializer.deserialize_any(Visit)
    }
}
