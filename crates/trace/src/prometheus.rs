use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::error::TraceError;
use crate::format::Format;
use crate::input::Input;
use crate::random::Random;
use crate::request::Request;
use crate::source::{Draw, SECOND};

/// A rate of requests over time, in equal steps; requests come by chance (Poisson) at that rate.
#[derive(Debug)]
pub(crate) struct Rates {
    /// Nanoseconds of a step.
    step: u64,
    /// Windows of a step: a Poisson process may be drawn piece by piece.
    pieces: u64,
    /// Requests per second, by step.
    rates: Vec<f64>,
}

/// An answer of `/api/v1/query_range`, or only its `data` (`promtool query range -o json` writes only the
/// result).
#[derive(Deserialize)]
#[serde(untagged)]
enum Export {
    Answer { data: Data },
    Data(Data),
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    #[serde(default)]
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Series {
    values: Vec<(f64, String)>,
}

/// The largest document, in bytes.
const LARGEST: u64 = 256 << 20;
/// The longest piece that is drawn at once, so that it needs little memory.
const LONGEST_PIECE: u64 = 10 * SECOND;
/// The most steps: ten years of minutes.
const MOST_STEPS: u64 = 5_270_400;
const RATE: &str = "a number of requests per second, 0 to 1000000";
/// Longest step, seconds: with longer ones nothing is left of how a load behaves.
const LONGEST_STEP: f64 = 86_400.0;

impl Rates {
    /// The sum of all series. A moment for which some series has no value counts without it, since pods come
    /// and go; one for which none has is refused: absent is not zero.
    pub(crate) fn read(input: Input<'_>) -> Result<Self, TraceError> {
        let text = input.all(LARGEST)?;
        let wrong = |source: serde_json::Error| TraceError::Json {
            line: source.line().max(1) as u64,
            format: Format::Prometheus,
            source,
        };
        let (Export::Answer { data } | Export::Data(data)) = serde_json::from_slice(&text).map_err(wrong)?;
        if data.kind != "matrix" {
            return Err(series(
                "resultType",
                &data.kind,
                "matrix, the result of a range query,",
            ));
        }
        let all: Vec<Series> = serde_json::from_value(data.result).map_err(wrong)?;
        let mut sums: BTreeMap<u64, f64> = BTreeMap::new();
        for (place, one) in all.iter().enumerate() {
            for (at, text) in &one.values {
                let key = || format!("result[{place}] at {at}");
                let value = crate::table::number(text, 0.0, 1e6).ok_or_else(|| series(&key(), text, RATE))?;
                let at = milliseconds(*at).ok_or_else(|| series(&key(), &at.to_string(), "a time"))?;
                *sums.entry(at).or_default() += value;
            }
        }
        Self::from_sums(&sums)
    }

    fn from_sums(sums: &BTreeMap<u64, f64>) -> Result<Self, TraceError> {
        let empty = TraceError::Empty {
            format: Format::Prometheus,
        };
        let (Some(first), Some(last)) = (sums.keys().next(), sums.keys().next_back()) else {
            return Err(empty);
        };
        if sums.values().all(|rate| *rate == 0.0) {
            return Err(empty);
        }
        let moments: Vec<u64> = sums.keys().copied().collect();
        let step = moments
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .min()
            .unwrap_or(0);
        if step == 0 || step as f64 > LONGEST_STEP * 1e3 {
            let found = format!("{} moments, {} s apart", moments.len(), step as f64 / 1e3);
            return Err(series("result", &found, "at least two, at most a day apart,"));
        }
        if let Some(pair) = moments.windows(2).find(|pair| pair[1] - pair[0] != step) {
            return Err(series(
                "result",
                &format!(
                    "no value between {} and {}",
                    pair[0] as f64 / 1e3,
                    pair[1] as f64 / 1e3
                ),
                "a value at every step (where it is known that nothing came, add `or vector(0)` to the query)",
            ));
        }
        if (last - first) / step >= MOST_STEPS {
            return Err(TraceError::TooLarge {
                what: "steps",
                most: MOST_STEPS,
            });
        }
        if let Some((at, rate)) = sums.iter().find(|(_, rate)| **rate > 1e6) {
            let key = format!("the sum at {}", *at as f64 / 1e3);
            return Err(series(&key, &rate.to_string(), RATE));
        }
        Ok(Self::new(
            Duration::from_millis(step),
            sums.values().copied().collect(),
        ))
    }

    /// `rates` in requests per second, each for `step`, which is not 0.
    pub(crate) fn new(step: Duration, rates: Vec<f64>) -> Self {
        let step = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX).max(1);
        let pieces = step.div_ceil(LONGEST_PIECE);
        // A window is a whole number of nanoseconds.
        let step = step.div_ceil(pieces) * pieces;
        Self { step, pieces, rates }
    }

    pub(crate) fn window(&self) -> u64 {
        self.step / self.pieces
    }

    pub(crate) fn length(&self) -> u64 {
        self.step * self.rates.len() as u64
    }

    /// Requests per second in `window`.
    fn rate(&self, window: u64) -> f64 {
        let place = usize::try_from(window / self.pieces).unwrap_or(usize::MAX);
        self.rates.get(place).copied().unwrap_or_default()
    }

    pub(crate) fn expected(&self, window: u64) -> f64 {
        self.rate(window) * self.window() as f64 / SECOND as f64
    }

    pub(crate) fn fill(&self, window: u64, draw: &Draw, into: &mut Vec<Request>) {
        let rate = self.rate(window) * draw.factor;
        if rate == 0.0 {
            return;
        }
        let mut random = Random::new(draw.seed, 0, window);
        let start = Duration::from_nanos(window * self.window());
        let length = self.window() as f64 / SECOND as f64;
        let mut time = random.exponential() / rate;
        while time < length {
            let (prompt_tokens, output_tokens) = draw.lengths.draw(&mut random);
            into.push(Request {
                at: start + Duration::from_secs_f64(time),
                prompt_tokens,
                output_tokens,
            });
            time += random.exponential() / rate;
        }
    }
}

/// Prometheus' times are seconds with at most three digits behind the point.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within bounds"
)]
fn milliseconds(seconds: f64) -> Option<u64> {
    (0.0..1e12)
        .contains(&seconds)
        .then(|| (seconds * 1e3).round() as u64)
}

fn series(key: &str, found: &str, wanted: &'static str) -> TraceError {
    TraceError::Series {
        key: key.to_owned(),
        found: found.chars().take(60).collect(),
        wanted,
    }
}
