//! Writing a page of metrics.
//!
//! ```
//! use rheostat_promtext::{Encoder, Kind, negotiate};
//!
//! let mut page = Encoder::new(negotiate("text/plain"));
//! let mut power = page.family("rheostat_gpu_power_watts", Kind::Gauge, "watts", "Power drawn.")?;
//! power.sample(&[("gpu_uuid", "GPU-1")], 312.5)?;
//! power.sample(&[("gpu_uuid", "GPU-2")], 70.0)?;
//! let text = page.finish();
//! assert!(text.contains("rheostat_gpu_power_watts{gpu_uuid=\"GPU-1\"} 312.5\n"));
//! # Ok::<(), rheostat_promtext::EncodeError>(())
//! ```

mod error;
mod format;
mod names;
mod text;

use std::collections::HashSet;

pub use error::EncodeError;
pub use format::{Format, negotiate};

use crate::HistogramSnapshot;

/// A page of metrics in the making.
///
/// Nothing is written of a family or a sample that is refused, so that the page stays well-formed
/// also when its maker goes on after an error.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    text: String,
    /// Names that families on the page have or that their samples have.
    taken: HashSet<String>,
}

/// What the samples of a family mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A value that rises and falls.
    Gauge,
    /// A value that only grows while the process lives. Its name ends in `_total`.
    Counter,
    /// Values in buckets.
    Histogram,
    /// Facts in labels; the value is always 1. Its name ends in `_info`.
    Info,
}

/// The samples of one family, of which there may be none. While it lives no other family can be
/// begun, so that samples of two families cannot mix.
#[derive(Debug)]
pub struct Family<'page> {
    format: Format,
    text: &'page mut String,
    name: String,
    kind: Kind,
    /// Label sets of the samples so far, as they are written.
    series: HashSet<String>,
}

impl Encoder {
    /// An empty page.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            text: String::new(),
            taken: HashSet::new(),
        }
    }

    /// Begins a family.
    ///
    /// `name` is the name that its samples have in queries: of a counter with `_total`, of an info
    /// with `_info`, of a histogram without `_bucket`. `unit` is a base unit in plural (`seconds`,
    /// `bytes`, `ratio`) with which the name ends (before `_total`), or empty for things counted.
    pub fn family(
        &mut self,
        name: &str,
        kind: Kind,
        unit: &str,
        help: &str,
    ) -> Result<Family<'_>, EncodeError> {
        names::check_family(name, kind, unit)?;
        if help.trim().is_empty() {
            return Err(EncodeError::NoHelp { family: name.into() });
        }
        let wanted = names::taken_by(name, kind);
        if let Some(taken) = wanted.iter().find(|wanted| self.taken.contains(wanted.as_str())) {
            return Err(EncodeError::DuplicateFamily {
                family: name.into(),
                taken: taken.clone(),
            });
        }
        self.taken.extend(wanted);
        text::family_head(&mut self.text, self.format, name, kind, unit, help);
        Ok(Family {
            format: self.format,
            text: &mut self.text,
            name: name.into(),
            kind,
            series: HashSet::new(),
        })
    }

    /// The page.
    #[must_use]
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Family<'_> {
    /// Writes one sample of a gauge or a counter; of an info, with the value 1.
    ///
    /// A counter is neither negative nor NaN. Absent values are not written at all: NaN is for
    /// those who mean it.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> Result<(), EncodeError> {
        match self.kind {
            Kind::Gauge => {}
            Kind::Counter if value >= 0.0 => {}
            Kind::Info if (value - 1.0).abs() < f64::EPSILON => {}
            Kind::Counter | Kind::Info => {
                return Err(EncodeError::Value {
                    family: self.name.clone(),
                    kind: self.kind,
                    value,
                });
            }
            Kind::Histogram => return Err(self.wrong_kind("a plain sample")),
        }
        let labels = self.take_series(labels)?;
        text::sample(
            self.text,
            &self.name,
            "",
            &labels,
            None,
            &text::number(value, false),
        );
        Ok(())
    }

    /// Writes one sample of an info.
    pub fn info(&mut self, labels: &[(&str, &str)]) -> Result<(), EncodeError> {
        match self.kind {
            Kind::Info => self.sample(labels, 1.0),
            _ => Err(self.wrong_kind("an info")),
        }
    }

    /// Writes the buckets, the sum and the count of a histogram.
    pub fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        values: &HistogramSnapshot,
    ) -> Result<(), EncodeError> {
        if self.kind != Kind::Histogram {
            return Err(self.wrong_kind("a histogram"));
        }
        values.check().map_err(|source| EncodeError::Bounds {
            family: self.name.clone(),
            source,
        })?;
        let labels = self.take_series(labels)?;
        let bounds = values.bounds.iter().copied().chain([f64::INFINITY]);
        let mut cumulative = 0u64;
        for (bound, count) in bounds.zip(&values.counts) {
            cumulative = cumulative.saturating_add(*count);
            let bound = text::number(bound, self.format == Format::OpenMetrics);
            text::sample(
                self.text,
                &self.name,
                "_bucket",
                &labels,
                Some(&bound),
                &cumulative.to_string(),
            );
        }
        text::sample(
            self.text,
            &self.name,
            "_sum",
            &labels,
            None,
            &text::number(values.sum, false),
        );
        text::sample(
            self.text,
            &self.name,
            "_count",
            &labels,
            None,
            &cumulative.to_string(),
        );
        Ok(())
    }

    /// Writes `labels` in the order of their names and notes that the family has this series now.
    fn take_series(&mut self, labels: &[(&str, &str)]) -> Result<String, EncodeError> {
        let mut labels = labels.to_vec();
        labels.sort_unstable();
        names::check_labels(&self.name, self.kind, &labels)?;
        let written = text::labels(&labels);
        if !self.series.insert(written.clone()) {
            return Err(EncodeError::DuplicateSample {
                family: self.name.clone(),
                labels: written,
            });
        }
        Ok(written)
    }

    fn wrong_kind(&self, sample: &'static str) -> EncodeError {
        EncodeError::WrongKind {
            family: self.name.clone(),
            kind: self.kind,
            sample,
        }
    }
}
