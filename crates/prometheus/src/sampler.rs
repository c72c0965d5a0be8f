use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rheostat_backoff::Backoff;
use rheostat_reading::Clock;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::ask::Asker;
use crate::board::{Answered, Board};
use crate::failure::QueryFailure;
use crate::servers::{QueryId, ServerConfig, Servers};
use crate::stats::{AllStats, Stats};

/// Asks each of a set of queries once per period until it is dropped.
#[derive(Debug)]
pub struct Sampler {
    shared: Arc<Shared>,
    state: Mutex<State>,
    runtime: Handle,
}

/// How often queries are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplerOptions {
    /// Time between the beginnings of two attempts.
    pub period: Duration,
    /// The longest pause after failures; the first is a period, the next ones double.
    pub max_pause: Duration,
    /// Over how long the first attempts of queries that begin at once are spread.
    pub spread: Duration,
    /// Decides when in a period each query is asked; different in each process.
    pub seed: u64,
}

impl Default for SamplerOptions {
    /// Every 5 s, a quarter of the usual scrape interval; after an outage nobody is blind for more than
    /// 15 s longer than the outage.
    fn default() -> Self {
        Self {
            period: Duration::from_secs(5),
            max_pause: Duration::from_secs(15),
            spread: Duration::from_millis(500),
            seed: 0,
        }
    }
}

#[derive(Debug)]
struct Shared {
    options: SamplerOptions,
    clock: Clock,
    board: Arc<Board>,
    stats: AllStats,
}

#[derive(Debug, Default)]
struct State {
    servers: BTreeMap<Arc<str>, Arc<Asked>>,
    wanted: BTreeSet<QueryId>,
    running: BTreeMap<QueryId, Running>,
}

/// A server that is asked.
struct Asked {
    config: Arc<ServerConfig>,
    asker: Asker,
    lanes: Semaphore,
    stats: Arc<Stats>,
}

/// A query that is asked until this is dropped.
#[derive(Debug)]
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sampler {
    /// A sampler without servers and queries. Must be called on a Tokio runtime, where the work is
    /// done; results bear the time of `clock`.
    #[must_use]
    pub fn start(options: SamplerOptions, clock: Clock) -> Self {
        Self {
            shared: Arc::new(Shared {
                options,
                clock,
                board: Arc::new(Board::new()),
                stats: AllStats::default(),
            }),
            state: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    /// These are the servers from now on. Queries to one that is configured as before go on as if
    /// nothing had happened; results of the others stay until the server has answered anew.
    pub fn set_servers(&self, servers: &Servers) {
        let mut state = self.state.lock();
        let mut old = std::mem::take(&mut state.servers);
        for (name, config) in servers.iter() {
            let asked = old.remove(name).filter(|known| known.config == *config);
            let asked = asked.unwrap_or_else(|| {
                state.running.retain(|query, _| query.server != *name);
                Arc::new(Asked {
                    config: Arc::clone(config),
                    asker: Asker::new(Arc::clone(config)),
                    lanes: Semaphore::new(config.max_concurrent),
                    stats: self.shared.stats.of(name),
                })
            });
            state.servers.insert(Arc::clone(name), asked);
        }
        self.shared.stats.retain(|name| servers.get(name).is_some());
        self.settle(&mut state);
    }

    /// Asks these queries from now on, and no others. What was asked and still is goes on as if
    /// nothing had happened; what is gone vanishes from the board at once.
    ///
    /// A query to a server that is not configured, or beyond the server's `maxQueries`, is on the board
    /// too, with the reason. Those that are asked already have precedence.
    pub fn set_queries(&self, queries: impl IntoIterator<Item = QueryId>) {
        let mut state = self.state.lock();
        let wanted = queries.into_iter().collect();
        if state.wanted == wanted {
            return;
        }
        state.wanted = wanted;
        self.shared.board.keep(&state.wanted);
        self.settle(&mut state);
    }

    /// Where the results are.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.shared.board)
    }

    /// What was done, by server.
    #[must_use]
    pub fn stats(&self) -> Vec<(Arc<str>, Arc<Stats>)> {
        self.shared.stats.all()
    }

    /// Lets exactly those queries run that are wanted and may.
    fn settle(&self, state: &mut State) {
        let State {
            servers,
            wanted,
            running,
        } = state;
        // A worker never ends by itself; one that did has panicked and is started again.
        running.retain(|query, worker| {
            wanted.contains(query) && servers.contains_key(&query.server) && !worker.0.is_finished()
        });
        let mut room: BTreeMap<&Arc<str>, usize> = servers
            .iter()
            .map(|(name, asked)| (name, asked.config.max_queries))
            .collect();
        for query in running.keys() {
            if let Some(room) = room.get_mut(&query.server) {
                *room = room.saturating_sub(1);
            }
        }
        for query in wanted.iter() {
            if running.contains_key(query) {
                continue;
            }
            let refused = match (servers.get(&query.server), room.get_mut(&query.server)) {
                (Some(asked), Some(room)) if *room > 0 => {
                    *room -= 1;
                    running.insert(query.clone(), self.begin(query, asked));
                    continue;
                }
                (Some(asked), _) => QueryFailure::TooMany(asked.config.max_queries),
                (None, _) => QueryFailure::UnknownServer(query.server.to_string()),
            };
            let now = self.shared.clock.now();
            self.shared.board.put(query, Err((now, refused.to_string())));
        }
    }

    fn begin(&self, query: &QueryId, asked: &Arc<Asked>) -> Running {
        let work = work(Arc::clone(&self.shared), Arc::clone(asked), query.clone());
        Running(self.runtime.spawn(work).abort_handle())
    }
}

async fn work(shared: Arc<Shared>, asked: Arc<Asked>, query: QueryId) {
    let SamplerOptions {
        period,
        max_pause,
        spread,
        seed,
    } = shared.options;
    let own = BuildHasherDefault::<DefaultHasher>::new().hash_one(&query);
    let mut backoff = Backoff::new(period.min(max_pause), max_pause, seed ^ own);
    let mut was_told = false;
    sleep(backoff.spread(spread)).await;
    loop {
        // The semaphore is never closed; were it, nothing would be asked too often by that.
        let lane = asked.lanes.acquire().await;
        let start = Instant::now();
        let asked_at = shared.clock.now();
        let outcome = asked.asker.ask(&query.query).await;
        drop(lane);
        let answered_at = shared.clock.now();
        asked.stats.queries.inc();
        asked
            .stats
            .durations
            .observe(answered_at.since(asked_at).as_secs_f64());
        let next = match outcome {
            Ok(answer) => {
                if was_told {
                    tracing::info!(server = %query.server, query = %query.query, "Prometheus answers again");
                }
                (was_told, _) = (false, backoff.reset());
                let answered = Answered {
                    asked_at,
                    answered_at,
                    answer,
                };
                shared.board.put(&query, Ok(answered));
                start + period
            }
            Err(failure) => {
                asked.stats.failed(failure.kind());
                if !was_told {
                    tracing::warn!(server = %query.server, query = %query.query, reason = %failure, "no answer from Prometheus");
                    was_told = true;
                }
                shared.board.put(&query, Err((answered_at, failure.to_string())));
                Instant::now() + backoff.pause()
            }
        };
        sleep_until(next).await;
    }
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Asked")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
