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
    let sizes = [Fact::KvBlocks, Fact::KvTokens].map(|fact| by_rank(fact, all));
    let weight = |rank: u64| {
        sizes.iter().find_map(|sizes| {
            let place = sizes.binary_search_by_key(&rank, |size| size.0).ok()?;
            let (_, size) = *sizes.get(place)?;
            (size.is_finite() && size > 0.0).then_some(size)
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

/// The first value of `fact` of each rank, in the order of the ranks.
fn by_rank(fact: Fact, all: &[Point]) -> Vec<(u64, f64)> {
    let points = all.iter().filter(|point| point.fact == fact);
    let mut values: Vec<_> = points.map(|point| (point.rank, point.value)).collect();
    values.sort_by_key(|value| value.0);
    values.dedup_by_key(|value| value.0);
    values
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

#[cfg(test)]
mod tests {
    use super::*;

    fn point(fact: Fact, key: u64, rank: u64, value: f64) -> Point {
        Point {
            fact,
            part: Part::Value,
            bound: 0.0,
            key,
            rank,
            value,
            source: 0,
            place: 0,
        }
    }

    #[test]
    fn each_rank_is_weighed_by_its_first_size() {
        let sizes = [
            point(Fact::KvBlocks, 1, 7, 30.0),
            point(Fact::KvBlocks, 2, 7, 1.0),
            point(Fact::KvBlocks, 3, 5, f64::NAN),
            point(Fact::KvTokens, 4, 5, 10.0),
            point(Fact::KvTokens, 5, 7, 99.0),
        ];
        let usage = [
            point(Fact::KvCacheUsage, 1, 5, 1.0),
            point(Fact::KvCacheUsage, 2, 7, 0.2),
        ];
        let mean = |all: &[Point]| gauge("usage", Fact::KvCacheUsage, &usage, Combine::Mean, all);
        let told = |value| Told::Now(value, Quality::Measured);
        assert_eq!(mean(&sizes), told((10.0 + 30.0 * 0.2) / 40.0));
        // Where one rank's size is not known, all count the same.
        assert_eq!(mean(&sizes[..3]), told(0.6));
    }
}
