//! The engines on this node: who wants which, and what they say.

mod list;
mod lists;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rheostat_engines::{EngineReport, Sleep, Target, TargetId};
use rheostat_proto::{agent, engine_refusal_to_proto, engine_report_to_proto};
use rheostat_reading::{Clock, Readings, Timestamp};
use rheostat_scraper::{Scraper, ScraperOptions, Stats};
use tokio::time::Instant;

use crate::NodeSnapshot;
use list::CheckedList;
use lists::{Lists, StreamId};

/// How engines are scraped.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Different targets at once, whoever names them; and as many are read of one subscriber's list.
    pub max_targets: usize,
    /// Scrapes at once.
    pub concurrency: usize,
    /// For how long what a subscriber named is scraped on after its stream has ended, so that one that
    /// comes back finds its rates and windows as it left them.
    pub grace: Duration,
    /// Whether addresses of this machine may be scraped: in tests and demonstrations only.
    pub allow_loopback: bool,
    /// How much faster the agent's clock runs than real time: the periods of scraping are the clock's. 1
    /// but in demonstrations.
    pub speed: f64,
}

/// An engine of this node, as it was last heard of.
#[derive(Clone, Debug)]
pub struct ScrapedEngine {
    /// [`Target::id`] of `target`.
    pub id: TargetId,
    /// What is scraped and what is taken from it.
    pub target: Arc<Target>,
    /// What it said.
    pub report: Arc<EngineReport>,
}

/// Reads the engines that subscribers name. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Engines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    scraper: Scraper,
    lists: Mutex<Lists>,
    streams: AtomicU64,
    max_targets: usize,
}

/// One subscriber's say in what is scraped, for as long as its stream lasts.
#[derive(Debug)]
pub(crate) struct EngineSubscription {
    engines: Engines,
    stream: StreamId,
}

/// How many targets there are, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Different ones that are scraped.
    pub(crate) targets: usize,
    /// Those of all lists that are not.
    pub(crate) refused: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        let scraping = ScraperOptions::default();
        Self {
            max_targets: scraping.max_targets,
            concurrency: scraping.concurrency,
            grace: Duration::from_secs(10),
            allow_loopback: false,
            speed: scraping.speed,
        }
    }
}

impl Engines {
    /// Scrapes nothing until somebody subscribes. Needs a tokio runtime.
    pub(crate) fn start(options: &EngineOptions, seed: u64, clock: Clock) -> Self {
        let scraping = ScraperOptions {
            max_targets: options.max_targets,
            concurrency: options.concurrency,
            allow_loopback: options.allow_loopback,
            speed: options.speed,
            seed,
            ..ScraperOptions::default()
        };
        Self(Arc::new(Shared {
            scraper: Scraper::start(scraping, clock),
            lists: Mutex::new(Lists::new(options.max_targets, options.grace)),
            streams: AtomicU64::new(0),
            max_targets: options.max_targets,
        }))
    }

    /// A subscriber that names no engines yet.
    pub(crate) fn subscribe(&self) -> EngineSubscription {
        EngineSubscription {
            engines: self.clone(),
            stream: StreamId(self.0.streams.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// What was last heard of every engine, by id. Forgets lists whose grace is over.
    pub(crate) fn scraped(&self) -> Arc<[ScrapedEngine]> {
        let mut lists = self.0.lists.lock();
        if lists.forget(Instant::now()) {
            self.scrape(&lists);
        }
        let targets = Arc::clone(lists.targets());
        drop(lists);
        let board = self.0.scraper.board();
        let scraped = targets.iter().filter_map(|(id, target)| {
            Some(ScrapedEngine {
                id: id.clone(),
                target: Arc::clone(target),
                report: board.get(id)?,
            })
        });
        scraped.collect()
    }

    pub(crate) fn sizes(&self) -> Sizes {
        let lists = self.0.lists.lock();
        Sizes {
            targets: lists.targets().len(),
            refused: lists.refused(),
        }
    }

    pub(crate) fn stats(&self) -> Arc<Stats> {
        self.0.scraper.stats()
    }

    /// Hands the scraper what is wanted now. The lists stay locked meanwhile, so that an older union
    /// never comes after a newer one.
    fn scrape(&self, lists: &Lists) {
        let targets = lists.targets().iter();
        self.0
            .scraper
            .set_targets(targets.map(|(id, target)| (id.clone(), Target::clone(target))));
    }
}

impl EngineSubscription {
    /// The subscriber wants these engines and no others.
    pub(crate) fn set(&self, list: &agent::EngineList) {
        let list = CheckedList::new(list, self.engines.0.max_targets);
        for (id, reason) in list.malformed() {
            tracing::debug!(target_id = id, reason, "an engine target is refused");
        }
        let mut lists = self.engines.0.lists.lock();
        if lists.set(self.stream, list) {
            self.engines.scrape(&lists);
        }
    }

    /// What `snapshot` has for this subscriber, and for no other, as it is sent at `now`.
    pub(crate) fn reports(&self, snapshot: &NodeSnapshot, now: Timestamp) -> Vec<agent::EngineReport> {
        let lists = self.engines.0.lists.lock();
        let targets = Arc::clone(lists.targets());
        let list = lists.of(self.stream);
        drop(lists);
        let scraped = snapshot.engines.as_deref().unwrap_or_default();
        let report = |name: &str, id: &TargetId| {
            if let Ok(place) = scraped.binary_search_by(|engine| engine.id.cmp(id)) {
                return engine_report_to_proto(name, &scraped[place].report, now);
            }
            if targets.contains_key(id) {
                return engine_report_to_proto(name, &NOT_ASKED, now);
            }
            let most = self.engines.0.max_targets;
            let reason = format!("the agent reads {most} other targets already, the most that it may");
            engine_refusal_to_proto(name, &reason)
        };
        let named = list.iter().flat_map(|list| &list.named);
        named
            .map(|named| match &named.target {
                Ok((id, _)) => report(&named.name, id),
                Err(reason) => engine_refusal_to_proto(&named.name, reason),
            })
            .collect()
    }
}

impl Drop for EngineSubscription {
    fn drop(&mut self) {
        // What it named stays among the targets for the grace: nothing to scrape changes now.
        self.engines.0.lists.lock().leave(self.stream, Instant::now());
    }
}

/// Targets of all lists, by their own ids.
type Targets = Arc<BTreeMap<TargetId, Arc<Target>>>;

/// Of an engine that is about to be asked.
const NOT_ASKED: EngineReport = EngineReport {
    engine: None,
    answered_at: None,
    failure: None,
    sleep: Sleep::Unknown,
    readings: Readings::new(),
    notes: Vec::new(),
};

#[cfg(test)]
mod tests {
    use rheostat_proto::{ENGINE_PERIODS_MILLIS, LONGEST_TARGET_ID};
    use rheostat_scraper::{MAX_PERIOD, MIN_PERIOD};

    use super::list::tests::wire;
    use super::*;

    #[test]
    fn what_the_stream_accepts_the_scraper_accepts() {
        let (least, most) = ENGINE_PERIODS_MILLIS.into_inner();
        assert_eq!(Duration::from_millis(least.into()), MIN_PERIOD);
        assert_eq!(Duration::from_millis(most.into()), MAX_PERIOD);
    }

    #[test]
    fn every_id_of_ours_is_accepted_as_a_name() {
        let mut target = wire("x", 8000);
        target.namespace = "n".repeat(253);
        target.pod = "p".repeat(253);
        target.address = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".into();
        let target = rheostat_proto::engine_target_from_proto(&target).unwrap();
        assert!(target.id().0.len() <= LONGEST_TARGET_ID);
    }
}
