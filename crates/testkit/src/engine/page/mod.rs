//! What stands on an engine's page with metrics: names, kinds, labels and buckets as the engine
//! has them by default, with help texts of ours.

mod buckets;
mod engines;
mod huggingface;
mod servers;
mod vllm;
mod write;

use rheostat_reading::Timestamp;

use self::write::{Labels, Page, Style};
use super::batcher::Occupancy;
use super::flavour::Flavour;
use super::settings::ModelSettings;
use super::tally::{Quantity, Tally, Totals};

/// The pattern of a flavour's page.
#[derive(Debug)]
pub(super) struct Template {
    style: Style,
    /// Before every name.
    prefix: &'static str,
    /// The labels of every sample of a core.
    labels: fn(&Facts) -> Labels,
    /// Whether each counter and histogram has a `_created` beside it, as Python's client does.
    created: bool,
    /// Whether series are there only once they were first used, as with Rust's `metrics` crate.
    lazy: bool,
    families: Vec<Family>,
}

/// One family.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    value: Value,
}

/// Where the samples of a family come from.
#[derive(Debug)]
enum Value {
    Gauge(fn(&Facts) -> f64),
    Counter(fn(&Facts) -> f64),
    /// A quantity with the upper bounds of its buckets, times a factor that makes its unit.
    Histogram(Quantity, Vec<f64>, f64),
    /// Any samples; the kind as it is written.
    Several(&'static str, Samples),
    /// One sample for the whole process, without a core's labels; the kind as it is written.
    Process(&'static str, fn(&Facts) -> f64),
}

/// Makes the samples of a core from what is so and from the labels that its other samples have.
type Samples = fn(&Facts, &Labels) -> Vec<(Labels, f64)>;

/// All that a page can tell of one core: one model on one data-parallel rank.
pub(super) struct Facts {
    pub(super) model: String,
    pub(super) rank: usize,
    /// Whether the model is the first on the page.
    pub(super) first_model: bool,
    pub(super) occupancy: Occupancy,
    pub(super) gauges: Gauges,
    pub(super) settings: ModelSettings,
    pub(super) totals: Totals,
    /// Running and waiting adapters.
    pub(super) adapters: (Vec<String>, Vec<String>),
    pub(super) max_adapters: usize,
    pub(super) sleep_level: u8,
    pub(super) started: Timestamp,
    pub(super) now: Timestamp,
    pub(super) not_a_number: bool,
}

/// What a page says in place of what is so; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Requests waiting.
    pub waiting: Option<u64>,
    /// Requests running.
    pub running: Option<u64>,
    /// The share of the KV cache in use, 0 to 1.
    pub kv_cache_usage: Option<f64>,
}

impl Facts {
    /// Whether the core is the first on the page, which stands for the process.
    fn is_first(&self) -> bool {
        self.first_model && self.rank == 0
    }

    fn waiting(&self) -> f64 {
        self.gauges.waiting.unwrap_or(self.occupancy.waiting as u64) as f64
    }

    fn running(&self) -> f64 {
        self.gauges.running.unwrap_or(self.occupancy.running as u64) as f64
    }

    fn kv_cache_usage(&self) -> f64 {
        self.gauges.kv_cache_usage.unwrap_or_else(|| {
            f64::from(self.occupancy.used_blocks) / f64::from(self.occupancy.blocks.max(1))
        })
    }

    fn used_blocks(&self) -> f64 {
        self.kv_cache_usage() * f64::from(self.occupancy.blocks)
    }

    fn kv_tokens(&self) -> f64 {
        self.used_blocks() * f64::from(self.settings.block_size)
    }

    fn kv_capacity(&self) -> f64 {
        f64::from(self.settings.blocks) * f64::from(self.settings.block_size)
    }

    /// The sum of `quantity`, in seconds, as microseconds.
    fn micros(&self, quantity: Quantity) -> f64 {
        (self.totals.sum(quantity) * 1e6).round()
    }

    /// Tokens generated per second of iterations, since the start.
    fn generation_rate(&self) -> f64 {
        ratio(
            self.totals.generation_tokens as f64,
            self.totals.sum(Quantity::IterationTime),
        )
    }

    fn prefix_hit_rate(&self) -> f64 {
        ratio(self.totals.prefix_hits as f64, self.totals.prefix_queries as f64)
    }

