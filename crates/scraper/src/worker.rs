use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use rheostat_backoff::Backoff;
use rheostat_engines::Endpoint;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::board::Slot;
use crate::guard::MIN_PERIOD;
use crate::http::{Client, FetchError, Page, Request, Room};
use crate::scraper::{Prepared, Shared};
use crate::stats::Stats;
use crate::subject::Subject;

/// Asks one endpoint again and again, never twice at once.
pub(crate) struct Worker {
    period: Duration,
    client: Client,
    subject: Subject,
    slots: watch::Receiver<Vec<Arc<Slot>>>,
    shared: Arc<Shared>,
    backoff: Backoff,
    /// Scrapes in a row that have failed.
    failures: u32,
}

/// Asks for pages, and counts.
pub(crate) struct Asker<'a> {
    client: &'a Client,
    room: &'a Room,
    stats: &'a Stats,
}

/// The longest time until an endpoint is asked for the first time.
const FIRST: Duration = Duration::from_secs(2);

impl Worker {
    pub(crate) fn new(
        endpoint: &Endpoint,
        prepared: Prepared,
        slots: watch::Receiver<Vec<Arc<Slot>>>,
        shared: Arc<Shared>,
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        (shared.options.seed, endpoint.address, &endpoint.path).hash(&mut hasher);
        let period = shared.options.real(endpoint.period);
        let longest = shared.options.real(shared.options.max_pause);
        Self {
            period,
            client: prepared.client,
            subject: prepared.subject,
            slots,
            backoff: Backoff::new(period * 2, longest, hasher.finish()),
            shared,
            failures: 0,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut due = Instant::now() + self.backoff.spread(self.period.min(FIRST));
        let mut last = None;
        loop {
            tokio::select! {
                () = sleep_until(due) => {}
                changed = self.slots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Whoever is new need not wait for the rest of a long period.
                    let soon = last.map_or(due, |last: Instant| last + MIN_PERIOD);
                    if self.failures == 0 && self.lacks_report() {
                        due = due.min(soon.max(Instant::now()));
                    }
                    continue;
                }
            }
            last = Some(Instant::now());
            let sound = self.scrape().await;
            due = self.next(due, sound);
        }
    }

    fn lacks_report(&self) -> bool {
        let slots = self.slots.borrow();
        slots.iter().any(|slot| slot.report().answered_at.is_none())
    }

    /// When the next scrape is due, after one that was due at `due`: on the same beat as long as the
    /// engine answers, ever later while it does not.
    fn next(&mut self, due: Instant, sound: bool) -> Instant {
        let now = Instant::now();
        if sound {
            self.failures = 0;
            self.backoff.reset();
        } else {
            self.failures = self.failures.saturating_add(1);
            if self.failures > 1 {
                return now + self.backoff.pause().max(self.period);
            }
        }
        let missed = now.saturating_duration_since(due).as_nanos() / self.period.as_nanos().max(1);
        due + self.period * u32::try_from(missed + 1).unwrap_or(1)
    }

    /// Whether the engine answered.
    async fn scrape(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let lane = match self.failures {
            0 => &shared.lanes.sound,
            _ => &shared.lanes.doubtful,
        };
        let subject = &mut self.subject;
        let client = &self.client;
        subject.follow(&self.slots.borrow_and_update());
        let outcome = lane
            .run(async {
                let _in_flight = shared.stats.begin();
                let start = Instant::now();
                let asker = Asker {
                    client,
                    room: &lane.room,
                    stats: &shared.stats,
                };
                let outcome = subject.ask(&asker, &shared.clock).await;
                shared.stats.scrapes.inc();
                shared.stats.durations.observe_duration(start.elapsed());
                outcome
            })
            .await;
        if let Err(kind) = outcome {
            shared.stats.failed(kind);
        }
        shared.board.changed();
        outcome.is_ok()
    }
}

impl Asker<'_> {
    /// A page of at most `most` bytes, and never more than of any.
    pub(crate) async fn page(&self, request: &Request, most: usize) -> Result<Page, FetchError> {
        let page = self.client.fetch_within(request, self.room, most).await?;
        self.stats.pages.inc();
        self.stats.connections.add(page.connected.into());
        self.stats.bytes_sent.add(page.sent as u64);
        self.stats.bytes.add(page.content.len() as u64);
        Ok(page)
    }

    pub(crate) fn url(&self, request: &Request) -> String {
        self.client.url(request)
    }
}
