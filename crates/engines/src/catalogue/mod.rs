//! What each engine calls what it tells: tables, read by [`crate::Reader`].

mod huggingface;
mod llama_cpp;
mod lmdeploy;
mod nvidia;
mod sglang;
#[cfg(test)]
mod table;
mod vision;
mod vllm;

use crate::{Engine, Fact};

/// How an engine's metrics page is to be understood.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) engine: Engine,
    /// What stands before the names of the rows; the first with which a name is on the page wins.
    pub(crate) prefixes: &'static [&'static str],
    /// What each fact is called.
    pub(crate) rows: &'static [Row],
    pub(crate) labels: LabelNames,
    /// A name that is not a fact's and tells whether the engine sleeps.
    pub(crate) sleep: Option<&'static str>,
    /// Where metrics come to the page only when they are first used: the counter of requests, which
    /// is used before all else of a request. While it is missing there was none, and nothing waits or
    /// runs.
    pub(crate) arrivals: Option<&'static str>,
    /// Families of a back end that the engine may run without. Where none of them is on the page, what
    /// only they tell is not supported, rather than missing: an engine that will never say how many
    /// requests run would not be idle, ever.
    pub(crate) optional: &'static [&'static str],
}

/// Which labels mean something for every family of an engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LabelNames {
    /// The model that a series is about.
    pub(crate) model: &'static [&'static str],
    /// The LoRA adapter.
    pub(crate) adapter: &'static [&'static str],
    /// Data-parallel ranks, each with a batch and a KV cache of its own.
    pub(crate) rank: &'static [&'static str],
    /// Workers of one rank, all of which tell the same: tensor-parallel ranks. Series that differ
    /// only in these are copies of each other.
    pub(crate) copies: &'static [&'static str],
}

/// The names of a fact, best first: the first that is on the page is taken, never the sum.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) fact: Fact,
    pub(crate) candidates: &'static [Candidate],
}

/// A name for a fact and how to read it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// Name of the family, after the prefix.
    pub(crate) name: &'static str,
    /// Families whose series are added to it, where they are on the page: other requests, never
    /// the same ones under another name.
    pub(crate) plus: &'static [&'static str],
    /// Labels that a series must have; an empty value stands for a missing label too.
    pub(crate) filter: &'static [(&'static str, &'static str)],
    pub(crate) take: Take,
    /// What a value is multiplied with to get the quantity's unit.
    pub(crate) scale: f64,
    pub(crate) combine: Combine,
}

/// What is taken of a family's series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Take {
    /// Its value, which holds now. Of a counter fact a rate per second, of a distribution a mean.
    Gauge,
    /// Its value, which only grows.
    Counter,
    /// Its buckets, sum and count.
    Histogram,
    /// Its value as the sum of a distribution whose count is another family's value.
    SumWithCount(&'static str),
    /// The product of the numbers in these labels, whatever its value.
    Labels(&'static [&'static str]),
    /// How many adapters are named in these labels, lists with commas, of the series with the
    /// largest value (a time).
    AdapterLists(&'static [&'static str]),
    /// How many models have a series.
    Models,
}

/// How the series of one process become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combine {
    /// Their sum: counts.
    Sum,
    /// Their mean: ratios. Weighted by each rank's KV-cache blocks where the page tells them.
    Mean,
    /// The largest: limits that hold for each rank.
    Max,
}

/// The definition of `engine`, where it was named; `None` for one without a metrics page of known
/// names.
pub(crate) fn definition(engine: Engine) -> Option<&'static Definition> {
    if engine == Engine::Nim {
        return Some(&nvidia::NIM_NAMED);
    }
    ALL.iter().copied().find(|definition| definition.engine == engine)
}

/// What a page is held against whose engine was not named, in the order in which they are preferred
/// where two fit it equally.
pub(crate) const ALL: &[&Definition] = &[
    &vllm::VLLM,
    &sglang::SGLANG,
    &huggingface::TGI,
    &huggingface::TEI,
    &nvidia::TRITON,
    &nvidia::TRTLLM_SERVE,
    &nvidia::NIM,
    &lmdeploy::LMDEPLOY,
    &llama_cpp::LLAMA_CPP,
    &vision::TORCH_SERVE,
    &vision::TENSORFLOW_SERVING,
];

impl LabelNames {
    /// Labels of an engine with one model and one rank that it does not name.
    pub(crate) const NONE: Self = Self {
        model: &[],
        adapter: &[],
        rank: &[],
        copies: &[],
    };
}

/// A gauge whose series are added.
const fn gauge(name: &'static str) -> Candidate {
    Candidate {
        name,
        plus: &[],
        filter: &[],
        take: Take::Gauge,
        scale: 1.0,
        combine: Combine::Sum,
    }
}

/// A gauge that is a part of a whole.
const fn ratio(name: &'static str) -> Candidate {
    gauge(name).combine(Combine::Mean)
}

const fn counter(name: &'static str) -> Candidate {
    gauge(name).take(Take::Counter)
}

const fn histogram(name: &'static str) -> Candidate {
    gauge(name).take(Take::Histogram)
}

/// Numbers in the labels of an info series.
const fn info(name: &'static str, labels: &'static [&'static str]) -> Candidate {
    gauge(name).take(Take::Labels(labels))
}

/// The mean of a distribution of which only the sum and the count are told, each by a counter.
const fn sum_with_count(sum: &'static str, count: &'static str) -> Candidate {
    gauge(sum).take(Take::SumWithCount(count))
}

/// How many models have a series of this family.
const fn models(name: &'static str) -> Candidate {
    gauge(name).take(Take::Models)
}

impl Candidate {
    const fn plus(mut self, plus: &'static [&'static str]) -> Self {
        self.plus = plus;
        self
    }

    const fn take(mut self, take: Take) -> Self {
        self.take = take;
        self
    }

    const fn combine(mut self, combine: Combine) -> Self {
        self.combine = combine;
        self
    }

    const fn scale(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }

    const fn filter(mut self, filter: &'static [(&'static str, &'static str)]) -> Self {
        self.filter = filter;
        self
    }
}

const fn row(fact: Fact, candidates: &'static [Candidate]) -> Row {
    Row { fact, candidates }
}