    /// Gauges are NaN where the mock is told to say so.
    fn gauge(&self, value: f64) -> f64 {
        if self.not_a_number { f64::NAN } else { value }
    }
}

impl Template {
    /// The page of `flavour`; none where it has no page.
    pub(super) fn of(flavour: Flavour, settings: &ModelSettings) -> Option<Self> {
        let template = match flavour {
            Flavour::Vllm | Flavour::VllmOld | Flavour::VllmBoth | Flavour::KserveVllm | Flavour::RayVllm => {
                vllm::template(flavour, settings)
            }
            Flavour::Sglang => engines::sglang(),
            Flavour::TrtllmServe => engines::trtllm_serve(),
            Flavour::Nim => engines::nim(settings),
            Flavour::LmDeploy => engines::lmdeploy(),
            Flavour::LlamaCpp => engines::llamacpp(),
            Flavour::Tgi => huggingface::tgi(settings),
            Flavour::Tei => huggingface::tei(settings),
            Flavour::Triton => servers::triton(false),
            Flavour::TritonTrtLlm => servers::triton(true),
            Flavour::TorchServe => servers::torchserve(),
            Flavour::TensorFlowServing => servers::tensorflow_serving(),
            Flavour::Ollama => return None,
        };
        Some(template)
    }

    /// The histograms that a tally must keep for this page.
    pub(super) fn histograms(&self) -> impl Iterator<Item = (Quantity, Vec<f64>)> {
        self.families.iter().filter_map(|family| match &family.value {
            Value::Histogram(quantity, bounds, factor) => Some((*quantity, scaled(bounds, 1.0 / factor))),
            _ => None,
        })
    }

    /// The page of a process with these cores.
    pub(super) fn render(&self, cores: &[(Facts, &Tally)]) -> String {
        let mut page = Page::new(self.style);
        for family in &self.families {
            let prefix = if matches!(family.value, Value::Process(..)) {
                ""
            } else {
                self.prefix
            };
            let name = format!("{prefix}{}", family.name);
            let used: Vec<&(Facts, &Tally)> = cores
                .iter()
                .filter(|(facts, _)| !self.lazy || family.value.is_used(facts))
                .collect();
            if used.is_empty() {
                continue;
            }
            page.head(&name, family.value.kind(), family.help);
            for (facts, tally) in &used {
                let labels = (self.labels)(facts);
                match &family.value {
                    Value::Gauge(value) => page.sample(&name, &labels, facts.gauge(value(facts))),
                    Value::Counter(value) => page.sample(&name, &labels, value(facts)),
                    Value::Histogram(quantity, bounds, factor) => {
                        let kept = scaled(bounds, 1.0 / factor);
                        if let Some(mut values) = tally.histogram(*quantity, &kept) {
                            values.bounds.clone_from(bounds);
                            values.sum *= factor;
                            page.histogram(&name, &labels, &values);
                        }
                    }
                    Value::Several(_, samples) => {
                        for (labels, value) in samples(facts, &labels) {
                            page.sample(&name, &labels, value);
                        }
                    }
                    Value::Process(_, value) => {
                        page.sample(&name, &Labels::new(), value(facts));
                        break;
                    }
                }
            }
            if self.created && family.value.has_created() {
                let base = match family.value {
                    Value::Counter(_) => name.strip_suffix("_total").unwrap_or(&name),
                    _ => &name,
                };
                let created = format!("{base}_created");
                page.head(&created, "gauge", family.help);
                for (facts, _) in &used {
                    let since = facts.started.unix_nanos() as f64 / 1e9;
                    page.sample(&created, &(self.labels)(facts), since);
                }
            }
        }
        page.finish()
    }
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Gauge(_) => "gauge",
            Self::Counter(_) => "counter",
            Self::Histogram(..) => "histogram",
            Self::Several(kind, _) | Self::Process(kind, _) => kind,
        }
    }

    /// Whether the core has ever used the series.
    fn is_used(&self, facts: &Facts) -> bool {
        match self {
            Self::Counter(value) => value(facts) > 0.0,
            Self::Histogram(quantity, ..) => facts.totals.count(*quantity) > 0,
            Self::Gauge(_) | Self::Several(..) | Self::Process(..) => facts.totals.received > 0,
        }
    }

    fn has_created(&self) -> bool {
        matches!(self, Self::Counter(_) | Self::Histogram(..))
    }
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&Facts) -> f64) -> Family {
    Family {
        name,
        help,
        value: Value::Gauge(value),
    }
}

const fn counter(name: &'static str, help: &'static str, value: fn(&Facts) -> f64) -> Family {
    Family {
        name,
        help,
        value: Value::Counter(value),
    }
}

fn histogram(
    name: &'static str,
    help: &'static str,
    quantity: Quantity,
    bounds: impl Into<Vec<f64>>,
) -> Family {
    Family {
        name,
        help,
        value: Value::Histogram(quantity, bounds.into(), 1.0),
    }
}

const fn several(name: &'static str, kind: &'static str, help: &'static str, samples: Samples) -> Family {
    Family {
        name,
        help,
        value: Value::Several(kind, samples),
    }
}

const fn process(
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Facts) -> f64,
) -> Family {
    Family {
        name,
        help,
        value: Value::Process(kind, value),
    }
}

fn scaled(bounds: &[f64], factor: f64) -> Vec<f64> {
    bounds.iter().map(|bound| bound * factor).collect()
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
