use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use kube::Client;
use rheostat_reading::Clock;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinError, JoinHandle, JoinSet};

use crate::definition::{self, Definition};
use crate::health::{Health, Resource, WatchId, WatchState};
use crate::index::{Change, Index, Job, LabelledPod, Replicated, SCALED_JOB_LABEL, ScaleAnswer, ScaleKey};
use crate::model::{PolicyId, ScalingPolicy, Stale, WorkloadKind};
use crate::objects::{JobObject, KedaObject, Meta, Object, PodObject, PolicyObject, ReplicatedObject};
use crate::policies::Policies;
use crate::scales::Scales;
use crate::selector::Selector;
use crate::store::{Store, StoreWriter};
use crate::watch::{Collection, Event, WatchTiming, follow};

/// What to watch and how eagerly.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// Only workloads of these namespaces; all where it is empty.
    pub namespaces: Vec<String>,
    /// How patient the watches are.
    pub timing: WatchTiming,
    /// How often scale subresources of unwatched kinds are read; also when the workload or its
    /// pods change. Many targets are read less often, 50 a second in all.
    pub scale_period: Duration,
    /// The least time between two publications: a burst of events is one.
    pub coalesce: Duration,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            timing: WatchTiming::default(),
            scale_period: Duration::from_secs(5),
            coalesce: Duration::from_millis(50),
        }
    }
}

/// Keeps the watches alive; dropping it ends them.
#[derive(Debug)]
pub struct WatchGuard(JoinHandle<()>);

impl WatchGuard {
    pub(crate) fn new(task: JoinHandle<()>) -> Self {
        Self(task)
    }
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts to watch the cluster behind `client`; returns at once, with a store that fills as the
/// lists arrive ([`Snapshot::synced`](crate::Snapshot::synced)). Needs a tokio runtime.
#[must_use]
pub fn watch_cluster(client: Client, options: WatchOptions, clock: Clock) -> (Store, WatchGuard) {
    let roots: Vec<_> = ROOTS
        .into_iter()
        .flat_map(|resource| match options.namespaces.as_slice() {
            [] => vec![WatchId::new(resource, None)],
            names => names
                .iter()
                .map(|name| WatchId::new(resource, Some(name)))
                .collect(),
        })
        .collect();
    let mut health = Health::default();
    for watch in &roots {
        health.set(watch.clone(), WatchState::Starting { problem: None });
    }
    let (writer, store) = Store::starting(health.clone(), false);
    let (sender, receiver) = mpsc::channel(CHANNEL);
    let scales = Scales::new(client.clone(), clock.clone(), options.scale_period);
    let driver = Driver {
        client,
        options,
        clock,
        scales,
        writer,
        health,
        sender,
        index: Index::default(),
        policies: Policies::default(),
        tasks: HashMap::new(),
        running: JoinSet::new(),
        next_run: 0,
        synced: false,
    };
    (store, WatchGuard::new(tokio::spawn(driver.run(roots, receiver))))
}

/// What is watched from the start; everything else where a workload needs it.
const ROOTS: [Resource; 3] = [
    Resource::ScaledObjects,
    Resource::ScaledJobs,
    Resource::ScalingPolicies,
];

/// Messages that may wait; a watch that is ahead of the driver waits too.
const CHANNEL: usize = 1024;

/// Owns the index: starts the watches that the workloads need, applies what they see, publishes.
struct Driver {
    client: Client,
    options: WatchOptions,
    clock: Clock,
    scales: Scales,
    writer: StoreWriter,
    health: Health,
    sender: mpsc::Sender<Message>,
    index: Index,
    policies: Policies,
    tasks: HashMap<TaskKey, Task>,
    running: JoinSet<()>,
    next_run: u64,
    synced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum TaskKey {
    Watch(WatchId),
    Scale(ScaleKey),
}

struct Task {
    /// Tells a task's messages from those of an earlier one with the same key.
    run: u64,
    handle: AbortHandle,
    touched: Arc<Notify>,
}

struct Message {
    run: u64,
    key: TaskKey,
    content: Content,
}

enum Content {
    Definitions(WorkloadKind, Box<Change<Definition>>),
    Replicated(Change<Replicated>),
    Jobs(Change<Job>),
    Pods(Change<LabelledPod>),
    Policies(Change<ScalingPolicy>),
    Scale(ScaleAnswer),
    State(Signal),
}

/// News of a watch itself.
enum Signal {
    Current,
    Broken(Stale),
    Missing,
}

impl Driver {
    async fn run(mut self, roots: Vec<WatchId>, mut receiver: mpsc::Receiver<Message>) {
        for watch in roots {
            self.start(TaskKey::Watch(watch));
        }
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                received = receiver.recv_many(&mut batch, CHANNEL) => {
                    if received == 0 {
                        return;
                    }
                }
                Some(ended) = self.running.join_next_with_id() => self.ended(&ended.map(|(id, ())| id)),
            }
            let health = self.health.clone();
            for message in batch.drain(..) {
                self.apply(message);
            }
            if self.index.take_needs_changed() {
                self.adjust();
            }
            for key in self.index.take_touched() {
                if let Some(task) = self.tasks.get(&TaskKey::Scale(key)) {
                    task.touched.notify_one();
                }
            }
            let was_synced = self.synced;
            self.synced = was_synced || (self.health.listed() && !self.index.pending());
            let changes = self.index.take_changes();
            let policies = self.policies.take_changes();
            if !changes.is_empty()
                || !policies.is_empty()
                || self.health != health
                || self.synced != was_synced
            {
                self.writer
                    .publish(changes, policies, Some((self.health.clone(), self.synced)));
                tokio::time::sleep(self.options.coalesce).await;
            }
        }
    }

