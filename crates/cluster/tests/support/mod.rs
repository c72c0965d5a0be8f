//! An API server in the process: lists, watches, discovery and scale subresources over real HTTP,
//! with resource versions, bookmarks, expired versions and outages.
#![allow(dead_code, reason = "not every test file needs all of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

type Body = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Clone)]
pub(crate) struct ApiServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Wakes watches: grows with every change of the state.
    ticks: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    version: u64,
    /// Versions up to this cannot be watched from any more.
    compacted: u64,
    /// Collection path (`/apis/apps/v1/deployments`), namespace, name.
    objects: BTreeMap<(String, String, String), Value>,
    log: Vec<(u64, String, &'static str, Value)>,
    /// Answers for whole paths.
    fixed: BTreeMap<String, (u16, Value)>,
    missing: BTreeSet<String>,
    forbidden: BTreeSet<String>,
    down: bool,
    /// Connections stay open and nothing is said on them.
    frozen: bool,
    /// Grows when all running watches are cut.
    epoch: u64,
    requests: Vec<String>,
}

impl ApiServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(State {
                version: 10,
                ..State::default()
            })),
            ticks: watch::Sender::new(0),
        };
        let accept = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = accept.clone();
                if server.state.lock().down {
                    continue;
                }
                tokio::spawn(async move {
                    let answer = |request| {
                        let server = server.clone();
                        async move { server.answer(request).await }
                    };
                    let http = hyper::server::conn::http1::Builder::new();
                    let connection = http.serve_connection(TokioIo::new(stream), service_fn(answer));
                    tokio::select! {
                        _ = connection => {}
                        () = server.until_down() => {}
                    }
                });
            }
        });
        server
    }

    pub(crate) fn client(&self) -> kube::Client {
        let mut config = kube::Config::new(format!("http://{}", self.address).parse().unwrap());
        config.default_retry = false;
        kube::Client::try_from(config).unwrap()
    }

    /// Creates or changes an object; its namespace and name come from its metadata.
    pub(crate) fn put(&self, collection: &str, mut object: Value) {
        self.change(|state| {
            state.version += 1;
            object["metadata"]["resourceVersion"] = json!(state.version.to_string());
            let meta = |key: &str| object["metadata"][key].as_str().unwrap().to_owned();
            let key = (collection.to_owned(), meta("namespace"), meta("name"));
            let kind = if state.objects.insert(key, object.clone()).is_some() {
                "MODIFIED"
            } else {
                "ADDED"
            };
            state
                .log
                .push((state.version, collection.to_owned(), kind, object));
        });
    }

    pub(crate) fn delete(&self, collection: &str, namespace: &str, name: &str) {
        self.change(|state| {
            state.version += 1;
            let key = (collection.to_owned(), namespace.to_owned(), name.to_owned());
            let mut object = state.objects.remove(&key).unwrap();
            object["metadata"]["resourceVersion"] = json!(state.version.to_string());
            state
                .log
                .push((state.version, collection.to_owned(), "DELETED", object));
        });
    }

    /// Deletes without telling the watches, as if it had happened while nobody could watch.
    pub(crate) fn delete_unseen(&self, collection: &str, namespace: &str, name: &str) {
        self.change(|state| {
            state.version += 1;
            state
                .objects
                .remove(&(collection.to_owned(), namespace.to_owned(), name.to_owned()))
                .unwrap();
        });
    }

    /// Tells all watches the present version.
    pub(crate) fn bookmark(&self) {
        self.change(|state| {
            state.version += 1;
            let object = json!({"kind": "Bookmark", "apiVersion": "v1",
                "metadata": {"resourceVersion": state.version.to_string()}});
            state.log.push((state.version, String::new(), "BOOKMARK", object));
        });
    }

    /// Answers GET `path` with `status` and `body`.
    pub(crate) fn fix(&self, path: &str, status: u16, body: Value) {
        self.change(|state| drop(state.fixed.insert(path.to_owned(), (status, body))));
    }

    /// Whether the collection is served at all (a CRD that is not installed).
    pub(crate) fn set_missing(&self, collection: &str, missing: bool) {
        self.change(|state| {
            if missing {
                state.missing.insert(collection.to_owned());
            } else {
                state.missing.remove(collection);
            }
        });
    }

    pub(crate) fn set_forbidden(&self, collection: &str, forbidden: bool) {
        self.change(|state| {
            if forbidden {
                state.forbidden.insert(collection.to_owned());
            } else {
                state.forbidden.remove(collection);
            }
        });
    }

    /// Down: every connection breaks and none is answered.
    pub(crate) fn set_down(&self, down: bool) {
        self.change(|state| state.down = down);
    }

    /// Frozen: connections stay open, but neither answers nor events come, as after a power cut.
    pub(crate) fn set_frozen(&self, frozen: bool) {
        self.change(|state| state.frozen = frozen);
    }

    async fn until_thawed(&self) {
        let mut ticks = self.ticks.subscribe();
        while self.state.lock().frozen {
            ticks.changed().await.unwrap();
        }
    }

    /// Ends every watch and forgets the history, so that a watch cannot go on from where it was.
    pub(crate) fn expire(&self) {
        self.change(|state| {
            state.compacted = state.version;
            state.log.clear();
            state.epoch += 1;
        });
    }

    /// Ends every watch, as the API server does now and then.
    pub(crate) fn end_watches(&self) {
        self.change(|state| state.epoch += 1);
    }

    /// Paths with query of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().requests.clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.ticks.send_modify(|tick| *tick += 1);
    }

    async fn until_down(&self) {
        let mut ticks = self.ticks.subscribe();
        while !self.state.lock().down {
            ticks.changed().await.unwrap();
        }
    }

    async fn answer(&self, request: Request<hyper::body::Incoming>) -> Result<Response<Body>, Infallible> {
        let path = request.uri().path().to_owned();
        let query = query(request.uri().query().unwrap_or_default());
        self.state.lock().requests.push(request.uri().to_string());
        self.until_thawed().await;
        let (collection, namespace) = collection(&path);
        let state = self.state.lock();
        if let Some((status, body)) = state.fixed.get(&path) {
            return Ok(whole(*status, body));
        }
        if state.missing.contains(&collection) || !is_known(&collection) {
            return Ok(failure(
                404,
                "NotFound",
                "the server could not find the requested resource",
            ));
        }
        if state.forbidden.contains(&collection) {
            return Ok(failure(
                403,
                "Forbidden",
                "pods is forbidden: no RBAC policy matched",
            ));
        }
        let selected = Selected {
            collection,
            namespace,
            labels: query.get("labelSelector").cloned(),
        };
        if query.contains_key("watch") {
            let from = query
                .get("resourceVersion")
                .and_then(|text| text.parse().ok())
                .unwrap_or(0);
            if from < state.compacted {
                return Ok(failure(410, "Expired", "too old resource version"));
            }
            let seconds = query
                .get("timeoutSeconds")
                .map_or(290, |text| text.parse().unwrap());
            let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
            let epoch = state.epoch;
            drop(state);
            return Ok(self.clone().stream(selected, from, epoch, end));
        }
        let items: Vec<_> = state
            .objects
            .iter()
            .filter(|(key, object)| selected.has(&key.0, object))
            .map(|(_, o)| o)
            .collect();
        let (limit, offset) = (number(&query, "limit", usize::MAX), number(&query, "continue", 0));
        let next = offset.saturating_add(limit);
        let more = if next < items.len() {
            next.to_string()
        } else {
            String::new()
        };
        let page: Vec<_> = items.into_iter().skip(offset).take(limit).collect();
        let body = json!({"kind": "List", "apiVersion": "v1", "items": page,
            "metadata": {"resourceVersion": state.version.to_string(), "continue": more}});
        Ok(whole(200, &body))
    }

    fn stream(self, selected: Selected, from: u64, epoch: u64, end: tokio::time::Instant) -> Response<Body> {
        let ticks = self.ticks.subscribe();
        let start = (self, selected, from, ticks);
        let lines = futures::stream::unfold(start, move |(server, selected, mut at, mut ticks)| async move {
            loop {
                server.until_thawed().await;
                ticks.mark_unchanged();
                let line = {
                    let state = server.state.lock();
                    if state.epoch != epoch {
                        return None;
                    }
                    state
                        .log
                        .iter()
                        .filter(|entry| entry.0 > at)
                        .find(|(_, collection, kind, object)| {
                            *kind == "BOOKMARK" || selected.has(collection, object)
                        })
                        .map(|(version, _, kind, object)| (*version, json!({"type": kind, "object": object})))
                };
                if let Some((version, line)) = line {
                    at = version;
                    let frame = Frame::data(Bytes::from(format!("{line}\n")));
                    return Some((Ok::<_, Infallible>(frame), (server, selected, at, ticks)));
                }
                tokio::select! {
                    changed = ticks.changed() => changed.unwrap(),
                    () = tokio::time::sleep_until(end) => {
                        server.until_thawed().await;
                        return None;
                    }
                }
            }
        });
        Response::new(BodyExt::boxed_unsync(StreamBody::new(lines)))
    }
}

