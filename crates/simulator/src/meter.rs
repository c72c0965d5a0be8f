//! What an engine's page would tell over the window: counters and buckets, as `rheostat_engines` reads them.

use std::collections::VecDeque;
use std::time::Duration;

use rheostat_reading::{Count, PerSecond, Ratio, Seconds};
use rheostat_sizing::Latency;

use crate::scenario::Delays;
use crate::server::Finished;
use crate::time::{Picoseconds, SECOND, duration, picoseconds, seconds};

/// Bounds of the buckets of vLLM's histograms (`vllm/v1/metrics/loggers.py`). With finer ones the policies
/// would see latencies better than any real page shows them.
const TTFT: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
const ITL: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
const E2E: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];

/// Buckets of each, with the last that has no end, and room.
const MOST_BUCKETS: usize = 24;

/// What one engine counted, scrape by scrape.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    interval: Picoseconds,
    window: usize,
    /// The scrape that will show what happens now, and what has happened since the one before.
    end: Picoseconds,
    open: Gain,
    closed: VecDeque<Gain>,
    /// Of all that is closed.
    total: Gain,
    /// The first scrape there can be: what was before it is compared with nothing.
    first: Picoseconds,
    busy: Busy,
}

/// What counters gained.
#[derive(Clone, Copy, Debug, Default)]
struct Gain {
    finished: u64,
    finished_prompt: u64,
    finished_output: u64,
    prefilled: u64,
    generated: u64,
    preempted: u64,
    ttft: Buckets,
    itl: Buckets,
    tpot: Buckets,
    e2e: Buckets,
}

/// A histogram of times, in nanoseconds so that taking off what was added leaves exactly nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Buckets {
    counts: [u32; MOST_BUCKETS],
    count: u64,
    nanos: u64,
}

/// When GPUs worked.
#[derive(Clone, Debug, Default)]
struct Busy {
    /// Each change: when, the busy time until then, and whether it is busy since.
    changes: VecDeque<(Picoseconds, Picoseconds, bool)>,
}

/// What a scrape tells beside the gauges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scrape {
    pub(crate) window: Duration,
    pub(crate) request_rate: Option<PerSecond>,
    pub(crate) prompt_token_rate: Option<PerSecond>,
    pub(crate) generation_token_rate: Option<PerSecond>,
    pub(crate) prompt_tokens_mean: Option<Count>,
    pub(crate) generation_tokens_mean: Option<Count>,
    pub(crate) preemption_rate: Option<PerSecond>,
    pub(crate) ttft: Option<Latency>,
    pub(crate) itl: Option<Latency>,
    pub(crate) tpot: Option<Latency>,
    pub(crate) e2e: Option<Latency>,
    pub(crate) busy: Ratio,
}

impl Meter {
    /// Of an engine that serves since `ready`; one that served long before the beginning has been scraped all
    /// the time.
    pub(crate) fn new(delays: &Delays, ready: Option<Picoseconds>) -> Self {
        let interval = picoseconds(delays.scrape).max(1);
        let window = (picoseconds(delays.window) / interval).max(1);
        let window = usize::try_from(window).unwrap_or(1);
        let (first, closed) = match ready {
            Some(ready) => (ready.div_ceil(interval) * interval, VecDeque::new()),
            None => (0, std::iter::repeat_n(Gain::default(), window).collect()),
        };
        Self {
            interval,
            window,
            end: first,
            open: Gain::default(),
            closed,
            total: Gain::default(),
            first,
            busy: Busy::default(),
        }
    }

    /// A request had its first token, so many tokens of prompt have been read for it.
    pub(crate) fn first_token(&mut self, now: Picoseconds, waited: Picoseconds) {
        self.at(now).ttft.add(TTFT, waited, 1);
    }

    /// Tokens of prompts were read.
    pub(crate) fn prefilled(&mut self, now: Picoseconds, tokens: u64) {
        self.at(now).prefilled += tokens;
    }

    /// First tokens, which come without a time between.
    pub(crate) fn generated(&mut self, now: Picoseconds, tokens: u64) {
        self.at(now).generated += tokens;
    }

    /// Tokens came, each `gap` after the one before.
    pub(crate) fn tokens(&mut self, now: Picoseconds, gap: Picoseconds, tokens: u64) {
        let open = self.at(now);
        open.generated += tokens;
        open.itl.add(ITL, gap, tokens);
    }

    /// A sequence was thrown out of the batch.
    pub(crate) fn preempted(&mut self, now: Picoseconds) {
        self.at(now).preempted += 1;
    }

    /// A request has ended.
    pub(crate) fn finished(&mut self, done: &Finished) {
        let open = self.at(done.at);
        open.finished += 1;
        open.finished_prompt += u64::from(done.job.prompt);
        open.finished_output += u64::from(done.job.output);
        if done.job.output > 1 {
            let each = (done.at - done.first) / u64::from(done.job.output - 1);
            open.tpot.add(ITL, each, 1);
        }
        open.e2e.add(E2E, done.at - done.job.arrived, 1);
    }

    /// Whether iterations run from now on.
    pub(crate) fn turn(&mut self, now: Picoseconds, busy: bool) {
        self.busy.turn(now, busy, self.interval);
    }

