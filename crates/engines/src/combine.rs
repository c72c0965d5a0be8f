//! How the series of one process become one number.

use rheostat_reading::{Absent, Quality};

use crate::Fact;
use crate::catalogue::Combine;
use crate::index::Part;
use crate::sample::{Point, Told};

/// The series of a gauge as one number. `all` are the points of the whole page, for weights.
pub(crate) fn gauge(name: &str, fact: Fact, points: &[Point], how: Combine, all: &[Point]) -> Told {
    let bad = points
        .iter()
        .find(|point| !(point.value.is_finite() && point.value >= 0.0));
    if let Some(bad) = bad {
        return Told::Not(Absent::Failed(format!("`{name}` is {}", bad.value)));
    }
    let values = points.iter().map(|point| point.value);
    let value = match how {
        Combine::Sum => values.sum(),
        Combine::Max => values.fold(0.0, f64::max),
        Combine::Mean => {
            weighted(fact, points, all).unwrap_or_else(|| values.sum::<f64>() / count(points.len()))
        }
    };
    Told::Now(value, Quality::Measured)
}

/// The mean of a ratio of the KV cache over ranks, each as important as its cache is large; `None`
/// where the page does not tell how large each one is.
fn weighted(fact: Fact, points: &[Point], all: &[Point]) -> Option<f64> {
    if fact != Fact::KvCacheUsage || points.len() < 2 {
        return None;
    }
    let weight = |rank: u64| {
        [Fact::KvBlocks, Fact::KvTokens].into_iter().find_map(|fact| {
            all.iter()
                .find(|point| point.fact == fact && point.rank == rank)
                .map(|point| point.value)
                .filter(|value| value.is_finite() && *value > 0.0)
        })
    };
    let (mut sum, mut whole) = (0.0, 0.0);
    for point in points {
        let weight = weight(point.rank)?;
        sum += weight * point.value;
        whole += weight;
    }
    Some(sum / whole)
}

/// Of points that carry a time as their bound, the newest.
pub(crate) fn newest(points: &[Point]) -> &[Point] {
    points.last().map_or(&[], std::slice::from_ref)
}

/// The bounds of buckets that every series of a distribution has, in order. At these, and only these,
/// the counts of series with different buckets can be added.
pub(crate) fn bounds(points: &[Point]) -> Vec<f64> {
    let runs = || {
        points
            .chunk_by(|a, b| a.part == b.part && a.bound.total_cmp(&b.bound).is_eq())
            .filter(|run| run.first().is_some_and(|point| point.part == Part::Bucket))
    };
    let series = runs().map(<[Point]>::len).max().unwrap_or(0);
    runs()
        .filter(|run| run.len() == series)
        .filter_map(|run| run.first().map(|point| point.bound))
        .collect()
}

/// A small number of things as a float.
pub(crate) fn count(things: usize) -> f64 {
    u32::try_from(things).map_or(f64::MAX, f64::from)
}
