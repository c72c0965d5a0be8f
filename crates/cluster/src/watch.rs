use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use kube::Client;
use kube::api::{ListParams, ObjectList, Request, WatchEvent, WatchParams};
use rheostat_backoff::Backoff;
use rheostat_reading::{Clock, Timestamp};
use serde::de::DeserializeOwned;

use crate::objects::Object;
use crate::seed_of;

/// Objects per page of a list: the API server's own tools use the same.
const PAGE: u32 = 500;
/// How long one page of a list may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// A watch that ends sooner than this is not asked again at once.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// How patient the watches are. The defaults suit a cluster; tests hurry.
#[derive(Clone, Debug)]
pub struct WatchTiming {
    /// After how long a watch is asked anew, whether anything happened or not. Together with
    /// `grace` this bounds how long a dead connection goes unnoticed.
    pub renew: Duration,
    /// How much later than `renew` the end of a watch may arrive; also how long a watch may take
    /// to open.
    pub grace: Duration,
    /// First pause after a failure.
    pub first_pause: Duration,
    /// Longest pause between attempts.
    pub longest_pause: Duration,
    /// How often a resource that the cluster does not serve is looked for.
    pub missing_pause: Duration,
}

impl Default for WatchTiming {
    fn default() -> Self {
        Self {
            renew: Duration::from_secs(60),
            grace: Duration::from_secs(10),
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(10),
            missing_pause: Duration::from_secs(30),
        }
    }
}

/// A collection to follow.
#[derive(Clone, Debug)]
pub(crate) struct Collection {
    pub(crate) path: String,
    pub(crate) labels: Option<String>,
}

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum Event<T> {
    /// Everything there is; the watch is current from here on.
    Listed(Vec<T>),
    /// New or changed.
    Put(T),
    /// Deleted.
    Gone(T),
    /// Current again after `Broken`.
    Current,
    /// What is known was last known to be true at `since`.
    Broken { since: Timestamp, reason: String },
    /// The cluster does not serve the collection.
    Missing,
}

/// Where events go. Boxed, so that whether it can be spawned does not hang on deep inference.
pub(crate) trait Emit<T>: Fn(Event<T>) -> BoxFuture<'static, ()> + Send + Sync + 'static {}
impl<T, F: Fn(Event<T>) -> BoxFuture<'static, ()> + Send + Sync + 'static> Emit<T> for F {}

/// Lists and watches `collection` for ever.
///
/// kube's own watcher does the same but cannot tell a quiet watch from one that it is failing to
/// reopen; how old the view is must be known here, so the loop is ours.
pub(crate) async fn follow<T>(
    client: Client,
    collection: Collection,
    timing: WatchTiming,
    clock: Clock,
    emit: impl Emit<T>,
) where
    T: Object + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let mut follower = Follower {
        backoff: Backoff::new(
            timing.first_pause,
            timing.longest_pause,
            seed_of(&collection.path),
        ),
        last_contact: clock.now(),
        client,
        collection,
        timing,
        clock,
        emit,
    };
    loop {
        let version = follower.list().await;
        follower.watch(version).await;
    }
}

struct Follower<F> {
    client: Client,
    collection: Collection,
    timing: WatchTiming,
    clock: Clock,
    emit: F,
    backoff: Backoff,
    /// The last moment at which the API server showed us the truth.
    last_contact: Timestamp,
}

/// Why a watch cannot simply be asked again from where it was.
struct Outdated;

impl<F> Follower<F> {
    /// Lists until it succeeds; returns the version to watch from.
    async fn list<T>(&mut self) -> String
    where
        F: Emit<T>,
        T: Object + Clone + DeserializeOwned + Send + 'static,
    {
        loop {
            match self.list_once::<T>().await {
                Ok((objects, version)) => {
                    self.last_contact = self.clock.now();
                    self.backoff.reset();
                    (self.emit)(Event::Listed(objects)).await;
                    return version;
                }
                Err(Failure::Missing) => {
                    self.last_contact = self.clock.now();
                    (self.emit)(Event::Missing).await;
                    tokio::time::sleep(self.timing.missing_pause).await;
                }
                Err(Failure::Other(reason)) => self.broken(reason).await,
            }
        }
    }