    /// The scrape at `now`, which is one of those times at which there are scrapes; `None` before the first.
    pub(crate) fn scrape(&mut self, now: Picoseconds) -> Option<Scrape> {
        if now < self.first {
            return None;
        }
        self.at(now + 1);
        let window = self.interval * self.closed.len() as u64;
        let total = &self.total;
        let rate = |gained: u64| (window > 0).then(|| PerSecond(gained as f64 / seconds(window)));
        let mean =
            |sum: u64| (window > 0 && total.finished > 0).then(|| Count(sum as f64 / total.finished as f64));
        Some(Scrape {
            window: duration(window),
            request_rate: rate(total.finished),
            prompt_token_rate: rate(total.prefilled),
            generation_token_rate: rate(total.generated),
            prompt_tokens_mean: mean(total.finished_prompt),
            generation_tokens_mean: mean(total.finished_output),
            preemption_rate: rate(total.preempted),
            ttft: total.ttft.latency(TTFT),
            itl: total.itl.latency(ITL),
            tpot: total.tpot.latency(ITL),
            e2e: total.e2e.latency(E2E),
            busy: self.busy.part(now, self.interval),
        })
    }

    /// What is counted at `now`.
    fn at(&mut self, now: Picoseconds) -> &mut Gain {
        if now > self.end {
            self.close(now);
        }
        &mut self.open
    }

    /// Goes on to the scrape that shows what happens at `now`.
    fn close(&mut self, now: Picoseconds) {
        while self.end < now {
            if self.end > self.first {
                self.total.add(&self.open);
                self.closed.push_back(self.open);
                if self.closed.len() > self.window
                    && let Some(old) = self.closed.pop_front()
                {
                    self.total.subtract(&old);
                }
            }
            self.open = Gain::default();
            self.end += self.interval;
            // Nothing happened for longer than anything is remembered.
            let gap = (now - 1) / self.interval * self.interval;
            if self.closed.len() == self.window && self.end + self.interval * self.window as u64 * 2 < gap {
                self.total = Gain::default();
                self.closed.iter_mut().for_each(|gain| *gain = Gain::default());
                self.end = gap;
            }
        }
    }
}

impl Gain {
    fn add(&mut self, other: &Self) {
        self.finished += other.finished;
        self.finished_prompt += other.finished_prompt;
        self.finished_output += other.finished_output;
        self.prefilled += other.prefilled;
        self.generated += other.generated;
        self.preempted += other.preempted;
        for (to, from) in [
            (&mut self.ttft, &other.ttft),
            (&mut self.itl, &other.itl),
            (&mut self.tpot, &other.tpot),
            (&mut self.e2e, &other.e2e),
        ] {
            to.count += from.count;
            to.nanos += from.nanos;
            to.counts
                .iter_mut()
                .zip(from.counts)
                .for_each(|(to, from)| *to += from);
        }
    }

    fn subtract(&mut self, other: &Self) {
        self.finished -= other.finished;
        self.finished_prompt -= other.finished_prompt;
        self.finished_output -= other.finished_output;
        self.prefilled -= other.prefilled;
        self.generated -= other.generated;
        self.preempted -= other.preempted;
        for (to, from) in [
            (&mut self.ttft, &other.ttft),
            (&mut self.itl, &other.itl),
            (&mut self.tpot, &other.tpot),
            (&mut self.e2e, &other.e2e),
        ] {
            to.count -= from.count;
            to.nanos -= from.nanos;
            to.counts
                .iter_mut()
                .zip(from.counts)
                .for_each(|(to, from)| *to -= from);
        }
    }
}

impl Buckets {
    fn add(&mut self, bounds: &[f64], time: Picoseconds, count: u64) {
        let nanos = time / 1000;
        let bucket = bounds.partition_point(|bound| *bound < nanos as f64 / 1e9);
        if let Some(bucket) = self.counts.get_mut(bucket) {
            *bucket += count as u32;
        }
        self.count += count;
        self.nanos += nanos * count;
    }

    fn latency(&self, bounds: &[f64]) -> Option<Latency> {
        let quantile = |part| Seconds(self.quantile(bounds, part));
        (self.count > 0).then(|| Latency {
            mean: Seconds(self.nanos as f64 / 1e9 / self.count as f64),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p95: quantile(0.95),
            p99: quantile(0.99),
        })
    }

    /// As Prometheus' `histogram_quantile`: spread evenly within a bucket, the beginning of the last.
    fn quantile(&self, bounds: &[f64], part: f64) -> f64 {
        let rank = part * self.count as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (upper, count) in bounds.iter().zip(self.counts) {
            let count = f64::from(count);
            if count > 0.0 && below + count >= rank {
                return lower + (upper - lower) * ((rank - below) / count);
            }
            below += count;
            lower = *upper;
        }
        lower
    }
}

impl Busy {
    fn turn(&mut self, now: Picoseconds, busy: bool, interval: Picoseconds) {
        let total = self.total(now);
        self.changes.push_back((now, total, busy));
        // One that is older than any question is kept, as the state that questions begin with.
        while self
            .changes
            .get(1)
            .is_some_and(|change| change.0 + 2 * interval < now)
        {
            self.changes.pop_front();
        }
    }

    /// Busy time until `at`.
    fn total(&self, at: Picoseconds) -> Picoseconds {
        let before = self.changes.iter().rev().find(|change| change.0 <= at);
        before.map_or(0, |(since, total, busy)| {
            total + if *busy { at - since } else { 0 }
        })
    }

    /// The part of the last `interval`, as NVML's utilisation is over its last sampling period.
    fn part(&self, now: Picoseconds, interval: Picoseconds) -> Ratio {
        let from = now.saturating_sub(interval);
        let busy = self.total(now) - self.total(from);
        Ratio(busy as f64 / (now - from).max(SECOND / 1000) as f64)
    }
}
