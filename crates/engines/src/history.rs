use std::time::Duration;

use rheostat_reading::Timestamp;

use crate::fact::PerFact;
use crate::hash::mix;
use crate::index::Part;
use crate::report::{self, EngineReport};
use crate::sample::{Point, Sample, Told};
use crate::series::{Jump, MOST_SERIES, SeriesSet};
use crate::tally::{Gain, Tallies};
use crate::{Fact, View};

/// What one engine said over time, through one [`View`]: enough to tell rates and quantiles over the
/// view's window, and no more: less than 3 MiB whatever the pages are, mostly a hundredth of that.
///
/// What a counter gained between two scrapes is taken series by series, never from a sum of them, so
/// that a rank that restarts or a model that is unloaded does not make the others' counts look new:
/// - a series that did not fall gained the difference;
/// - one that fell was reset, and gained what it shows now (as in Prometheus' `increase`);
/// - one that is new gained what it shows, since the page before was whole and did not have it;
/// - one that is missing gained nothing.
///
/// Nothing is extrapolated to the ends of the window, so that three requests are three and not 3.4: an
/// increase is divided by the time between the two scrapes that it lies between, and
/// [`rheostat_reading::Reading::window`] tells this time. It is the view's window, or a little more, or
/// less while there are no older scrapes.
///
/// Where two scrapes were answered by different processes (one port, several of them), nothing of
/// them can be compared: rates and quantiles are absent until two scrapes in succession fit.
#[derive(Debug)]
pub struct History {
    window: Duration,
    series: SeriesSet,
    /// What all counters have gained since this history began.
    tallies: Tallies,
    /// When counters were last seen to jump back and forth.
    torn_at: Option<Timestamp>,
    /// How many series fell at once, at most. A series that comes late after a restart falls alone.
    fell: usize,
    pub(crate) newest: Option<Newest>,
    pub(crate) failure: Option<String>,
}

/// The newest scrape, but for its series.
#[derive(Debug)]
pub(crate) struct Newest {
    pub(crate) at: Timestamp,
    pub(crate) engine: Option<crate::Engine>,
    pub(crate) sleep: crate::Sleep,
    pub(crate) started: Option<f64>,
    pub(crate) told: PerFact<Told>,
    pub(crate) notes: Vec<String>,
}

/// How many series did what only resets, or several processes, can explain.
#[derive(Clone, Copy, Debug, Default)]
struct Jumps {
    down: usize,
    back: usize,
}

/// How a scrape follows the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Succession {
    /// There was none, or it was another engine's, or long ago.
    First,
    /// It is the same process, as far as can be told.
    Same,
    /// The process was started in between.
    Restarted,
    /// Another process answers.
    Other,
}

impl History {
    /// What the clocks of an engine and of whoever asks it may differ by, seconds.
    const CLOCK_SKEW: f64 = 60.0;

    /// Nothing known yet.
    #[must_use]
    pub fn new(view: &View) -> Self {
        Self {
            window: view.window,
            series: SeriesSet::default(),
            tallies: Tallies::default(),
            torn_at: None,
            fell: 0,
            newest: None,
            failure: None,
        }
    }

    /// A scrape succeeded at `at` and said `sample`.
    pub fn push(&mut self, sample: &Sample, at: Timestamp) {
        self.failure = None;
        let succession = self.succession(sample, at);
        if matches!(succession, Succession::First | Succession::Other) {
            self.forget();
        }
        let mut notes = sample.notes.clone();
        let jumps = self.count(sample, at, succession);
        let recently = self
            .torn_at
            .is_some_and(|torn_at| at.since(torn_at) <= self.reach());
        // The other process brings back all that fell. One that was restarted grows past what it was
        // here and there, for hours where a bucket is rare.
        let back = jumps.back > 0 && 2 * jumps.back >= self.fell;
        self.fell = self.fell.max(jumps.down);
        let torn = back || (jumps.down > 0 && recently);
        if torn {
            self.torn_at = Some(at);
            self.tallies.clear_moments();
        }
        if torn || succession == Succession::Other {
            notes.push(
                "counters jump back and forth: several processes answer on this port, so that rates \
                 cannot be told"
                    .to_owned(),
            );
        }
        let has = PerFact::from_fn(|fact| {
            matches!(sample.told.get(fact), Told::Counter | Told::Distribution { .. })
        });
        let oldest = at.minus(self.reach());
        self.tallies.keep(&has, at, self.window, oldest);
        if self.series.settle(sample.points.len(), oldest, at) {
            notes.push(format!(
                "more than {MOST_SERIES} series came and went: those that left the page are forgotten, and \
                 count as new if they come back"
            ));
        }
        self.newest = Some(Newest {
            at,
            engine: sample.engine,
            sleep: sample.sleep,
            started: sample.started,
            told: sample.told.clone(),
            notes,
        });
    }

