//! The text formats of Prometheus: version 0.0.4 and OpenMetrics 1.0.0.
//!
//! [`parse`] reads a page, whatever state it is in, without an allocation per sample.
//! [`Encoder`] writes a page from a snapshot, anew for each scrape: series of pods and GPUs that
//! are gone are gone from the page too, which a registry that only ever grows cannot give.
//! [`Counter`] and [`Histogram`] count what happens between scrapes; they belong to whoever counts.

pub mod encode;
mod metrics;
pub mod parse;

pub use encode::{EncodeError, Encoder, Family, Format, Kind, negotiate};
pub use metrics::{BoundsError, Counter, Histogram, HistogramSnapshot};
pub use parse::{
    Exemplar, Families, Item, Labels, Limits, LineError, MetricKind, Parser, Problem, Sample, parse,
};