    async fn list_once<T>(&self) -> Result<(Vec<T>, String), Failure>
    where
        T: Clone + DeserializeOwned,
    {
        let mut objects = Vec::new();
        let mut params = ListParams {
            label_selector: self.collection.labels.clone(),
            ..Default::default()
        }
        .limit(PAGE);
        loop {
            let request = Request::new(&self.collection.path)
                .list(&params)
                .map_err(Failure::other)?;
            let page = self.client.request::<ObjectList<T>>(request);
            let page = tokio::time::timeout(LIST_TIMEOUT, page).await;
            let page = page
                .map_err(|_| Failure::Other("the list took too long".into()))?
                .map_err(Failure::from)?;
            let metadata = page.metadata;
            objects.extend(page.items);
            match metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok((objects, metadata.resource_version.unwrap_or_default())),
            }
        }
    }

    /// Watches from `version` until a new list is needed.
    async fn watch<T>(&mut self, mut version: String)
    where
        F: Emit<T>,
        T: Object + Clone + DeserializeOwned + Send + 'static,
    {
        let mut healthy = true;
        while self.watch_once(&mut version, &mut healthy).await.is_ok() {}
    }

    async fn watch_once<T>(&mut self, version: &mut String, healthy: &mut bool) -> Result<(), Outdated>
    where
        F: Emit<T>,
        T: Object + Clone + DeserializeOwned + Send + 'static,
    {
        let timeout = u32::try_from(self.timing.renew.as_secs().max(1)).unwrap_or(u32::MAX);
        let params = WatchParams {
            label_selector: self.collection.labels.clone(),
            timeout: Some(timeout),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = match Request::new(&self.collection.path).watch(&params, version) {
            Ok(request) => request,
            Err(error) => {
                self.broken(error.to_string()).await;
                return Err(Outdated);
            }
        };
        let opened = self.clock.now();
        let opening = tokio::time::timeout(self.timing.grace, self.client.request_events::<T>(request));
        let mut stream = match opening.await {
            Ok(Ok(stream)) => Box::pin(stream),
            Ok(Err(error)) => return self.failed(&error, healthy).await,
            Err(_) => {
                *healthy = false;
                self.broken("the API server does not answer".into()).await;
                return Ok(());
            }
        };
        self.last_contact = self.clock.now();
        if !*healthy {
            *healthy = true;
            (self.emit)(Event::Current).await;
        }
        loop {
            let Ok(next) = tokio::time::timeout(self.timing.renew + self.timing.grace, stream.next()).await
            else {
                *healthy = false;
                self.broken("the API server fell silent".into()).await;
                return Ok(());
            };
            let Some(event) = next else {
                // The API server ends watches as a matter of course; only a hasty end is odd.
                if self.clock.now().since(opened) < SHORTEST_WATCH {
                    tokio::time::sleep(self.backoff.pause()).await;
                }
                return Ok(());
            };
            self.last_contact = self.clock.now();
            let event = match event {
                Ok(WatchEvent::Bookmark(bookmark)) => {
                    *version = bookmark.metadata.resource_version;
                    self.backoff.reset();
                    continue;
                }
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => Event::Put(object),
                Ok(WatchEvent::Deleted(object)) => Event::Gone(object),
                Ok(WatchEvent::Error(status)) => {
                    return self.failed(&kube::Error::Api(status), healthy).await;
                }
                Err(error) => return self.failed(&error, healthy).await,
            };
            if let Event::Put(object) | Event::Gone(object) = &event {
                version.clone_from(&object.meta().resource_version);
            }
            self.backoff.reset();
            (self.emit)(event).await;
        }
    }

    /// After a failed watch: list again where the version is too old, else pause and go on.
    async fn failed<T>(&mut self, error: &kube::Error, healthy: &mut bool) -> Result<(), Outdated>
    where
        F: Emit<T>,
    {
        if let kube::Error::Api(status) = error
            && (status.code == 410 || status.reason == "Expired" || status.reason == "Gone")
        {
            tracing::debug!(path = self.collection.path, "watch too old, listing again");
            return Err(Outdated);
        }
        *healthy = false;
        self.broken(error.to_string()).await;
        // A refusal by the API itself (deleted CRD, lost permission) is told by the next list.
        if matches!(error, kube::Error::Api(_)) {
            Err(Outdated)
        } else {
            Ok(())
        }
    }

    async fn broken<T>(&mut self, reason: String)
    where
        F: Emit<T>,
    {
        tracing::debug!(path = self.collection.path, reason, "watch broken");
        (self.emit)(Event::Broken {
            since: self.last_contact,
            reason,
        })
        .await;
        tokio::time::sleep(self.backoff.pause()).await;
    }
}

enum Failure {
    Missing,
    Other(String),
}

impl Failure {
    fn other(error: impl std::fmt::Display) -> Self {
        Self::Other(error.to_string())
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.is_not_found() => Self::Missing,
            other => Self::other(other),
        }
    }
}
