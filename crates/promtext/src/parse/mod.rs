//! Reading a page of metrics.
//!
//! ```
//! use rheostat_promtext::{Item, parse};
//!
//! let page = b"# TYPE queue gauge\nqueue{model=\"a}b\"} 3\nqueue{model=\"c\" oops\n";
//! let mut queue = None;
//! let mut broken = Vec::new();
//! for item in parse(page) {
//!     match item {
//!         Ok(Item::Sample(sample)) if sample.name == "queue" => {
//!             queue = Some((sample.labels.get("model").map(String::from), sample.value));
//!         }
//!         Ok(_) => {}
//!         Err(error) => broken.push((error.line, error.column)),
//!     }
//! }
//! assert_eq!(queue, Some((Some("a}b".to_owned()), 3.0)));
//! assert_eq!(broken, [(3, 17)]);
//! ```
//!
//! Every input has a decided answer: `EDGE.md` beside this crate lists them, and says where and why
//! it differs from that of Prometheus' own parser.

mod error;
mod escape;
mod families;
mod fast;
mod labels;
mod limits;
mod line;
mod metadata;
mod number;
mod parser;
mod scan;

use std::borrow::Cow;

pub use error::{LineError, Problem};
pub use families::Families;
pub use labels::{Labels, LabelsIter};
pub use limits::Limits;
pub use parser::{Parser, parse};

use crate::Format;
use line::Line;

/// What one line of a page says.
#[derive(Clone, Debug, PartialEq)]
pub enum Item<'page> {
    /// A value of a series.
    Sample(Sample<'page>),
    /// `# TYPE`: what the samples of a family mean.
    Type {
        /// The family; of an OpenMetrics counter without `_total`, of an info without `_info`.
        family: Cow<'page, str>,
        /// What they mean.
        kind: MetricKind,
    },
    /// `# HELP`: what a family is for.
    Help {
        /// The family, as in [`Item::Type`].
        family: Cow<'page, str>,
        /// Free text, which may be empty.
        text: Cow<'page, str>,
    },
    /// `# UNIT` (OpenMetrics only).
    Unit {
        /// The family, as in [`Item::Type`].
        family: Cow<'page, str>,
        /// The base unit with which the family's name ends, or empty.
        unit: &'page str,
    },
    /// `# EOF` (OpenMetrics only): the page says itself that it is whole.
    End,
}

/// A value of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'page> {
    /// Name of the series, with its suffix (`_bucket`, `_total`). Owned only where the page writes it
    /// in quotes with escapes in it.
    pub name: Cow<'page, str>,
    /// Its labels.
    pub labels: Labels<'page>,
    /// The value; NaN and the infinities are values too.
    pub value: f64,
    /// When it was measured, in milliseconds since 1970, where the page says so.
    pub timestamp_millis: Option<i64>,
    /// What is between the value and the end of the line where there is an exemplar, checked.
    exemplar: &'page str,
}

/// An event that a sample counts, told in more detail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar<'page> {
    /// Labels of the event, such as the trace that it belongs to.
    pub labels: Labels<'page>,
    /// Value of the event.
    pub value: f64,
    /// When it happened, in milliseconds since 1970, where the page says so.
    pub timestamp_millis: Option<i64>,
}

impl<'page> Sample<'page> {
    /// An event that the value counts (OpenMetrics only).
    #[must_use]
    pub fn exemplar(&self) -> Option<Exemplar<'page>> {
        // It was read before without an error; kept as text, it costs other samples nothing.
        Line::new(self.exemplar, Format::OpenMetrics)
            .exemplar(usize::MAX)
            .ok()
            .flatten()
    }
}

/// What the samples of a family mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Only grows while the process lives.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts in cumulative buckets, with a count and a sum.
    Histogram,
    /// As a histogram, of things that come and go (OpenMetrics only).
    GaugeHistogram,
    /// Quantiles computed by the process, with a count and a sum.
    Summary,
    /// Facts in labels (OpenMetrics only).
    Info,
    /// One of several states (OpenMetrics only).
    StateSet,
    /// Not said: `untyped`, in OpenMetrics `unknown`.
    Unknown,
}
