use std::f64::consts::TAU;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// The most points that a series may have.
const MOST_POINTS: usize = 100_000;

/// A value over time: in JSON a plain number, or an object with a `curve` (see [`Shape`]).
///
/// Time is in seconds since the scenario's time zero. Curves are integrated exactly, so that energy
/// and byte counters agree with power and rates at every moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Curve {
    /// Always the same.
    Constant(f64),
    /// Changing with time.
    Shape(Shape),
}

/// A value that changes with time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "curve", rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// Given points, in order of time; the first value holds before the first point, the last one
    /// after the last.
    Series {
        /// `[seconds, value]` each.
        points: Vec<(f64, f64)>,
        /// What holds between two points.
        #[serde(default)]
        interpolation: Interpolation,
    },
    /// `mean + amplitude * sin(2π (t / period + phase))`.
    Sine {
        /// Value in the middle.
        mean: f64,
        /// Greatest distance from the mean.
        amplitude: f64,
        /// Length of a cycle.
        period_seconds: f64,
        /// Part of a cycle by which the curve is ahead, 0 to 1.
        #[serde(default)]
        phase: f64,
    },
    /// `high` for the first `duty` part of each period, then `low`.
    Square {
        /// Value in the second part.
        low: f64,
        /// Value in the first part.
        high: f64,
        /// Length of a cycle.
        period_seconds: f64,
        /// Part of a cycle that is high, 0 to 1.
        #[serde(default = "half")]
        duty: f64,
    },
    /// `from` until `start_seconds`, then straight to `to`, which holds.
    Ramp {
        /// Value before.
        from: f64,
        /// Value after.
        to: f64,
        /// When the change begins.
        #[serde(default)]
        start_seconds: f64,
        /// How long it takes.
        duration_seconds: f64,
    },
}

/// What holds between two points of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The earlier point's value.
    #[default]
    Step,
    /// The straight line between them.
    Linear,
}

fn half() -> f64 {
    0.5
}

impl Curve {
    /// The value at `t` seconds.
    #[must_use]
    pub fn at(&self, t: f64) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Shape(shape) => shape.at(t),
        }
    }

    /// The integral from `a` to `b` seconds, `a <= b`.
    #[must_use]
    pub fn integral(&self, a: f64, b: f64) -> f64 {
        match self {
            Self::Constant(value) => value * (b - a),
            Self::Shape(shape) => shape.primitive(b) - shape.primitive(a),
        }
    }

    /// The least and the greatest value that it takes.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        match self {
            Self::Constant(value) => (*value, *value),
            Self::Shape(shape) => shape.range(),
        }
    }

    /// What is wrong with it, if it must stay within `least` and `greatest`.
    pub(crate) fn check(&self, least: f64, greatest: f64) -> Result<(), String> {
        if let Self::Shape(shape) = self {
            shape.check()?;
        }
        let (low, high) = self.range();
        if low.is_finite() && high.is_finite() && low >= least && high <= greatest {
            Ok(())
        } else {
            Err(format!(
                "takes values from {low} to {high}; {least} to {greatest} are allowed"
            ))
        }
    }
}

impl From<f64> for Curve {
    fn from(value: f64) -> Self {
        Self::Constant(value)
    }
}

impl Shape {
    fn at(&self, t: f64) -> f64 {
        match self {
            Self::Series {
                points,
                interpolation,
            } => {
                let next = points.partition_point(|(time, _)| *time <= t);
                let before = next.checked_sub(1).and_then(|index| points.get(index));
                match (before, points.get(next)) {
                    (Some((t0, v0)), Some((t1, v1))) if *interpolation == Interpolation::Linear => {
                        v0 + (v1 - v0) * (t - t0) / (t1 - t0)
                    }
                    (Some((_, value)), _) | (None, Some((_, value))) => *value,
                    (None, None) => 0.0,
                }
            }
            Self::Sine {
                mean,
                amplitude,
                period_seconds,
                phase,
            } => mean + amplitude * (TAU * (t / period_seconds + phase)).sin(),
            Self::Square {
                low,
                high,
                period_seconds,
                duty,
            } => {
                if (t / period_seconds).rem_euclid(1.0) < *duty {
                    *high
                } else {
                    *low
                }
            }
            Self::Ramp {
                from,
                to,
                start_seconds,
                duration_seconds,
            } => from + (to - from) * ((t - start_seconds) / duration_seconds).clamp(0.0, 1.0),
        }
    }

