use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::TraceError;
use crate::format::Format;
use crate::input::Input;
use crate::random::{Gaps, Random};
use crate::request::Request;
use crate::source::{Draw, SECOND};
use crate::table::{Table, number};

/// The clients of a ServeGen trace (Alibaba, "ServeGen: Workload Characterization and Generation of Large
/// Language Model Serving in Production"): for each client and window the rate of its requests, and how
/// unevenly they come.
///
/// A window of a client has as many requests as its rate says, rounded by chance. The times between them
/// are drawn from the named family with the measured coefficient of variation and stretched to fill the
/// window, which begins anywhere within such a time. So the measured rate is kept exactly, and the CV as far
/// as so many requests can show it: n times have a CV of at most √(n - 1), and the file's highest ones are
/// just that. A multiplied trace has multiplied rates and the same CVs.
#[derive(Debug)]
pub(crate) struct Clients {
    /// Seconds of a window.
    window: u64,
    /// By window: what its clients do.
    windows: Vec<Vec<Share>>,
}

/// What one client does in one window.
#[derive(Clone, Copy, Debug)]
struct Share {
    client: u32,
    /// Requests per second.
    rate: f64,
    gaps: Gaps,
}

const NAMES: [&str; 5] = ["client", "window_start_s", "rate_rps", "cv", "family"];
const HEADER: &str = "the header client,window_start_s,rate_rps,cv,family,param1,param2";
const START: &str =
    "a whole number of seconds, at most 315360000, once for each client, at a fixed distance from the others";
const RATE: &str = "a number of requests per second, 0 to 1000000";
const CV: &str = "a coefficient of variation, 0 to 10000";
const FAMILY: &str = "Gamma, Weibull or Exponential";

/// ServeGen's windows where a file has only one.
const USUAL_WINDOW: u64 = 600;
/// The most windows times clients that are read, and the most windows there may be: two years of theirs.
const MOST: usize = 5_000_000;
const MOST_WINDOWS: u64 = 105_408;

impl Clients {
    /// Reads the table. Windows without requests may be left out, and the windows' length is the greatest
    /// that all starts are multiples of.
    pub(crate) fn read(input: &mut Input<'_>) -> Result<Self, TraceError> {
        let empty = TraceError::Empty {
            format: Format::ServeGen,
        };
        let Some(mut table) = Table::new(input, &NAMES, HEADER)? else {
            return Err(empty);
        };
        let mut shares: BTreeMap<(u64, u32), Share> = BTreeMap::new();
        let mut first = u64::MAX;
        let mut last = 0;
        let mut window = 0;
        while let Some(line) = table.next()? {
            let client = line.get(0, "a client's number", |text| text.parse().ok())?;
            let start: u64 = line.get(1, START, whole_seconds)?;
            let rate = line.get(2, RATE, |text| number(text, 0.0, 1e6))?;
            let cv = line.get(3, CV, |text| number(text, 0.0, 1e4))?;
            let gaps = line.get(4, FAMILY, |family| match family.to_ascii_lowercase().as_str() {
                "gamma" => Some(Gaps::gamma(cv)),
                "weibull" => Some(Gaps::weibull(cv)),
                "exponential" => Some(Gaps::gamma(1.0)),
                _ => None,
            })?;
            if shares.len() >= MOST {
                return Err(TraceError::TooLarge {
                    what: "windows of clients",
                    most: MOST as u64,
                });
            }
            window = divisor(
                window,
                start.abs_diff(shares.keys().next().map_or(start, |key| key.0)),
            );
            first = first.min(start);
            last = last.max(start);
            if shares
                .insert((start, client), Share { client, rate, gaps })
                .is_some()
                || (window > 0 && (last - first) / window > MOST_WINDOWS)
            {
                return Err(line.wrong(1, START));
            }
        }
        if window == 0 {
            window = USUAL_WINDOW;
        }
        if shares.values().all(|share| share.rate == 0.0) {
            return Err(empty);
        }
        let mut windows = vec![Vec::new(); usize::try_from((last - first) / window + 1).unwrap_or(1)];
        for ((start, _), share) in shares {
            let place = usize::try_from((start - first) / window).unwrap_or_default();
            if let Some(shares) = windows.get_mut(place) {
                shares.push(share);
            }
        }
        Ok(Self { window, windows })
    }

    pub(crate) fn window(&self) -> u64 {
        self.window * SECOND
    }

