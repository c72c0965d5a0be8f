use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use futures::future::FutureExt;
use kube::Client;
use kube::api::Request;
use parking_lot::Mutex;
use rheostat_reading::{Clock, Timestamp};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::cluster::WatchGuard;
use crate::health::WatchState;
use crate::model::Stale;
use crate::objects::{JobObject, KueueWorkloadObject, Object};
use crate::scales::is_name;
use crate::selector::{Labels, Selector};
use crate::watch::{Collection, Event, WatchTiming, follow};

/// Work that waits somewhere other than in an engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueRef {
    /// Namespace of the queue: that of the workload which names it, never another.
    pub namespace: String,
    /// Which work of it.
    pub queue: Queue,
}

/// Which work of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// Kueue's Workloads that wait in the LocalQueue of this name.
    Local(String),
    /// Jobs that are not finished and whose labels this selector matches (in the form that
    /// `kubectl -l` takes).
    Jobs(String),
}

/// How much work there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Workloads or Jobs.
    pub items: u32,
    /// GPUs and partitions that their pods ask for together.
    pub gpus: u32,
    /// The last moment at which this was known to be true.
    pub as_of: Timestamp,
}

/// Watches queues for as long as it lives.
#[derive(Debug)]
pub struct QueueWatch {
    wanted: watch::Sender<BTreeSet<QueueRef>>,
    boards: Arc<Mutex<Boards>>,
    clock: Clock,
    _guard: WatchGuard,
}

/// What is watched: one collection of one namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Source {
    kind: Kind,
    namespace: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    KueueWorkloads,
    Jobs,
}

type Boards = HashMap<Source, Board>;

/// What is known of one source.
#[derive(Debug)]
struct Board {
    state: WatchState,
    items: BTreeMap<String, Item>,
}

/// One Workload or Job.
#[derive(Debug)]
struct Item {
    queue: String,
    labels: Labels,
    /// Whether it counts: waiting for a Workload, not finished for a Job.
    counts: bool,
    gpus: u32,
}

/// Kueue's API group.
const KUEUE: &str = "kueue.x-k8s.io";
/// Its versions whose Workloads have the fields that are read, best first.
const KUEUE_VERSIONS: &[&str] = &["v1", "v1beta2", "v1beta1"];

impl QueueWatch {
    /// Starts with nothing to watch.
    #[must_use]
    pub fn start(client: Client, timing: WatchTiming, clock: Clock) -> Self {
        let (wanted, receiver) = watch::channel(BTreeSet::new());
        let boards = Arc::<Mutex<Boards>>::default();
        let driver = Driver {
            client,
            timing,
            clock: clock.clone(),
            wanted: receiver,
            boards: Arc::clone(&boards),
            tasks: HashMap::new(),
            running: JoinSet::new(),
        };
        Self {
            wanted,
            boards,
            clock,
            _guard: WatchGuard::new(tokio::spawn(driver.run())),
        }
    }

    /// Watches what `wanted` needs from now on, and nothing else.
    pub fn want(&self, wanted: BTreeSet<QueueRef>) {
        self.wanted.send_if_modified(|known| {
            let changed = *known != wanted;
            if changed {
                *known = wanted;
            }
            changed
        });
    }

    /// The work behind `queue` now.
    ///
    /// # Errors
    ///
    /// Why it is not known, in words: not listed yet, Kueue not installed, no permission, a selector
    /// that is none.
    pub fn work(&self, queue: &QueueRef) -> Result<Work, String> {
        let boards = self.boards.lock();
        let board = boards
            .get(&queue.source())
            .ok_or_else(|| format!("{queue} is not watched yet"))?;
        let as_of = match &board.state {
            WatchState::Current => self.clock.now(),
            WatchState::Broken(Stale { since, .. }) => *since,
            WatchState::Starting { problem: None } => return Err(format!("{queue} is not listed yet")),
            WatchState::Starting {
                problem: Some(problem),
            } => return Err(format!("{queue} cannot be listed: {problem}")),
            WatchState::Missing => return Err(format!("the cluster does not serve {queue}")),
        };
        let selector = match &queue.queue {
            Queue::Local(_) => None,
            Queue::Jobs(text) => Some(
                text.parse::<Selector>()
                    .map_err(|error| format!("selector {text:?}: {error}"))?,
            ),
        };
        let (mut items, mut gpus) = (0_u32, 0_u32);
        for item in board.items.values().filter(|item| item.counts) {
            let is_of_it = match (&queue.queue, &selector) {
                (Queue::Local(name), _) => item.queue == *name,
                (Queue::Jobs(_), Some(selector)) => selector.matches(&item.labels),
                (Queue::Jobs(_), None) => false,
            };
            if is_of_it {
                items = items.saturating_add(1);
                gpus = gpus.saturating_add(item.gpus);
            }
        }
        Ok(Work { items, gpus, as_of })
    }
}

impl QueueRef {
    fn source(&self) -> Source {
        Source {
            kind: match self.queue {
                Queue::Local(_) => Kind::KueueWorkloads,
                Queue::Jobs(_) => Kind::Jobs,
            },
            namespace: self.namespace.clone(),
        }
    }
}

/// Starts and ends the watches.
struct Driver {
    client: Client,
    timing: WatchTiming,
    clock: Clock,
    wanted: watch::Receiver<BTreeSet<QueueRef>>,
    boards: Arc<Mutex<Boards>>,
    tasks: HashMap<Source, AbortHandle>,
    running: JoinSet<()>,
}