    fn apply(&mut self, message: Message) {
        let Message { run, key, content } = message;
        if self.tasks.get(&key).is_none_or(|task| task.run != run) {
            return;
        }
        let watch = match key {
            TaskKey::Watch(watch) => watch,
            TaskKey::Scale(key) => {
                if let Content::Scale(answer) = content {
                    self.index.scale(key, answer);
                }
                return;
            }
        };
        let namespace = watch.namespace.as_deref();
        let listed = match &content {
            Content::Definitions(_, change) => matches!(**change, Change::Listed(_)),
            Content::Replicated(change) => matches!(change, Change::Listed(_)),
            Content::Jobs(change) => matches!(change, Change::Listed(_)),
            Content::Pods(change) => matches!(change, Change::Listed(_)),
            Content::Policies(change) => matches!(change, Change::Listed(_)),
            Content::Scale(_) | Content::State(_) => false,
        };
        match (content, namespace) {
            (Content::Definitions(kind, change), _) => self.index.definitions(kind, namespace, *change),
            (Content::Policies(change), _) => self.policies.apply(namespace, change),
            (Content::Replicated(change), Some(space)) => {
                self.index.replicated(watch.resource, space, change);
            }
            (Content::Jobs(change), Some(space)) => self.index.jobs(space, change),
            (Content::Pods(change), Some(space)) => self.index.pods(space, change),
            (Content::State(signal), _) => return self.signal(watch, signal),
            _ => return,
        }
        if listed {
            self.signal(watch, Signal::Current);
        }
    }

