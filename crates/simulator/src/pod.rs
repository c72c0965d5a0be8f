use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rheostat_reading::{Count, Ratio, Timestamp};
use rheostat_sizing::{Milestones, Replica, Serving, Stage};

use crate::meter::{Meter, Scrape};
use crate::scenario::{ReadingFailures, Scenario};
use crate::server::{Outcome, Server};
use crate::time::{Picoseconds, START, from_seconds, picoseconds, timestamp};

/// One replica from being asked for until it has gone.
#[derive(Debug)]
pub(crate) struct Pod<S> {
    pub(crate) serial: u64,
    pub(crate) stage: Stage,
    pub(crate) server: S,
    pub(crate) meter: Option<Box<Meter>>,
    /// What each stage of its start takes.
    pub(crate) start: Start,
    pub(crate) node: Option<u64>,
    /// Since when it is paid for.
    pub(crate) billed_from: Option<Picoseconds>,
    /// Whether iterations ran when it was last looked at.
    pub(crate) busy: bool,
    /// Whether it has ever been ready.
    pub(crate) was_ready: bool,
    name: Arc<str>,
    created: Timestamp,
    milestones: Milestones,
    /// What the last scrape said.
    serving: Option<Serving>,
    utilization: Option<Ratio>,
    outages: Outages,
}

/// What each stage of a start takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) schedule: Picoseconds,
    pub(crate) image: Picoseconds,
    pub(crate) load: Picoseconds,
}

/// Times in which the readings of one replica fail.
#[derive(Debug)]
struct Outages {
    random: ChaCha8Rng,
    failures: ReadingFailures,
    next: Picoseconds,
}

impl<S: Server> Pod<S> {
    /// One that is asked for now.
    pub(crate) fn new(scenario: &Scenario, serial: u64, now: Picoseconds) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(scenario.seed);
        random.set_stream(2 * serial);
        let cold_start = &scenario.cold_start;
        let start = Start {
            schedule: cold_start.schedule.draw(&mut random),
            image: cold_start.image.draw(&mut random),
            load: cold_start.weights.draw(&mut random) + cold_start.engine.draw(&mut random),
        };
        Self {
            serial,
            stage: Stage::Pending,
            server: S::new(&scenario.engine),
            meter: None,
            start,
            node: None,
            billed_from: None,
            busy: false,
            was_ready: false,
            name: format!("replica-{serial}").into(),
            created: timestamp(now),
            milestones: Milestones::default(),
            serving: None,
            utilization: None,
            outages: Outages::new(random, scenario.failures, now),
        }
    }

    /// One that became ready an hour before the beginning, after a start like any other.
    pub(crate) fn warm(scenario: &Scenario, serial: u64) -> Self {
        let mut this = Self::new(scenario, serial, 0);
        let ready = START.minus(Duration::from_secs(3600));
        let before = |earlier: Timestamp, span: Picoseconds| earlier.minus(crate::time::duration(span));
        let started = before(ready, this.start.load);
        let scheduled = before(started, this.start.image);
        this.created = before(scheduled, this.start.schedule);
        this.milestones = Milestones {
            scheduled: Some(scheduled),
            started: Some(started),
            ready: Some(ready),
        };
        this.stage = Stage::Ready;
        this.was_ready = true;
        this.billed_from = Some(0);
        this
    }

    /// It has a node.
    pub(crate) fn scheduled(&mut self, now: Picoseconds) {
        self.stage = Stage::Starting;
        self.milestones.scheduled = Some(timestamp(now));
    }

    /// Its container runs.
    pub(crate) fn started(&mut self, now: Picoseconds) {
        self.milestones.started = Some(timestamp(now));
    }

    /// It serves.
    pub(crate) fn ready(&mut self, now: Picoseconds) {
        self.stage = Stage::Ready;
        self.was_ready = true;
        self.milestones.ready = Some(timestamp(now));
    }

    /// Its engine is asked what it has to say.
    pub(crate) fn scrape(&mut self, now: Picoseconds, scenario: &Scenario, preemptions: &mut u64) {
        let Some(meter) = &mut self.meter else {
            return;
        };
        let mut outcome = Outcome {
            meter: Some(meter),
            finished: &mut Vec::new(),
            preemptions,
        };
        self.server.settle(now, &mut outcome);
        let scrape = meter.scrape(now);
        let fails = self.outages.hold(now);
        let engine = &scenario.engine;
        let usage = self.server.kv_tokens() as f64 / f64::from(engine.kv_tokens);
        self.utilization = scrape.map(|scrape| scrape.busy);
        self.serving = scrape.filter(|_| !fails).map(|scrape| {
            let Scrape {
                window,
                request_rate,
                prompt_token_rate,
                generation_token_rate,
                prompt_tokens_mean,
                generation_tokens_mean,
                preemption_rate,
                ttft,
                itl,
                tpot,
                e2e,
                busy: _,
            } = scrape;
            Serving {
                taken_at: timestamp(now),
                window,
                waiting: Some(Count(f64::from(self.server.waiting()))),
                running: Some(Count(f64::from(self.server.running()))),
                kv_cache_usage: Some(Ratio(usage.min(1.0))),
                kv_tokens: Some(Count(f64::from(engine.kv_tokens))),
                max_sequences: Some(Count(f64::from(engine.max_sequences))),
                request_rate,
                prompt_token_rate,
                generation_token_rate,
                prompt_tokens_mean,
                generation_tokens_mean,
                preemption_rate,
                ttft,
                itl,
                tpot,
                e2e,
            }
        });
    }

    /// As a controller sees it.
    pub(crate) fn seen(&self, hardware: &Arc<str>) -> Replica {
        let ready = self.stage == Stage::Ready;
        Replica {
            name: Arc::clone(&self.name),
            hardware: Arc::clone(hardware),
            created: self.created,
            stage: self.stage,
            milestones: self.milestones,
            serving: self.serving.filter(|_| ready),
            gpu_utilization: self.utilization.filter(|_| ready),
            power: None,
        }
    }

    /// Which of two goes first when there are to be fewer: one without a node, one that is not ready, the
    /// younger (the order of the ReplicaSet controller, without its costs and its ranks by node).
    pub(crate) fn dispensable(&self) -> (bool, bool, u64) {
        (
            self.stage == Stage::Pending,
            self.stage != Stage::Ready,
            self.serial,
        )
    }
}

impl Outages {
    fn new(random: ChaCha8Rng, failures: ReadingFailures, now: Picoseconds) -> Self {
        let mut this = Self {
            random,
            failures,
            next: now,
        };
        this.draw(now);
        this
    }

    fn draw(&mut self, after: Picoseconds) {
        let gap = -(1.0 - self.random.random::<f64>()).ln() * 3600.0 / self.failures.per_hour;
        self.next = after.saturating_add(if gap.is_finite() {
            from_seconds(gap)
        } else {
            crate::time::LONGEST
        });
    }

    fn hold(&mut self, now: Picoseconds) -> bool {
        let lasting = picoseconds(self.failures.lasting);
        while self.next.saturating_add(lasting) < now {
            self.draw(self.next.saturating_add(lasting));
        }
        self.next <= now && lasting > 0
    }
}