    /// A function of `t` whose differences are the curve's integrals.
    fn primitive(&self, t: f64) -> f64 {
        match self {
            Self::Series {
                points,
                interpolation,
            } => series_primitive(points, *interpolation, t),
            Self::Sine {
                mean,
                amplitude,
                period_seconds,
                phase,
            } => mean * t - amplitude * period_seconds / TAU * (TAU * (t / period_seconds + phase)).cos(),
            Self::Square {
                low,
                high,
                period_seconds,
                duty,
            } => {
                let cycles = (t / period_seconds).floor();
                let within = (t / period_seconds - cycles).min(*duty);
                low * t + (high - low) * period_seconds * (cycles * duty + within)
            }
            Self::Ramp {
                from,
                to,
                start_seconds,
                duration_seconds,
            } => {
                let progress = ((t - start_seconds) / duration_seconds).max(0.0);
                let area = if progress < 1.0 {
                    progress * progress / 2.0
                } else {
                    progress - 0.5
                };
                from * t + (to - from) * duration_seconds * area
            }
        }
    }

    fn range(&self) -> (f64, f64) {
        match self {
            Self::Series { points, .. } => points
                .iter()
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (_, v)| {
                    (low.min(*v), high.max(*v))
                }),
            Self::Sine { mean, amplitude, .. } => (mean - amplitude.abs(), mean + amplitude.abs()),
            Self::Square { low: a, high: b, .. } | Self::Ramp { from: a, to: b, .. } => {
                (a.min(*b), a.max(*b))
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let span = match self {
            Self::Series { points, .. } => {
                if points.is_empty() || points.len() > MOST_POINTS {
                    return Err(format!(
                        "has {} points; 1 to {MOST_POINTS} are allowed",
                        points.len()
                    ));
                }
                if points.iter().any(|(time, _)| !time.is_finite())
                    || points.windows(2).any(|pair| matches!(pair, [a, b] if a.0 >= b.0))
                {
                    return Err("has points that are not in order of time".to_owned());
                }
                return Ok(());
            }
            Self::Sine { period_seconds, .. } => *period_seconds,
            Self::Square {
                period_seconds, duty, ..
            } => {
                if !(0.0..=1.0).contains(duty) {
                    return Err(format!("has duty {duty}; 0 to 1 are allowed"));
                }
                *period_seconds
            }
            Self::Ramp { duration_seconds, .. } => *duration_seconds,
        };
        if span.is_finite() && span > 0.0 {
            Ok(())
        } else {
            Err(format!(
                "has a period or duration of {span} s; more than 0 is needed"
            ))
        }
    }
}

/// The integral of the series from its first point to `t`.
fn series_primitive(points: &[(f64, f64)], interpolation: Interpolation, t: f64) -> f64 {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return 0.0;
    };
    if t <= first.0 {
        return first.1 * (t - first.0);
    }
    let mut area = 0.0;
    for pair in points.windows(2) {
        let [(t0, v0), (t1, v1)] = pair else { break };
        if *t0 >= t {
            return area;
        }
        let end = t1.min(t);
        let at_end = match interpolation {
            Interpolation::Step => *v0,
            Interpolation::Linear => v0 + (v1 - v0) * (end - t0) / (t1 - t0),
        };
        area += (v0 + at_end) / 2.0 * (end - t0);
    }
    area + last.1 * (t - last.0).max(0.0)
}

// Written by hand: an untagged enum would answer every mistake with "did not match any variant".
impl<'de> Deserialize<'de> for Curve {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrShape;
        impl<'de> Visitor<'de> for NumberOrShape {
            type Value = Curve;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a number or an object with a `curve`")
            }

