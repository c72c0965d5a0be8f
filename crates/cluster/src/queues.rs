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
use crate::objects::{KueueWorkloadObject, NamedObject};
use crate::scales::is_name;
use crate::watch::{Collection, Event, WatchTiming, follow};

/// A LocalQueue of Kueue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalQueue {
    /// Its namespace: that of the workload which names it, never another.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// How much work there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Kueue's Workloads: jobs of any kind.
    pub workloads: u32,
    /// GPUs and partitions that their pods ask for together; `None` where one of them asks for a number
    /// that cannot be read.
    pub gpus: Option<u32>,
    /// The last moment at which this was known to be true.
    pub as_of: Timestamp,
}

/// Watches queues for as long as it lives.
#[derive(Debug)]
pub struct QueueWatch {
    wanted: watch::Sender<BTreeSet<LocalQueue>>,
    boards: Arc<Mutex<Boards>>,
    clock: Clock,
    _guard: WatchGuard,
}

/// By namespace.
type Boards = HashMap<String, Board>;

/// What is known of one namespace.
#[derive(Debug)]
struct Board {
    workloads: WatchState,
    queues: WatchState,
    items: BTreeMap<String, Item>,
    /// The LocalQueues that there are: the work of one that is misspelt is not nothing.
    names: BTreeSet<String>,
}

/// One Workload.
#[derive(Debug)]
struct Item {
    queue: String,
    waits: bool,
    gpus: Option<u32>,
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
    pub fn want(&self, wanted: BTreeSet<LocalQueue>) {
        self.wanted.send_if_modified(|known| {
            let changed = *known != wanted;
            if changed {
                *known = wanted;
            }
            changed
        });
    }

    /// The work that waits in `queue` now.
    ///
    /// # Errors
    ///
    /// Why it is not known, in words: not listed yet, Kueue not installed, no permission.
    pub fn work(&self, queue: &LocalQueue) -> Result<Work, String> {
        let boards = self.boards.lock();
        let board = boards
            .get(&queue.namespace)
            .ok_or_else(|| format!("{queue} is not watched yet"))?;
        let known_at = |state: &WatchState| match state {
            WatchState::Current => Ok(self.clock.now()),
            WatchState::Broken(Stale { since, .. }) => Ok(*since),
            WatchState::Starting { problem: None } => Err(format!("{queue} is not listed yet")),
            WatchState::Starting {
                problem: Some(problem),
            } => Err(format!("{queue} cannot be listed: {problem}")),
            WatchState::Missing => Err(format!("the cluster does not serve {queue}: it has no Kueue")),
        };
        let as_of = known_at(&board.workloads)?.min(known_at(&board.queues)?);
        if !board.names.contains(&queue.name) {
            return Err(format!("{queue} does not exist"));
        }
        let mut work = Work {
            workloads: 0,
            gpus: Some(0),
            as_of,
        };
        let waiting = board
            .items
            .values()
            .filter(|item| item.waits && item.queue == queue.name);
        for item in waiting {
            work.workloads = work.workloads.saturating_add(1);
            let together = work.gpus.zip(item.gpus);
            work.gpus = together.map(|(all, more)| all.saturating_add(more));
        }
        Ok(work)
    }
}

/// Starts and ends the watches.
struct Driver {
    client: Client,
    timing: WatchTiming,
    clock: Clock,
    wanted: watch::Receiver<BTreeSet<LocalQueue>>,
    boards: Arc<Mutex<Boards>>,
    tasks: HashMap<String, AbortHandle>,
    running: JoinSet<()>,
}