impl Driver {
    /// Ends when nobody can want anything any more; its watches end with it.
    async fn run(mut self) {
        loop {
            let wanted: BTreeSet<Source> = self
                .wanted
                .borrow_and_update()
                .iter()
                .filter(|queue| is_name(&queue.namespace))
                .map(QueueRef::source)
                .collect();
            self.tasks.retain(|source, task| {
                let keep = wanted.contains(source) && !task.is_finished();
                if !keep {
                    task.abort();
                    self.boards.lock().remove(source);
                }
                keep
            });
            for source in wanted {
                if !self.tasks.contains_key(&source) {
                    let task = self.start(source.clone());
                    self.tasks.insert(source, task);
                }
            }
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { return },
                Some(ended) = self.running.join_next() => {
                    if ended.as_ref().is_err_and(tokio::task::JoinError::is_panic) {
                        tracing::error!(?ended, "a watch of queues ended by a defect and is started again");
                    }
                }
            }
        }
    }

    fn start(&mut self, source: Source) -> AbortHandle {
        self.boards.lock().insert(
            source.clone(),
            Board {
                state: WatchState::Starting { problem: None },
                items: BTreeMap::new(),
            },
        );
        let (client, timing, clock) = (self.client.clone(), self.timing.clone(), self.clock.clone());
        let boards = Arc::clone(&self.boards);
        match source.kind {
            Kind::Jobs => {
                let path = format!("/apis/batch/v1/namespaces/{}/jobs", source.namespace);
                self.running
                    .spawn(keep(client, path, timing, clock, source, boards, job))
            }
            Kind::KueueWorkloads => self.running.spawn(async move {
                let version = kueue_version(&client, &timing, &source, &boards).await;
                let path = format!(
                    "/apis/{KUEUE}/{version}/namespaces/{}/workloads",
                    source.namespace
                );
                keep(client, path, timing, clock, source, boards, kueue_workload).await;
            }),
        }
    }
}

/// Follows a collection and keeps its board for ever.
async fn keep<T>(
    client: Client,
    path: String,
    timing: WatchTiming,
    clock: Clock,
    source: Source,
    boards: Arc<Mutex<Boards>>,
    read: fn(T) -> Item,
) where
    T: Object + Clone + fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let emit = move |event: Event<T>| {
        if let Some(board) = boards.lock().get_mut(&source) {
            board.take(event, read);
        }
        std::future::ready(()).boxed()
    };
    follow(client, Collection { path, labels: None }, timing, clock, emit).await;
}

impl Board {
    fn take<T: Object>(&mut self, event: Event<T>, read: fn(T) -> Item) {
        match event {
            Event::Listed(objects) => {
                let named = |object: T| (object.meta().name.clone(), read(object));
                self.items = objects.into_iter().map(named).collect();
                self.state = WatchState::Current;
            }
            Event::Put(object) => {
                self.items.insert(object.meta().name.clone(), read(object));
            }
            Event::Gone(object) => {
                self.items.remove(&object.meta().name);
            }
            Event::Current => self.state = WatchState::Current,
            Event::Broken { since, reason } => {
                self.state = match self.state {
                    WatchState::Starting { .. } | WatchState::Missing => WatchState::Starting {
                        problem: Some(reason),
                    },
                    WatchState::Current | WatchState::Broken(_) => {
                        WatchState::Broken(Stale { since, reason })
                    }
                };
            }
            Event::Missing => {
                self.items.clear();
                self.state = WatchState::Missing;
            }
        }
    }
}

fn job(object: JobObject) -> Item {
    Item {
        counts: !object.finished(),
        gpus: object.gpus(),
        queue: String::new(),
        labels: object.metadata.labels,
    }
}

fn kueue_workload(object: KueueWorkloadObject) -> Item {
    Item {
        counts: object.waits(),
        gpus: object.gpus(),
        labels: object.metadata.labels,
        queue: object.spec.queue_name,
    }
}

/// An API group, as far as it says which versions it has.
#[derive(Clone, Debug, Deserialize)]
struct GroupObject {
    versions: Vec<GroupVersionObject>,
}

#[derive(Clone, Debug, Deserialize)]
struct GroupVersionObject {
    version: String,
}

/// The best version of Kueue's API that is served; asks until there is one.
async fn kueue_version(
    client: &Client,
    timing: &WatchTiming,
    source: &Source,
    boards: &Mutex<Boards>,
) -> &'static str {
    loop {
        let request = Request::new("/apis").get(KUEUE, &kube::api::GetParams::default());
        let group = match request {
            Ok(request) => client.request::<GroupObject>(request).await,
            Err(error) => Err(kube::Error::BuildRequest(error)),
        };
        let state = match group {
            Ok(group) => {
                let served = |version: &&str| group.versions.iter().any(|found| found.version == *version);
                match KUEUE_VERSIONS.iter().copied().find(served) {
                    Some(version) => return version,
                    None => WatchState::Starting {
                        problem: Some(format!(
                            "of {KUEUE} the cluster serves none of {}",
                            KUEUE_VERSIONS.join(", ")
                        )),
                    },
                }
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => WatchState::Missing,
            Err(error) => WatchState::Starting {
                problem: Some(error.to_string()),
            },
        };
        if let Some(board) = boards.lock().get_mut(source) {
            board.state = state;
        }
        tokio::time::sleep(timing.missing_pause).await;
    }
}

impl fmt::Display for QueueRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = &self.namespace;
        match &self.queue {
            Queue::Local(name) => write!(out, "LocalQueue {namespace}/{name}"),
            Queue::Jobs(selector) => write!(out, "Jobs of {namespace} with {selector:?}"),
        }
    }
}