            fn visit_f64<E>(self, value: f64) -> Result<Curve, E> {
                Ok(Curve::Constant(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Curve, E> {
                Ok(Curve::Constant(value as f64))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Curve, E> {
                Ok(Curve::Constant(value as f64))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Curve, A::Error> {
                Shape::deserialize(MapAccessDeserializer::new(map)).map(Curve::Shape)
            }
        }
        deserializer.deserialize_any(NumberOrShape)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shapes() -> impl Strategy<Value = Curve> {
        let value = 0.0..100.0;
        prop_oneof![
            value.clone().prop_map(Curve::Constant),
            (value.clone(), value.clone(), 1.0..50.0, 0.0..1.0).prop_map(
                |(mean, amplitude, period_seconds, phase)| {
                    Curve::Shape(Shape::Sine {
                        mean,
                        amplitude,
                        period_seconds,
                        phase,
                    })
                }
            ),
            (value.clone(), value.clone(), 1.0..50.0, 0.0..1.0).prop_map(
                |(low, high, period_seconds, duty)| {
                    Curve::Shape(Shape::Square {
                        low,
                        high,
                        period_seconds,
                        duty,
                    })
                }
            ),
            (value.clone(), value.clone(), -20.0..50.0, 0.1..50.0).prop_map(
                |(from, to, start_seconds, duration_seconds)| {
                    Curve::Shape(Shape::Ramp {
                        from,
                        to,
                        start_seconds,
                        duration_seconds,
                    })
                }
            ),
            (prop::collection::vec((0.1..10.0, value), 1..8), any::<bool>()).prop_map(|(steps, linear)| {
                let mut time = -5.0;
                let points = steps
                    .into_iter()
                    .map(|(span, value)| {
                        time += span;
                        (time, value)
                    })
                    .collect();
                let interpolation = if linear {
                    Interpolation::Linear
                } else {
                    Interpolation::Step
                };
                Curve::Shape(Shape::Series {
                    points,
                    interpolation,
                })
            }),
        ]
    }

    proptest! {
        #[test]
        fn the_integral_is_the_area_under_the_curve(curve in shapes(), start in -20.0..60.0, span in 0.5..30.0) {
            let steps = 20_000;
            let width = span / f64::from(steps);
            let area: f64 = (0..steps).map(|i| curve.at(start + (f64::from(i) + 0.5) * width) * width).sum();
            let exact = curve.integral(start, start + span);
            prop_assert!((area - exact).abs() < 0.5, "area {area}, integral {exact}");
        }

        #[test]
        fn values_stay_within_the_range(curve in shapes(), t in -20.0..60.0) {
            let (low, high) = curve.range();
            prop_assert!(curve.at(t) >= low - 1e-9 && curve.at(t) <= high + 1e-9);
        }

    }

    #[test]
    fn json_gives_the_same_curve_back() {
        let sine = Shape::Sine {
            mean: 40.0,
            amplitude: 12.5,
            period_seconds: 60.0,
            phase: 0.25,
        };
        let points = vec![(0.0, 10.0), (1.5, 95.0)];
        let series = Shape::Series {
            points,
            interpolation: Interpolation::Linear,
        };
        for curve in [Curve::Constant(2.5), Curve::Shape(sine), Curve::Shape(series)] {
            let text = serde_json::to_string(&curve).unwrap();
            assert_eq!(serde_json::from_str::<Curve>(&text).unwrap(), curve, "{text}");
        }
    }

    #[test]
    fn a_bad_curve_is_refused_with_what_is_allowed() {
        let wrong = serde_json::from_str::<Curve>(r#"{"curve": "triangle"}"#)
            .unwrap_err()
            .to_string();
        assert!(wrong.contains("triangle") && wrong.contains("sine"), "{wrong}");
        let high = Curve::Constant(140.0).check(0.0, 100.0).unwrap_err();
        assert!(high.contains("140") && high.contains("0 to 100"), "{high}");
        let order = Curve::Shape(Shape::Series {
            points: vec![(2.0, 1.0), (1.0, 1.0)],
            interpolation: Interpolation::Step,
        });
        assert!(order.check(0.0, 100.0).is_err());
        let still = Curve::Shape(Shape::Sine {
            mean: 1.0,
            amplitude: 1.0,
            period_seconds: 0.0,
            phase: 0.0,
        });
        assert!(still.check(0.0, 100.0).is_err());
    }
}
