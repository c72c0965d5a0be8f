use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rheostat_engines::{Endpoint, EngineChoice, EngineReport, Scheme, Sleep, Target, TargetId, View};
use rheostat_reading::{Clock, Readings};
use rustls::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::board::{Board, Slot};
use crate::guard::{self, Refusal};
use crate::http::{Client, Host, Limits, Security, Server, TlsOptions};
use crate::lanes::Lanes;
use crate::readers::Readers;
use crate::stats::Stats;
use crate::subject::Subject;
use crate::worker::Worker;

/// Scrapes a set of targets until it is dropped.
#[derive(Debug)]
pub struct Scraper {
    shared: Arc<Shared>,
    running: Mutex<Running>,
    runtime: Handle,
}

/// What a [`Scraper`] may do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScraperOptions {
    /// Targets; further ones are refused.
    pub max_targets: usize,
    /// Scrapes that are under way at once; one that takes more than half a second is left out of the
    /// count, so that those that hang hold up nobody.
    pub concurrency: usize,
    /// The longest that one page may take, however long the period is. A page is also given up after
    /// the endpoint's period, but never before a second.
    pub max_time: Duration,
    /// Bytes of a page, decompressed.
    pub max_page: usize,
    /// Bytes that all pages that are being received may take together, beyond 256 KiB of each. These
    /// are not counted, so that no large page can keep an ordinary one out: 512 engines that all send
    /// their pages at once, and slowly, take 128 MiB more.
    pub max_memory: usize,
    /// The longest pause after failures.
    pub max_pause: Duration,
    /// How much faster the clock runs than real time: periods and pauses are the clock's, limits of time
    /// are real. 1 but in demonstrations.
    pub speed: f64,
    /// Whether engines may compress. Costs CPU time at both ends; worth it across a network.
    pub compressed: bool,
    /// Whether addresses of this machine may be asked: in tests and demonstrations only.
    pub allow_loopback: bool,
    /// Decides when in a period each endpoint is asked; different in each process.
    pub seed: u64,
}

/// What the scraper and its workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: ScraperOptions,
    pub(crate) clock: Clock,
    pub(crate) board: Arc<Board>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) lanes: Lanes,
}

#[derive(Debug, Default)]
struct Running {
    workers: HashMap<Endpoint, Scraped>,
    common: Common,
}

/// What endpoints have in common, as long as one of them needs it.
#[derive(Debug, Default)]
struct Common {
    /// TLS configurations, for endpoints of equal options.
    trust: HashMap<TlsOptions, Weak<ClientConfig>>,
    /// Readers, for endpoints where the same is expected.
    readers: HashMap<EngineChoice, Weak<Readers>>,
}

/// An endpoint that is scraped until this is dropped.
#[derive(Debug)]
struct Scraped {
    slots: watch::Sender<Vec<Arc<Slot>>>,
    worker: AbortHandle,
}

/// An endpoint of a new set.
struct Wanted {
    slots: Vec<Arc<Slot>>,
    /// What its worker needs; `None` where it has one.
    prepared: Option<Prepared>,
}

/// What asks an endpoint, and what makes sense of its answers.
pub(crate) struct Prepared {
    pub(crate) client: Client,
    pub(crate) subject: Subject,
}

/// Time that a page may always take: a busy Python engine needs that now and then.
const LEAST_TIME: Duration = Duration::from_secs(1);

impl Default for ScraperOptions {
    fn default() -> Self {
        Self {
            max_targets: 512,
            concurrency: 32,
            max_time: Duration::from_secs(5),
            max_page: 8 << 20,
            max_memory: 32 << 20,
            max_pause: Duration::from_secs(15),
            speed: 1.0,
            compressed: true,
            allow_loopback: false,
            seed: 0,
        }
    }
}

impl ScraperOptions {
    /// What a span of the clock's time is in real time.
    pub(crate) fn real(&self, span: Duration) -> Duration {
        // A speed that no span can be divided by is no speed.
        let speed = if self.speed.is_finite() { self.speed } else { 1.0 };
        span.div_f64(speed.clamp(1e-3, 1e3))
    }
}