struct Selected {
    collection: String,
    namespace: Option<String>,
    labels: Option<String>,
}

impl Selected {
    fn has(&self, collection: &str, object: &Value) -> bool {
        let namespace = object["metadata"]["namespace"].as_str();
        let label = |key: &str| object["metadata"]["labels"][key].as_str();
        let labels = match self
            .labels
            .as_deref()
            .map(|selector| selector.split_once('=').ok_or(selector))
        {
            None => true,
            Some(Ok((key, value))) => label(key) == Some(value),
            Some(Err(key)) => label(key).is_some(),
        };
        collection == self.collection
            && labels
            && self
                .namespace
                .as_deref()
                .is_none_or(|wanted| namespace == Some(wanted))
    }
}

/// `/apis/apps/v1/namespaces/a/deployments` is collection `/apis/apps/v1/deployments` in `a`.
fn collection(path: &str) -> (String, Option<String>) {
    match path
        .split_once("/namespaces/")
        .map(|(root, rest)| (root, rest.split_once('/')))
    {
        Some((root, Some((namespace, plural)))) => (format!("{root}/{plural}"), Some(namespace.to_owned())),
        _ => (path.to_owned(), None),
    }
}

pub(crate) const SCALED_OBJECTS: &str = "/apis/keda.sh/v1alpha1/scaledobjects";
pub(crate) const SCALED_JOBS: &str = "/apis/keda.sh/v1alpha1/scaledjobs";
pub(crate) const SCALING_POLICIES: &str = "/apis/rheostat.dev/v1alpha1/scalingpolicies";
pub(crate) const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";
pub(crate) const STATEFUL_SETS: &str = "/apis/apps/v1/statefulsets";
pub(crate) const REPLICA_SETS: &str = "/apis/apps/v1/replicasets";
pub(crate) const JOBS: &str = "/apis/batch/v1/jobs";
pub(crate) const PODS: &str = "/api/v1/pods";
pub(crate) const ENDPOINT_SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
pub(crate) const KUEUE_WORKLOADS: &str = "/apis/kueue.x-k8s.io/v1beta2/workloads";
pub(crate) const LOCAL_QUEUES: &str = "/apis/kueue.x-k8s.io/v1beta2/localqueues";

fn is_known(collection: &str) -> bool {
    let known = [
        SCALED_OBJECTS,
        SCALED_JOBS,
        SCALING_POLICIES,
        DEPLOYMENTS,
        STATEFUL_SETS,
        REPLICA_SETS,
        JOBS,
        PODS,
        ENDPOINT_SLICES,
        KUEUE_WORKLOADS,
        LOCAL_QUEUES,
    ];
    known.contains(&collection)
}

fn whole(status: u16, body: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string())).boxed_unsync();
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("content-type", "application/json")
        .body(body)
        .unwrap()
}

pub(crate) fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": code})
}

fn failure(code: u16, reason: &str, message: &str) -> Response<Body> {
    whole(code, &status(code, reason, message))
}

fn number(query: &BTreeMap<String, String>, key: &str, default: usize) -> usize {
    query
        .get(key)
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn query(text: &str) -> BTreeMap<String, String> {
    text.split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(key, value)| (key.to_owned(), unescaped(value)))
        .collect()
}

fn unescaped(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut found = Vec::new();
    while let Some(byte) = bytes.next() {
        found.push(match byte {
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(found).unwrap()
}