    /// A scrape failed, for the reason `why`. What was known stays and grows old.
    pub fn fail(&mut self, why: String) {
        self.failure = Some(why);
    }

    /// What is known: of the newest scrape that succeeded, however old it is.
    #[must_use]
    pub fn report(&self) -> EngineReport {
        report::of(self)
    }

    /// What `fact` gained over the window; `None` where there is nothing yet to compare with.
    pub(crate) fn gain(&self, fact: Fact) -> Option<Gain<'_>> {
        self.tallies.gain(fact, self.window)
    }

    fn forget(&mut self) {
        self.series.clear();
        self.tallies.clear();
        self.fell = 0;
    }

    fn succession(&self, sample: &Sample, at: Timestamp) -> Succession {
        let Some(newest) = &self.newest else {
            return Succession::First;
        };
        if newest.engine != sample.engine || at.since(newest.at) > self.reach() {
            return Succession::First;
        }
        match (newest.started, sample.started) {
            (Some(before), Some(now)) if (now - before).abs() > 0.5 => {
                let asked = newest.at.unix_nanos() as f64 / 1e9;
                if now > before && now + Self::CLOCK_SKEW >= asked {
                    Succession::Restarted
                } else {
                    Succession::Other
                }
            }
            _ => Succession::Same,
        }
    }

    /// Adds to the tallies what the series of `sample` gained.
    fn count(&mut self, sample: &Sample, at: Timestamp, succession: Succession) -> Jumps {
        let mut jumps = Jumps::default();
        for &fact in Fact::ALL {
            let bounds = match sample.told.get(fact) {
                Told::Counter => &[][..],
                Told::Distribution { bounds, .. } => bounds,
                Told::Not(_) | Told::Now(..) => continue,
            };
            let known = self.newest.as_ref().is_some_and(|newest| {
                matches!(newest.told.get(fact), Told::Counter | Told::Distribution { .. })
            }) && matches!(succession, Succession::Same | Succession::Restarted);
            let tally = self.tallies.of(fact, bounds);
            for point in sample.points_of(fact) {
                let place = match point.part {
                    // The bounds are in order.
                    Part::Bucket => match bounds.binary_search_by(|bound| bound.total_cmp(&point.bound)) {
                        Ok(place) => Some(place),
                        Err(_) => continue,
                    },
                    Part::Value | Part::Sum | Part::Count => None,
                };
                if !point.value.is_finite() {
                    continue;
                }
                let gain = gain(&mut self.series, point, at, known, succession, &mut jumps);
                match (point.part, place) {
                    (Part::Sum, _) => tally.add_sum(gain),
                    (_, Some(place)) => tally.add_bucket(place, gain),
                    (_, None) => tally.add_count(gain),
                }
            }
        }
        jumps
    }

    /// What is older than this is compared with nothing: after a long silence the mean over it says
    /// little of the present.
    fn reach(&self) -> Duration {
        const LEAST: Duration = Duration::from_secs(120);
        self.window.saturating_add(self.window.max(LEAST))
    }
}

