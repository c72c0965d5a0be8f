//! `/metrics`: the newest snapshot and the agent's own counters, written anew for each scrape, so
//! that a pod or device that is gone is gone from the page too.

mod dcgm;
mod engines;
mod node;
mod own;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rheostat_promtext::{EncodeError, Encoder, Family, Kind, negotiate};
use rheostat_reading::{Absent, Measurable, Unit};

use crate::NodeSnapshot;
use crate::counters::Counters;
use crate::engines::Engines;

/// Which names `/metrics` gives its metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricNames {
    /// `rheostat_…`, in base units.
    #[default]
    Rheostat,
    /// The names, units and labels of dcgm-exporter, for dashboards and rules made for it.
    Dcgm,
    /// Both.
    Both,
}

/// Not the name of a set of metric names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("names \"{0}\": use rheostat, dcgm or both")]
pub struct UnknownNames(String);

/// A quantity's name with its unit, for those who see only the name: `power_watts`,
/// `memory_used_ratio`. The unit stands once, and a ratio is no percentage.
#[must_use]
pub fn unit_name(quantity: impl Measurable) -> String {
    let name = quantity.to_string();
    let base = name
        .strip_suffix("_percent")
        .or_else(|| name.strip_suffix("_bytes"))
        .unwrap_or(&name);
    match quantity.unit() {
        Unit::Count => base.to_owned(),
        unit => format!("{base}_{}", unit.suffix()),
    }
}

/// A page and how it is labelled.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) content_type: &'static str,
    pub(crate) text: String,
}

/// The page for a client that sent the header `Accept: accept`.
pub(crate) fn page(
    snapshot: Option<&NodeSnapshot>,
    counters: &Counters,
    engines: Option<&Engines>,
    names: MetricNames,
    accept: Option<&str>,
) -> Page {
    let format = negotiate(accept.unwrap_or_default());
    let mut page = Encoder::new(format);
    if names != MetricNames::Dcgm {
        own::write(&mut page, snapshot, counters);
        if let Some(engines) = engines {
            engines::write_own(&mut page, engines);
        }
    }
    if let Some(snapshot) = snapshot {
        if names != MetricNames::Dcgm {
            node::write(&mut page, snapshot);
            engines::write(&mut page, snapshot);
        }
        if names != MetricNames::Rheostat {
            dcgm::write(&mut page, snapshot);
        }
    }
    Page {
        content_type: format.content_type(),
        text: page.finish(),
    }
}

/// Labels of one sample.
type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Writes a family, or nothing where it has no samples.
///
/// A sample that the encoder refuses is a defect of ours and is logged; the page stays well-formed.
fn family<'a>(
    page: &mut Encoder,
    name: &str,
    kind: Kind,
    unit: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Labels<'a>, f64)>,
) {
    let mut samples = samples.into_iter().peekable();
    if samples.peek().is_none() {
        return;
    }
    match page.family(name, kind, unit, help) {
        Ok(mut family) => samples.for_each(|(labels, value)| sample(&mut family, &labels, value)),
        Err(error) => tracing::error!(%error, "a metric cannot be written"),
    }
}

fn sample(family: &mut Family<'_>, labels: &Labels<'_>, value: f64) {
    match family.sample(labels, value) {
        // Two compute instances in one GPU instance, or a container with two claims on one device,
        // have the same labels and the same value.
        Ok(()) | Err(EncodeError::DuplicateSample { .. }) => {}
        Err(error) => tracing::error!(%error, "a metric cannot be written"),
    }
}

/// Why a reading is absent, as a label: a fixed set, without details.
fn reason(absent: &Absent) -> &'static str {
    match absent {
        Absent::NotSupported => "not_supported",
        Absent::NoPermission => "no_permission",
        Absent::DeviceLost => "device_lost",
        Absent::NoDriver(_) => "no_driver",
        Absent::NotYet => "not_yet",
        Absent::Stale(_) => "stale",
        Absent::Failed(_) => "failed",
        Absent::Unattributable => "unattributable",
        Absent::NoTraffic => "no_traffic",
    }
}

/// How often each key occurs.
fn tally<K: Ord>(keys: impl IntoIterator<Item = K>) -> BTreeMap<K, f64> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key).or_insert(0.0) += 1.0;
    }
    counts
}

impl FromStr for MetricNames {
    type Err = UnknownNames;

    fn from_str(name: &str) -> Result<Self, UnknownNames> {
        match name {
            "rheostat" => Ok(Self::Rheostat),
            "dcgm" => Ok(Self::Dcgm),
            "both" => Ok(Self::Both),
            other => Err(UnknownNames(other.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for MetricNames {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Rheostat => "rheostat",
            Self::Dcgm => "dcgm",
            Self::Both => "both",
        })
    }
}
