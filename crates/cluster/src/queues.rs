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
use crate::objects::KueueWorkloadObject;
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
    /// GPUs and partitions that their pods ask for together.
    pub gpus: u32,
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
    state: WatchState,
    items: BTreeMap<String, Item>,
}

/// One Workload.
#[derive(Debug)]
struct Item {
    queue: String,
    waits: bool,
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
        let as_of = match &board.state {
            WatchState::Current => self.clock.now(),
            WatchState::Broken(Stale { since, .. }) => *since,
            WatchState::Starting { problem: None } => return Err(format!("{queue} is not listed yet")),
            WatchState::Starting {
                problem: Some(problem),
            } => return Err(format!("{queue} cannot be listed: {problem}")),
            WatchState::Missing => {
                return Err(format!("the cluster does not serve {queue}: it has no Kueue"));
            }
        };
        let mut work = Work {
            workloads: 0,
            gpus: 0,
            as_of,
        };
        let waiting = board
            .items
            .values()
            .filter(|item| item.waits && item.queue == queue.name);
        for item in waiting {
            work.workloads = work.workloads.saturating_add(1);
            work.gpus = work.gpus.saturating_add(item.gpus);
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
                state: WatchState::Starting { problem: None },
                items: BTreeMap::new(),
            },
        );
        let (client, timing, clock) = (self.client.clone(), self.timing.clone(), self.clock.clone());
        let boards = Arc::clone(&self.boards);
        self.running.spawn(async move {
            let version = served_version(&client, &timing, &namespace, &boards).await;
            let collection = Collection {
                path: format!("/apis/{KUEUE}/{version}/namespaces/{namespace}/workloads"),
                labels: None,
            };
            let emit = move |event: Event<KueueWorkloadObject>| {
                if let Some(board) = boards.lock().get_mut(&namespace) {
                    board.take(event);
                }
                std::future::ready(()).boxed()
            };
            follow(client, collection, timing, clock, emit).await;
        })
    }
}

impl Board {
    fn take(&mut self, event: Event<KueueWorkloadObject>) {
        match event {
            Event::Listed(objects) => {
                self.items = objects.into_iter().map(item).collect();
                self.state = WatchState::Current;
            }
            Event::Put(object) => {
                let (name, item) = item(object);
                self.items.insert(name, item);
            }
            Event::Gone(object) => {
                self.items.remove(&object.metadata.name);
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
            board.state = state;
        }
        tokio::time::sleep(timing.missing_pause).await;
    }
}

impl fmt::Display for LocalQueue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "LocalQueue {}/{}", self.namespace, self.name)
    }
}