    pub(crate) fn length(&self) -> u64 {
        self.windows.len() as u64 * self.window()
    }

    fn shares(&self, window: u64) -> &[Share] {
        let place = usize::try_from(window).unwrap_or(usize::MAX);
        self.windows.get(place).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn expected(&self, window: u64) -> f64 {
        self.shares(window).iter().map(|share| share.rate).sum::<f64>() * self.window as f64
    }

    pub(crate) fn fill(&self, window: u64, draw: &Draw, into: &mut Vec<Request>) {
        let seconds = self.window as f64;
        let mut times = Vec::new();
        for share in self.shares(window) {
            let mut random = Random::new(draw.seed, u64::from(share.client), window);
            let count = random.round(share.rate * draw.factor * seconds);
            share.arrivals(count, seconds, &mut random, &mut times);
        }
        // The clients' times are in order each: the sort merges them.
        times.sort_by(f64::total_cmp);
        let start = Duration::from_nanos(window * self.window());
        let mut random = Random::new(draw.seed, u64::MAX, window);
        into.extend(times.into_iter().map(|time| {
            let (prompt_tokens, output_tokens) = draw.lengths.draw(&mut random);
            Request {
                at: start + Duration::from_secs_f64(time),
                prompt_tokens,
                output_tokens,
            }
        }));
    }
}

impl Share {
    /// `count` arrivals within `seconds`, in order: on a circle, since the window begins anywhere.
    fn arrivals(&self, count: u64, seconds: f64, random: &mut Random, into: &mut Vec<f64>) {
        if count == 0 {
            return;
        }
        let begin = into.len();
        let mut sum = 0.0;
        for _ in 0..count {
            sum += self.gaps.draw(random);
            into.push(sum);
        }
        // Gaps may all be too small for a number where the CV is beyond what so few can show.
        let stretch = if sum > 0.0 { seconds / sum } else { 0.0 };
        let turn = random.uniform() * seconds;
        // The last is before the end even where rounding says otherwise.
        let end = seconds * (1.0 - f64::EPSILON);
        let times = &mut into[begin..];
        for time in times.iter_mut() {
            let turned = *time * stretch + turn;
            *time = f64::min(
                if turned >= seconds {
                    turned - seconds
                } else {
                    turned
                },
                end,
            );
        }
        let wrapped = times.windows(2).position(|pair| pair[1] < pair[0]);
        if let Some(place) = wrapped {
            times.rotate_left(place + 1);
        }
    }
}

fn whole_seconds(text: &str) -> Option<u64> {
    // Ten years: what a mistyped start would make of the trace.
    text.parse().ok().filter(|seconds| *seconds <= 315_360_000)
}

/// The greatest common divisor (Euclid).
fn divisor(mut one: u64, mut two: u64) -> u64 {
    while two > 0 {
        (one, two) = (two, one % two);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_its_count_and_its_cv() {
        for (gaps, wanted, near) in [
            (Gaps::gamma(0.5), 0.5, 0.02),
            (Gaps::gamma(3.0), 3.0, 0.05),
            (Gaps::weibull(3.0), 3.0, 0.1),
            (Gaps::Even, 0.0, 1e-9),
        ] {
            let share = Share {
                client: 0,
                rate: 1.0,
                gaps,
            };
            let mut times = vec![-1.0];
            share.arrivals(200_000, 600.0, &mut Random::new(1, 1, 1), &mut times);
            assert_eq!(times.len(), 200_001);
            assert!(times.is_sorted() && times[1] >= 0.0 && times[200_000] < 600.0);
            let between: Vec<f64> = times[1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
            let mean = between.iter().sum::<f64>() / between.len() as f64;
            let squares = between.iter().map(|gap| (gap - mean) * (gap - mean)).sum::<f64>();
            let cv = (squares / between.len() as f64).sqrt() / mean;
            assert!(
                (cv - wanted).abs() <= near * f64::max(wanted, 1.0),
                "{wanted}: {cv}"
            );
        }
    }

    #[test]
    fn arrivals_fall_anywhere_in_a_window() {
        let share = Share {
            client: 0,
            rate: 1.0,
            gaps: Gaps::gamma(4.0),
        };
        let mut times = Vec::new();
        for seed in 0..20_000 {
            share.arrivals(3, 1.0, &mut Random::new(seed, 1, 1), &mut times);
        }
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }
}