impl Driver {
    /// Ends when nobody can want anything any more; its watches end with it.
    async fn run(mut self) {
        loop {
            let wanted: BTreeSet<String> = self
                .wanted
                .borrow_and_update()
                .iter()
                .map(|queue| queue.namespace.clone())
                .filter(|namespace| is_name(namespace))
                .collect();
            self.tasks.retain(|namespace, task| {
                let keep = wanted.contains(namespace) && !task.is_finished();
                if !keep {
                    task.abort();
                    self.boards.lock().remove(namespace);
                }
                keep
            });
            for namespace in wanted {
                if !self.tasks.contains_key(&namespace) {
                    let task = self.start(namespace.clone());
                    self.tasks.insert(namespace, task);
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

    fn start(&mut self, namespace: String) -> AbortHandle {
        self.boards.lock().insert(
            namespace.clone(),
            Board {
                workloads: WatchState::Starting { problem: None },
                queues: WatchState::Starting { problem: None },
                items: BTreeMap::new(),
                names: BTreeSet::new(),
            },
        );
        let (client, timing, clock) = (self.client.clone(), self.timing.clone(), self.clock.clone());
        let boards = Arc::clone(&self.boards);
        self.running.spawn(async move {
            let version = served_version(&client, &timing, &namespace, &boards).await;
            let collection = |plural: &str| Collection {
                path: format!("/apis/{KUEUE}/{version}/namespaces/{namespace}/{plural}"),
                labels: None,
            };
            let (workloads, queues) = (collection("workloads"), collection("localqueues"));
            let (of_queues, in_namespace) = (Arc::clone(&boards), namespace.clone());
            let take_workload = move |event: Event<KueueWorkloadObject>| {
                if let Some(board) = boards.lock().get_mut(&namespace) {
                    board.take_workload(event);
                }
                std::future::ready(()).boxed()
            };
            let take_queue = move |event: Event<NamedObject>| {
                if let Some(board) = of_queues.lock().get_mut(&in_namespace) {
                    board.take_queue(event);
                }
                std::future::ready(()).boxed()
            };
            tokio::join!(
                follow(
                    client.clone(),
                    workloads,
                    timing.clone(),
                    clock.clone(),
                    take_workload
                ),
                follow(client, queues, timing, clock, take_queue),
            );
        })
    }
}

impl Board {
    fn take_workload(&mut self, event: Event<KueueWorkloadObject>) {
        self.workloads.follow(&event);
        match event {
            Event::Listed(objects) => self.items = objects.into_iter().map(item).collect(),
            Event::Put(object) => {
                let (name, item) = item(object);
                self.items.insert(name, item);
            }
            Event::Gone(object) => {
                self.items.remove(&object.metadata.name);
            }
            Event::Missing => self.items.clear(),
            Event::Current | Event::Broken { .. } => {}
        }
    }

    fn take_queue(&mut self, event: Event<NamedObject>) {
        self.queues.follow(&event);
        match event {
            Event::Listed(objects) => {
                self.names = objects.into_iter().map(|object| object.metadata.name).collect();
            }
            Event::Put(object) => {
                self.names.insert(object.metadata.name);
            }
            Event::Gone(object) => {
                self.names.remove(&object.metadata.name);
            }
            Event::Missing => self.names.clear(),
            Event::Current | Event::Broken { .. } => {}
        }
    }
}

impl WatchState {
    /// How a watch fares after `event`.
    fn follow<T>(&mut self, event: &Event<T>) {
        match event {
            Event::Listed(_) | Event::Current => *self = Self::Current,
            Event::Missing => *self = Self::Missing,
            Event::Broken { since, reason } => {
                let (since, reason) = (*since, reason.clone());
                *self = match self {
                    Self::Starting { .. } | Self::Missing => Self::Starting {
                        problem: Some(reason),
                    },
                    Self::Current | Self::Broken(_) => Self::Broken(Stale { since, reason }),
                };
            }
            Event::Put(_) | Event::Gone(_) => {}
        }
    }
}

fn item(object: KueueWorkloadObject) -> (String, Item) {
    let item = Item {
        waits: object.waits(),
        gpus: object.gpus(),
        queue: object.spec.queue_name,
    };
    (object.metadata.name, item)
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
async fn served_version(
    client: &Client,
    timing: &WatchTiming,
    namespace: &str,
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
        if let Some(board) = boards.lock().get_mut(namespace) {
            board.workloads = state;
        }
        tokio::time::sleep(timing.missing_pause).await;
    }
}

impl fmt::Display for LocalQueue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "LocalQueue {}/{}", self.namespace, self.name)
    }
}
