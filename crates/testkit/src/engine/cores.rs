use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rheostat_promtext::BoundsError;
use rheostat_reading::{Clock, Timestamp};
use tokio::sync::{Notify, mpsc};

use super::batcher::{Batcher, Event, Finish, Occupancy, Refused, Request, RequestId};
use super::flavour::Flavour;
use super::page::{Facts, Gauges, Template};
use super::settings::{ModelSettings, SettingsError};
use super::tally::{Quantity, Tally, Totals};

/// The models of an engine, each on its ranks, on one clock: takes requests, lets time pass, tells
/// those who wait for tokens, and writes the page.
pub(super) struct Cores {
    clock: Clock,
    settings: ModelSettings,
    template: Option<Template>,
    models: Vec<String>,
    ranks: usize,
    max_adapters: usize,
    state: Mutex<State>,
    /// There is something to do.
    work: Notify,
}

struct State {
    cores: Vec<Core>,
    adapters: BTreeSet<String>,
    sleep_level: u8,
    started: Timestamp,
    /// Counts restarts.
    epoch: u64,
}

/// One model on one rank.
struct Core {
    batcher: Batcher,
    tally: Tally,
    gauges: Gauges,
    listeners: HashMap<RequestId, mpsc::UnboundedSender<Progress>>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// A token came.
    Token,
    /// That was all.
    Finished(Finish),
}

/// A request under way. Dropping it gives the request up, as a client that goes away does.
pub(super) struct Ticket {
    pub(super) progress: mpsc::UnboundedReceiver<Progress>,
    cores: Arc<Cores>,
    epoch: u64,
    core: usize,
    id: RequestId,
}

/// An engine cannot be made as it is wanted.
#[derive(Debug, thiserror::Error)]
pub enum CoresError {
    /// The settings of the model are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The buckets of the page are wrong.
    #[error(transparent)]
    Buckets(#[from] BoundsError),
}

/// A request was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// There is no such model or adapter.
    #[error("the model \"{0}\" does not exist")]
    UnknownModel(String),
    /// The model cannot serve it.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Cores {
    pub(super) fn new(
        flavour: Flavour,
        settings: ModelSettings,
        models: Vec<String>,
        ranks: usize,
        max_adapters: usize,
        clock: Clock,
    ) -> Result<Self, CoresError> {
        let cores = Self {
            template: Template::of(flavour, &settings),
            state: Mutex::new(State {
                cores: Vec::new(),
                adapters: BTreeSet::new(),
                sleep_level: 0,
                started: clock.now(),
                epoch: 0,
            }),
            clock,
            settings,
            models,
            ranks,
            max_adapters,
            work: Notify::new(),
        };
        let fresh = cores.fresh()?;
        cores.state.lock().cores = fresh;
        Ok(cores)
    }

    fn fresh(&self) -> Result<Vec<Core>, CoresError> {
        let now = self.clock.now();
        (0..self.models.len() * self.ranks)
            .map(|_| {
                Ok(Core {
                    batcher: Batcher::new(self.settings.clone(), now)?,
                    tally: Tally::new(self.template.iter().flat_map(Template::histograms))?,
                    gauges: Gauges::default(),
                    listeners: HashMap::new(),
                })
            })
            .collect()
    }

    /// Forgets all: counters at zero, requests gone, adapters unloaded, awake.
    pub(super) fn restart(&self) -> Result<(), CoresError> {
        let fresh = self.fresh()?;
        let mut state = self.state.lock();
        // Whoever waited for tokens learns of it by the end of their channel.
        state.cores = fresh;
        state.adapters.clear();
        state.sleep_level = 0;
        state.started = self.clock.now();
        state.epoch += 1;
        Ok(())
    }

    pub(super) fn models(&self) -> &[String] {
        &self.models
    }

    pub(super) fn settings(&self) -> &ModelSettings {
        &self.settings
    }