impl Scraper {
    /// A scraper without targets. Must be called on a Tokio runtime, where the work is done; readings
    /// bear the time of `clock`.
    #[must_use]
    pub fn start(options: ScraperOptions, clock: Clock) -> Self {
        Self {
            shared: Arc::new(Shared {
                options,
                clock,
                board: Arc::new(Board::new()),
                stats: Arc::new(Stats::new()),
                lanes: Lanes::new(options.concurrency, options.max_memory),
            }),
            running: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    /// Scrapes these targets from now on, and no others. What was scraped and still is goes on as if
    /// nothing had happened; what is gone vanishes from the board at once.
    ///
    /// Of targets with one id the first stands. A target that may not be scraped is on the board too,
    /// with the reason. May read the system's CA certificates.
    pub fn set_targets(&self, targets: impl IntoIterator<Item = (TargetId, Target)>) {
        let mut running = self.running.lock();
        let mut board = HashMap::new();
        let mut wanted: HashMap<Endpoint, Wanted> = HashMap::new();
        let mut refused = 0;
        for (id, target) in targets {
            if board.contains_key(&id) {
                continue;
            }
            let slot = if board.len() < self.shared.options.max_targets {
                self.admit(&target, &mut running, &mut wanted)
            } else {
                Err(Refusal::TooMany(self.shared.options.max_targets))
            };
            let slot = slot.unwrap_or_else(|refusal| {
                refused += 1;
                let failure = Some(refusal.to_string());
                Arc::new(Slot::new(
                    target.view,
                    EngineReport {
                        failure,
                        ..nothing_yet()
                    },
                ))
            });
            board.insert(id, slot);
        }
        running
            .workers
            .retain(|endpoint, _| wanted.contains_key(endpoint));
        for (endpoint, Wanted { slots, prepared }) in wanted {
            if let Some(prepared) = prepared {
                let scraped = self.begin(&endpoint, slots, prepared);
                running.workers.insert(endpoint, scraped);
            } else if let Some(scraped) = running.workers.get(&endpoint) {
                scraped.follow(slots);
            }
        }
        running.common.tidy();
        self.shared.stats.set_sizes(running.workers.len(), refused);
        self.shared.board.replace(board);
    }

    /// Where the reports are found, always up to date.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.shared.board)
    }

    /// What has been done so far.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.shared.stats)
    }

    /// The place for the target's reports, shared by all with its endpoint and view.
    fn admit(
        &self,
        target: &Target,
        running: &mut Running,
        wanted: &mut HashMap<Endpoint, Wanted>,
    ) -> Result<Arc<Slot>, Refusal> {
        let Target { endpoint, view, .. } = target;
        let scraped = running.workers.get(endpoint);
        if let Some(wanted) = wanted.get_mut(endpoint) {
            return Ok(wanted.slot(view, scraped));
        }
        let mut new = Wanted {
            slots: Vec::with_capacity(1),
            prepared: match scraped {
                Some(_) => None,
                None => Some(self.prepare(endpoint, &mut running.common)?),
            },
        };
        let slot = new.slot(view, scraped);
        wanted.insert(endpoint.clone(), new);
        Ok(slot)
    }

    fn prepare(&self, endpoint: &Endpoint, common: &mut Common) -> Result<Prepared, Refusal> {
        let options = &self.shared.options;
        guard::check(endpoint, options.allow_loopback)?;
        let subject = Subject::new(endpoint, common.readers(&endpoint.engine)?, options.compressed)?;
        let server = Server::at(endpoint.address, common.security(endpoint)?);
        let time = endpoint.period.min(options.max_time).max(LEAST_TIME);
        let limits = Limits {
            page: options.max_page,
            ..Limits::within(time)
        };
        Ok(Prepared {
            client: Client::new(server, limits),
            subject,
        })
    }