/// What the series of `point` gained.
fn gain(
    series: &mut SeriesSet,
    point: &Point,
    at: Timestamp,
    known: bool,
    succession: Succession,
    jumps: &mut Jumps,
) -> f64 {
    let value = point.value;
    let name = mix(
        mix(point.key, point.fact as u64),
        mix(point.part as u64, point.bound.to_bits()),
    );
    let Some(series) = series.get_mut(name) else {
        series.add(name, value, at);
        return if known { value.max(0.0) } else { 0.0 };
    };
    // All of it came since the restart, and what it was before says nothing any more: later it will grow
    // past that, which is no jump.
    if succession == Succession::Restarted {
        series.start_anew(value, at);
        return value.max(0.0);
    }
    let before = series.value;
    let gain = match series.show(value, at) {
        Some(Jump::Down) => {
            jumps.down += 1;
            value
        }
        jump => {
            jumps.back += usize::from(jump == Some(Jump::Back));
            value - before
        }
    };
    gain.max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, EngineChoice, Pages, Reader};

    /// A page of a vLLM of several ranks.
    fn page(ranks: usize, tokens: u64) -> String {
        let mut page = String::new();
        for rank in 0..ranks {
            let labels = format!("engine=\"{rank}\",model_name=\"m\"");
            for counter in [
                "prompt_tokens",
                "generation_tokens",
                "num_preemptions",
                "request_success",
            ] {
                page += &format!("vllm:{counter}_total{{{labels}}} {tokens}\n");
            }
            for latency in [
                "time_to_first_token_seconds",
                "inter_token_latency_seconds",
                "e2e_request_latency_seconds",
                "request_queue_time_seconds",
            ] {
                for bound in 0..20 {
                    page += &format!("vllm:{latency}_bucket{{{labels},le=\"{bound}\"}} {tokens}\n");
                }
                page += &format!("vllm:{latency}_bucket{{{labels},le=\"+Inf\"}} {tokens}\n");
                page += &format!("vllm:{latency}_sum{{{labels}}} {tokens}\n");
                page += &format!("vllm:{latency}_count{{{labels}}} {tokens}\n");
            }
        }
        page
    }

    /// What is held after two minutes, a scrape each two seconds.
    fn held(ranks: usize) -> (History, usize) {
        let view = View {
            window: Duration::from_secs(60),
            ..View::everything()
        };
        let mut reader = Reader::new(&EngineChoice::Named(Engine::Vllm)).unwrap();
        let (mut history, mut sample) = (History::new(&view), Sample::default());
        for scrape in 0..60 {
            let page = page(ranks, scrape * 100);
            let pages = Pages {
                main: page.as_bytes(),
                ..Pages::default()
            };
            reader.read(&pages, &view, &mut sample).unwrap();
            history.push(
                &sample,
                Timestamp::from_unix_nanos((2_000 + 2 * scrape) * 1_000_000_000),
            );
        }
        let bytes = history.series.bytes() + history.tallies.bytes();
        (history, bytes)
    }

    #[test]
    fn an_engine_whose_labels_are_always_new_costs_no_more_than_may_be() {
        const BUCKETS: usize = 500;
        const LATENCIES: [&str; 4] = [
            "time_to_first_token_seconds",
            "inter_token_latency_seconds",
            "e2e_request_latency_seconds",
            "request_queue_time_seconds",
        ];
        let view = View {
            window: Duration::from_secs(600),
            ..View::everything()
        };
        let mut reader = Reader::new(&EngineChoice::Named(Engine::Vllm)).unwrap();
        let (mut history, mut sample) = (History::new(&view), Sample::default());
        let (mut most, mut crowded) = (0, 0);
        // The 12 minutes to come would be kept, were there room: 5.8 MB of series.
        for scrape in 0..36 {
            let mut page = String::new();
            for latency in LATENCIES {
                for run in 0..2 {
                    for bound in 1..=BUCKETS {
                        let labels = format!("request=\"{scrape}-{run}\",le=\"{bound}\"");
                        page += &format!("vllm:{latency}_bucket{{{labels}}} 1\n");
                    }
                }
            }
            let pages = Pages {
                main: page.as_bytes(),
                ..Pages::default()
            };
            reader.read(&pages, &view, &mut sample).unwrap();
            assert_eq!(sample.points.len(), LATENCIES.len() * 2 * BUCKETS);
            history.push(
                &sample,
                Timestamp::from_unix_nanos((2_000 + 20 * scrape) * 1_000_000_000),
            );
            assert!(history.series.len() <= MOST_SERIES);
            most = most.max(history.series.bytes() + history.tallies.bytes());
            let report = history.report();
            crowded += usize::from(report.notes.iter().any(|note| note.contains("came and went")));
        }
        assert!(crowded > 5, "{crowded}");
        let moments = 34 * 8 * LATENCIES.len() * (BUCKETS + 2);
        assert!(most < 40 * MOST_SERIES + moments + 64 * 1024, "{most}");
    }

    #[test]
    fn an_engine_costs_40_bytes_of_each_series_and_8_of_each_bucket_and_moment() {
        let mut windows = Vec::new();
        for ranks in [1, 9] {
            let (history, bytes) = held(ranks);
            let series = ranks * (4 + 4 * 23);
            assert_eq!(history.series.len(), series);
            // A minute of two-second steps, and the scrape that it began with.
            assert_eq!(history.tallies.moments(), 31);
            let numbers = 4 * 2 + 4 * 23;
            let least = 40 * series + 31 * 8 * numbers;
            assert!((least..least + 8 * 1024).contains(&bytes), "{bytes} of {least}");
            windows.extend(history.gain(Fact::Ttft).map(|gain| gain.window));
        }
        assert_eq!(windows, [Duration::from_secs(60); 2]);
    }
}