    fn signal(&mut self, watch: WatchId, signal: Signal) {
        let was_listed = matches!(
            self.health.get(&watch),
            Some(WatchState::Current | WatchState::Broken(_))
        );
        let definitions = match watch.resource {
            Resource::ScaledObjects => Some(WorkloadKind::ScaledObject),
            Resource::ScaledJobs => Some(WorkloadKind::ScaledJob),
            _ => None,
        };
        let state = match (signal, definitions) {
            (Signal::Current, _) => WatchState::Current,
            (Signal::Broken(stale), _) if was_listed => WatchState::Broken(stale),
            (Signal::Broken(stale), _) => WatchState::Starting {
                problem: Some(stale.reason),
            },
            (Signal::Missing, Some(kind)) => {
                self.index
                    .definitions(kind, watch.namespace.as_deref(), Change::Listed(Vec::new()));
                WatchState::Missing
            }
            (Signal::Missing, None) if watch.resource == Resource::ScalingPolicies => {
                self.policies
                    .apply(watch.namespace.as_deref(), Change::Listed(Vec::new()));
                WatchState::Missing
            }
            (Signal::Missing, None) => WatchState::Starting {
                problem: Some("the API server does not serve it".into()),
            },
        };
        if let (
            WatchState::Starting {
                problem: Some(problem),
            },
            Some(namespace),
        ) = (&state, &watch.namespace)
        {
            self.index.problem(watch.resource, namespace, problem.clone());
        }
        let old = self.health.get(&watch).and_then(WatchState::problem).is_some();
        match (old, state.problem()) {
            (false, Some(problem)) => {
                tracing::warn!(%watch, problem, "cannot watch; what is known grows old");
            }
            (true, None) => tracing::info!(%watch, "watching again"),
            _ => {}
        }
        self.health.set(watch, state);
    }

    /// Starts what the workloads need now and ends what none needs any more.
    fn adjust(&mut self) {
        let (watches, scales) = self.index.needs();
        let is_root = |watch: &WatchId| ROOTS.contains(&watch.resource);
        let (health, index) = (&mut self.health, &mut self.index);
        self.tasks.retain(|key, task| {
            let needed = match key {
                TaskKey::Watch(watch) => is_root(watch) || watches.contains(watch),
                TaskKey::Scale(key) => scales.contains(key),
            };
            if !needed {
                task.handle.abort();
                if let TaskKey::Watch(watch) = key {
                    health.forget(watch);
                    index.forget(watch);
                }
            }
            needed
        });
        for watch in watches {
            if !self.tasks.contains_key(&TaskKey::Watch(watch.clone())) {
                self.health
                    .set(watch.clone(), WatchState::Starting { problem: None });
                self.start(TaskKey::Watch(watch));
            }
        }
        for key in scales {
            if !self.tasks.contains_key(&TaskKey::Scale(key.clone())) {
                self.start(TaskKey::Scale(key));
            }
        }
    }

    fn start(&mut self, key: TaskKey) {
        self.next_run += 1;
        let post = Post {
            run: self.next_run,
            key: key.clone(),
            sender: self.sender.clone(),
        };
        let touched = Arc::new(Notify::new());
        let handle = match &key {
            TaskKey::Watch(watch) => match watch.resource {
                Resource::ScaledObjects => self.start_definitions(watch, WorkloadKind::ScaledObject, post),
                Resource::ScaledJobs => self.start_definitions(watch, WorkloadKind::ScaledJob, post),
                Resource::ScalingPolicies => {
                    self.start_watch(watch, post, |object| Some(policy(object)), Content::Policies)
                }
                Resource::Deployments | Resource::StatefulSets | Resource::ReplicaSets => self.start_watch(
                    watch,
                    post,
                    |object| Some(replicated(object)),
                    Content::Replicated,
                ),
                Resource::Jobs => self.start_watch(watch, post, job, Content::Jobs),
                Resource::Pods => {
                    self.start_watch(watch, post, |object| Some(labelled_pod(object)), Content::Pods)
                }
                // Watched by `watch_endpoints`, never needed by a workload.
                Resource::EndpointSlices => return,
            },
            TaskKey::Scale(key) => {
                let emit = move |answer| post.send(Content::Scale(answer));
                self.running.spawn(
                    self.scales
                        .clone()
                        .follow(key.clone(), Arc::clone(&touched), emit),
                )
            }
        };
        self.tasks.insert(
            key,
            Task {
                run: self.next_run,
                handle,
                touched,
            },
        );
    }

    fn start_definitions(&mut self, watch: &WatchId, kind: WorkloadKind, post: Post) -> AbortHandle {
        let read = move |object: KedaObject| match definition::read(kind, &object) {
            Ok(found) => found,
            Err(error) => {
                let Meta { namespace, name, .. } = &object.metadata;
                tracing::warn!(%kind, namespace, name, %error, "cannot be read and is left out");
                None
            }
        };
        self.start_watch(watch, post, read, move |change| {
            Content::Definitions(kind, Box::new(change))
        })
    }