    fn begin(&self, endpoint: &Endpoint, slots: Vec<Arc<Slot>>, prepared: Prepared) -> Scraped {
        let (slots, followed) = watch::channel(slots);
        let worker = Worker::new(endpoint, prepared, followed, Arc::clone(&self.shared));
        let worker = self.runtime.spawn(worker.run()).abort_handle();
        Scraped { slots, worker }
    }
}

impl Wanted {
    fn slot(&mut self, view: &View, known: Option<&Scraped>) -> Arc<Slot> {
        let of_view = |slots: &[Arc<Slot>]| slots.iter().find(|slot| slot.view == *view).map(Arc::clone);
        if let Some(slot) = of_view(&self.slots) {
            return slot;
        }
        let slot = known
            .and_then(|scraped| of_view(&scraped.slots.borrow()))
            .unwrap_or_else(|| Arc::new(Slot::new(view.clone(), nothing_yet())));
        self.slots.push(Arc::clone(&slot));
        slot
    }
}

impl Scraped {
    fn follow(&self, slots: Vec<Arc<Slot>>) {
        self.slots.send_if_modified(|followed| {
            let same = followed.len() == slots.len()
                && followed
                    .iter()
                    .all(|old| slots.iter().any(|new| Arc::ptr_eq(old, new)));
            if !same {
                *followed = slots;
            }
            !same
        });
    }
}

impl Drop for Scraped {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Common {
    fn readers(&mut self, choice: &EngineChoice) -> Result<Arc<Readers>, Refusal> {
        if let Some(readers) = self.readers.get(choice).and_then(Weak::upgrade) {
            return Ok(readers);
        }
        let readers = Arc::new(Readers::new(choice).map_err(Refusal::Custom)?);
        self.readers.insert(choice.clone(), Arc::downgrade(&readers));
        Ok(readers)
    }

    fn security(&mut self, endpoint: &Endpoint) -> Result<Security, Refusal> {
        let Scheme::Https {
            ca_pem,
            server_name,
            skip_verification,
        } = &endpoint.scheme
        else {
            return Ok(Security::Plaintext);
        };
        // Whom to trust does not depend on the name.
        let key = TlsOptions {
            ca_pem: ca_pem.clone(),
            server_name: None,
            skip_verification: *skip_verification,
        };
        let config = match self.trust.get(&key).and_then(Weak::upgrade) {
            Some(config) => config,
            None => {
                let config = key.config()?;
                self.trust.insert(key.clone(), Arc::downgrade(&config));
                config
            }
        };
        let options = TlsOptions {
            server_name: server_name.clone(),
            ..key
        };
        Ok(options.with(config, &Host::Address(endpoint.address.ip()))?)
    }

    /// Forgets what nobody needs any more.
    fn tidy(&mut self) {
        self.trust.retain(|_, config| config.strong_count() > 0);
        self.readers.retain(|_, readers| readers.strong_count() > 0);
    }
}

/// The report of a target that has not been asked.
pub(crate) fn nothing_yet() -> EngineReport {
    EngineReport {
        engine: None,
        answered_at: None,
        failure: None,
        sleep: Sleep::Unknown,
        readings: Readings::new(),
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pages_that_are_received_at_once_fit_an_agent() {
        let options = ScraperOptions::default();
        let small = 256 << 10;
        // Of the 256 MiB that `deploy/agent.yaml` allows.
        assert_eq!(options.max_memory + options.max_targets * small, 160 << 20);
        // One of the largest pages has room among the doubtful engines' too.
        assert!(options.max_memory / 4 + small >= options.max_page);
    }

    #[test]
    fn spans_of_a_faster_clock_are_shorter() {
        let real = |speed| {
            let options = ScraperOptions {
                speed,
                ..ScraperOptions::default()
            };
            options.real(Duration::from_secs(2))
        };
        assert_eq!(real(20.0), Duration::from_millis(100));
        assert_eq!(real(0.5), Duration::from_secs(4));
        for no_speed in [f64::NAN, f64::INFINITY] {
            assert_eq!(real(no_speed), Duration::from_secs(2));
        }
        assert_eq!(real(-1.0), Duration::from_secs(2000));
    }
}