    /// Takes a request for `model`, or for the first where none is named; an adapter's name is a
    /// model's too. Of the ranks the one with the fewest requests gets it.
    pub(super) fn begin(
        self: &Arc<Self>,
        model: Option<&str>,
        mut request: Request,
    ) -> Result<Ticket, NotTaken> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let model = match model {
            None => 0,
            Some(name) => match self.models.iter().position(|model| model == name) {
                Some(place) => place,
                None if state.adapters.contains(name) => {
                    request.adapter = Some(name.into());
                    0
                }
                None => return Err(NotTaken::UnknownModel(name.into())),
            },
        };
        let ranks = model * self.ranks..(model + 1) * self.ranks;
        let place = ranks
            .min_by_key(|place| {
                let occupancy = state.cores[*place].batcher.occupancy();
                occupancy.waiting + occupancy.running
            })
            .unwrap_or(0);
        let epoch = state.epoch;
        let core = &mut state.cores[place];
        match core.act(|batcher, events| batcher.submit(now, request, events)) {
            Ok(id) => {
                core.tally.received();
                let (sender, progress) = mpsc::unbounded_channel();
                core.listeners.insert(id, sender);
                drop(state);
                self.work.notify_one();
                Ok(Ticket {
                    progress,
                    cores: Arc::clone(self),
                    epoch,
                    core: place,
                    id,
                })
            }
            Err(refused) => {
                core.tally.refused();
                Err(refused.into())
            }
        }
    }

    /// Lets the time pass until now.
    pub(super) fn advance(&self) {
        let now = self.clock.now();
        for core in &mut self.state.lock().cores {
            core.act(|batcher, events| batcher.advance(now, events));
        }
    }

    /// Lets time pass as long as it lives, waking up as often as there is something to do.
    pub(super) async fn drive(&self, look: Duration) {
        loop {
            self.advance();
            let next = self
                .state
                .lock()
                .cores
                .iter()
                .filter_map(|core| core.batcher.next_event())
                .min();
            match next {
                // The clock may run faster or slower than real time, or be moved by hand.
                Some(next) => {
                    let wait = next.since(self.clock.now()).min(look);
                    let _ = tokio::time::timeout(wait, self.work.notified()).await;
                }
                None => self.work.notified().await,
            }
        }
    }

    /// Puts all to sleep at `level`, or wakes all at level 0.
    pub(super) fn set_sleep(&self, level: u8) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.sleep_level = level;
        for core in &mut state.cores {
            core.act(|batcher, events| match level {
                0 => batcher.wake(now, events),
                _ => batcher.sleep(now, events),
            });
        }
        drop(state);
        self.work.notify_one();
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.state.lock().sleep_level > 0
    }

    /// Loads an adapter; returns whether it was not there yet and there was room.
    pub(super) fn load_adapter(&self, name: &str) -> bool {
        let mut state = self.state.lock();
        state.adapters.len() < self.max_adapters && state.adapters.insert(name.into())
    }

    /// Unloads an adapter; returns whether it was there.
    pub(super) fn unload_adapter(&self, name: &str) -> bool {
        self.state.lock().adapters.remove(name)
    }

    pub(super) fn adapters(&self) -> Vec<String> {
        self.state.lock().adapters.iter().cloned().collect()
    }

    /// Sets what the page says of the core `place`, or of all.
    pub(super) fn set_gauges(&self, place: Option<usize>, gauges: Gauges) {
        for (number, core) in self.state.lock().cores.iter_mut().enumerate() {
            if place.is_none_or(|place| place == number) {
                core.gauges = gauges;
            }
        }
    }

    /// Adds a value of `quantity` to the first core, as if it had been measured.
    pub(super) fn measure(&self, quantity: Quantity, value: f64) {
        if let Some(core) = self.state.lock().cores.first_mut() {
            core.tally.measure(quantity, value);
        }
    }

    /// How full each core is now.
    pub(super) fn occupancy(&self) -> Vec<Occupancy> {
        self.advance();
        let state = self.state.lock();
        state.cores.iter().map(|core| core.batcher.occupancy()).collect()
    }

    /// What each core has counted until now.
    pub(super) fn totals(&self) -> Vec<Totals> {
        self.advance();
        let state = self.state.lock();
        state
            .cores
            .iter()
            .map(|core| core.tally.totals().clone())
            .collect()
    }

    /// The page as it is now; none where the flavour has none.
    pub(super) fn page(&self, not_a_number: bool) -> Option<String> {
        let template = self.template.as_ref()?;
        self.advance();
        let now = self.clock.now();
        let state = self.state.lock();
        let cores: Vec<(Facts, &Tally)> = state
            .cores
            .iter()
            .enumerate()
            .map(|(place, core)| {
                let facts = Facts {
                    model: self.models[place / self.ranks].clone(),
                    rank: place % self.ranks,
                    first_model: place < self.ranks,
                    occupancy: core.batcher.occupancy(),
                    gauges: core.gauges,
                    settings: self.settings.clone(),
                    totals: core.tally.totals().clone(),
                    adapters: core.batcher.adapters(),
                    max_adapters: self.max_adapters,
                    sleep_level: state.sleep_level,
                    started: state.started,
                    now,
                    not_a_number,
                };
                (facts, &core.tally)
            })
            .collect();
        Some(template.render(&cores))
    }
}

impl Core {
    /// Does something with the model and tells everybody concerned what came of it.
    fn act<T>(&mut self, act: impl FnOnce(&mut Batcher, &mut dyn FnMut(Event)) -> T) -> T {
        let Self {
            batcher,
            tally,
            listeners,
            ..
        } = self;
        act(batcher, &mut |event| tell(tally, listeners, &event))
    }
}

fn tell(
    tally: &mut Tally,
    listeners: &mut HashMap<RequestId, mpsc::UnboundedSender<Progress>>,
    event: &Event,
) {
    tally.count(event);
    // Nobody may be listening: requests that were put in directly go on by themselves.
    match event {
        Event::Token { id, .. } => {
            if let Some(listener) = listeners.get(id) {
                let _ = listener.send(Progress::Token);
            }
        }
        Event::Finished(finished) => {
            if let Some(listener) = listeners.remove(&finished.id) {
                let _ = listener.send(Progress::Finished(finished.reason));
            }
        }
        Event::Scheduled { .. } | Event::Preempted(_) | Event::Iteration { .. } => {}
    }
}

impl Ticket {
    /// Lets the request go on without anybody who waits for it.
    pub(super) fn detach(self) -> RequestId {
        self.stop_listening(false);
        self.id
    }

    fn stop_listening(&self, cancel: bool) {
        let now = self.cores.clock.now();
        let mut state = self.cores.state.lock();
        // After a restart another request may have the number.
        if state.epoch != self.epoch {
            return;
        }
        // Without a listener the request has ended or goes on alone.
        if let Some(core) = state.cores.get_mut(self.core)
            && core.listeners.remove(&self.id).is_some()
            && cancel
        {
            core.act(|batcher, events| batcher.cancel(now, self.id, events));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.stop_listening(true);
    }
}