    fn start_watch<T, U>(
        &mut self,
        watch: &WatchId,
        post: Post,
        read: impl Fn(T) -> Option<U> + Send + Sync + 'static,
        wrap: impl Fn(Change<U>) -> Content + Send + Sync + 'static,
    ) -> AbortHandle
    where
        T: Object + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
    {
        let labels = (watch.resource == Resource::Jobs).then(|| SCALED_JOB_LABEL.to_owned());
        let collection = Collection {
            path: watch.path(),
            labels,
        };
        let emit = move |event: Event<T>| {
            let change = |change| post.send(wrap(change));
            let gone = |namespace, name| Change::Gone { namespace, name };
            match event {
                Event::Listed(objects) => {
                    change(Change::Listed(objects.into_iter().filter_map(&read).collect()))
                }
                Event::Put(object) => {
                    let (namespace, name) = (object.meta().namespace.clone(), object.meta().name.clone());
                    change(read(object).map_or_else(|| gone(namespace, name), Change::Put))
                }
                Event::Gone(object) => {
                    change(gone(object.meta().namespace.clone(), object.meta().name.clone()))
                }
                Event::Current => post.send(Content::State(Signal::Current)),
                Event::Broken { since, reason } => {
                    post.send(Content::State(Signal::Broken(Stale { since, reason })))
                }
                Event::Missing => post.send(Content::State(Signal::Missing)),
            }
        };
        let timing = self.options.timing.clone();
        self.running.spawn(follow(
            self.client.clone(),
            collection,
            timing,
            self.clock.clone(),
            emit,
        ))
    }

    /// A task ended: expected where we ended it, else it panicked and is started again.
    fn ended(&mut self, ended: &Result<tokio::task::Id, JoinError>) {
        let id = match ended {
            Ok(id) => *id,
            Err(error) if error.is_cancelled() => return,
            Err(error) => error.id(),
        };
        let key = self
            .tasks
            .iter()
            .find(|(_, task)| task.handle.id() == id)
            .map(|(key, _)| key.clone());
        if let Some(key) = key {
            tracing::error!(?key, ?ended, "a watch ended by itself and is started again");
            self.start(key);
        }
    }
}

/// Sends a task's messages to the driver.
#[derive(Clone)]
struct Post {
    run: u64,
    key: TaskKey,
    sender: mpsc::Sender<Message>,
}

impl Post {
    fn send(&self, content: Content) -> BoxFuture<'static, ()> {
        let message = Message {
            run: self.run,
            key: self.key.clone(),
            content,
        };
        let sender = self.sender.clone();
        // The driver is gone only when everything ends.
        async move { drop(sender.send(message).await) }.boxed()
    }
}

fn replicated(object: ReplicatedObject) -> Replicated {
    let selector = object
        .spec
        .selector
        .as_ref()
        .ok_or_else(|| "it has no selector".to_owned());
    Replicated {
        selector: selector
            .and_then(|selector| Selector::try_from(selector).map_err(|error| error.to_string())),
        name: object.metadata.name,
        spec_replicas: object.spec.replicas.unwrap_or(1),
        status_replicas: object.status.replicas.unwrap_or(0),
    }
}

fn job(object: JobObject) -> Option<Job> {
    let scaled_job = object.metadata.labels.get(SCALED_JOB_LABEL)?.clone();
    Some(Job {
        finished: object.finished(),
        name: object.metadata.name,
        scaled_job,
    })
}

fn policy(object: PolicyObject) -> ScalingPolicy {
    ScalingPolicy {
        id: PolicyId {
            namespace: object.metadata.namespace,
            name: object.metadata.name,
        },
        uid: object.metadata.uid,
        generation: object.metadata.generation,
        spec: object.spec,
        status: object.status,
    }
}

fn labelled_pod(object: PodObject) -> LabelledPod {
    let (pod, labels) = object.into_pod();
    LabelledPod {
        pod: Arc::new(pod),
        labels,
    }
}
