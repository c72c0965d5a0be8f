//! An API server in the process, as far as a steward needs one: leases with versions, statuses of policies,
//! Events. Reached over a socket, or without one so that time can be paused.
#![allow(dead_code, reason = "not every test file needs all of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rheostat_cluster::{PolicyId, ScalingPolicy, WorkloadKind};
use rheostat_reading::{Clock, Ratio, Timestamp};
use rheostat_sizing::{Decision, Figures, Learned, Outcome, Step, StepKind};
use rheostat_steward::{
    Leadership, LeaseTiming, PolicyReport, Steward, StewardOptions, WorkloadReport, WritePace,
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) const NAMESPACE: &str = "rheostat";
pub(crate) const START: Timestamp = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);

const TICK: Duration = Duration::from_millis(100);

#[derive(Clone, Default)]
pub(crate) struct ApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    version: u64,
    /// By path.
    objects: BTreeMap<String, Value>,
    /// Method, path and body of each request that changes something.
    changes: Vec<(Method, String, Value)>,
    /// Parts of paths that are answered with 403.
    forbidden: BTreeSet<&'static str>,
    /// Parts of paths of which the next write is answered with 409.
    conflicts: Vec<&'static str>,
    /// Parts of paths of which the next write is carried out, and answered with 504.
    lost: Vec<&'static str>,
}

impl ApiServer {
    /// A client, and a switch that cuts it off: its requests are then never answered.
    pub(crate) fn client(&self) -> (kube::Client, watch::Sender<bool>) {
        let (switch, cut) = watch::channel(false);
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (server, cut) = (server.clone(), cut.clone());
            async move {
                if *cut.borrow() {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(server.answer(request).await)
            }
        });
        (kube::Client::new(service, "default"), switch)
    }

    /// A client over a socket.
    pub(crate) async fn listen(&self) -> kube::Client {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = self.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = server.clone();
                tokio::spawn(async move {
                    let answer = |request| {
                        let server = server.clone();
                        async move { Ok::<_, Infallible>(server.answer(request).await) }
                    };
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http
                        .serve_connection(TokioIo::new(stream), service_fn(answer))
                        .await;
                });
            }
        });
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        kube::Client::try_from(config).unwrap()
    }

    pub(crate) fn forbid(&self, part: &'static str) {
        self.0.lock().forbidden.insert(part);
    }

    pub(crate) fn allow(&self, part: &'static str) {
        self.0.lock().forbidden.remove(part);
    }

    /// The next write to a path with `part` in it conflicts.
    pub(crate) fn conflict(&self, part: &'static str) {
        self.0.lock().conflicts.push(part);
    }

    /// The next write to a path with `part` in it is carried out, but its answer gets lost.
    pub(crate) fn lose_answer(&self, part: &'static str) {
        self.0.lock().lost.push(part);
    }

    /// Bodies of the requests that change a path with `part` in it, with their methods, oldest first.
    pub(crate) fn changes(&self, part: &str) -> Vec<(Method, Value)> {
        let state = self.0.lock();
        let of = state.changes.iter().filter(|(_, path, _)| path.contains(part));
        of.map(|(method, _, body)| (method.clone(), body.clone()))
            .collect()
    }

    /// Statuses that were written, oldest first.
    pub(crate) fn statuses(&self) -> Vec<Value> {
        let all = self.changes("/status").into_iter();
        all.map(|(_, body)| body["status"].clone()).collect()
    }

    pub(crate) fn lease(&self) -> Value {
        let state = self.0.lock();
        let path = "/apis/coordination.k8s.io/v1/namespaces/rheostat/leases/rheostat-scaler";
        state.objects.get(path).cloned().unwrap_or_default()
    }

    async fn answer<B: Body<Error: std::fmt::Debug>>(&self, request: Request<B>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let path = parts.uri.path().to_owned();
        let mut state = self.0.lock();
        if let Some(part) = state.forbidden.iter().find(|part| path.contains(**part)) {
            return failure(
                403,
                "Forbidden",
                &format!("{part} is forbidden: no RBAC policy matched"),
            );
        }
        let known = state.objects.get(&path).cloned();
        if parts.method == Method::GET {
            return match known {
                Some(object) => whole(200, &object),
                None => failure(404, "NotFound", "not found"),
            };
        }
        state
            .changes
            .push((parts.method.clone(), path.clone(), body.clone()));
        if let Some(at) = state.conflicts.iter().position(|part| path.contains(part)) {
            state.conflicts.remove(at);
            return failure(409, "Conflict", "the object has been modified");
        }
        state.version += 1;
        let version = state.version.to_string();
        let (at, mut object) = match (parts.method, known) {
            (Method::POST, _) => {
                let name = body["metadata"]["name"].as_str().unwrap();
                let at = format!("{path}/{name}");
                if state.objects.contains_key(&at) {
                    return failure(409, "AlreadyExists", "it exists");
                }
                (at, body)
            }
            (Method::PUT, Some(known)) => {
                if body["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"] {
                    return failure(409, "Conflict", "the object has been modified");
                }
                (path, body)
            }
            // Of policies only the status is of interest, and Events are patched by their series.
            (Method::PATCH, known) => {
                let mut object = known.unwrap_or_else(|| json!({"metadata": {}}));
                for (key, value) in body.as_object().unwrap() {
                    if key != "metadata" {
                        object[key] = value.clone();
                    }
                }
                (path, object)
            }
            (Method::PUT, None) => return failure(404, "NotFound", "not found"),
            (method, _) => panic!("{method} {path} is not served"),
        };
        object["metadata"]["resourceVersion"] = json!(version);
        state.objects.insert(at.clone(), object.clone());
        if let Some(part) = state.lost.iter().position(|part| at.contains(part)) {
            state.lost.remove(part);
            return failure(504, "Timeout", "the request did not complete in time");
        }
        whole(200, &object)
    }
}

fn whole(status: u16, body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap()
}

fn failure(code: u16, reason: &str, message: &str) -> Response<Full<Bytes>> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": code});
    whole(code, &body)
}

/// A scaler with a steward, as far as the steward sees it.
pub(crate) struct Scaler {
    pub(crate) steward: Steward,
    pub(crate) reports: watch::Sender<Arc<[PolicyReport]>>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) cut: watch::Sender<bool>,
}

impl Scaler {
    pub(crate) fn start(server: &ApiServer, pod: &str) -> Self {
        Self::in_namespace(server, pod, Some(NAMESPACE))
    }

    pub(crate) fn in_namespace(server: &ApiServer, pod: &str, namespace: Option<&str>) -> Self {
        let (client, cut) = server.client();
        Self::over(client, cut, pod, namespace)
    }

    pub(crate) fn over(
        client: kube::Client,
        cut: watch::Sender<bool>,
        pod: &str,
        namespace: Option<&str>,
    ) -> Self {
        let (clock, hand) = Clock::manual(START);
        // The wall clock keeps step with tokio's.
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                hand.advance(TICK);
            }
        });
        let (reports, seen) = watch::channel(Arc::from([]));
        let shutdown = CancellationToken::new();
        let options = StewardOptions {
            pod: pod.to_owned(),
            namespace: namespace.map(str::to_owned),
            lease: LeaseTiming::default(),
            pace: WritePace::default(),
        };
        Self {
            steward: Steward::start(client, options, clock, seen, shutdown.clone()),
            reports,
            shutdown,
            cut,
        }
    }

    pub(crate) fn report(&self, reports: Vec<PolicyReport>) {
        self.reports.send_replace(reports.into());
    }

    pub(crate) fn leadership(&self) -> Leadership {
        self.steward.leadership().borrow().clone()
    }

    pub(crate) fn leads(&self) -> bool {
        self.leadership().leads()
    }

    pub(crate) async fn until_leads(&self) {
        let mut leadership = self.steward.leadership();
        let leads = leadership.wait_for(Leadership::leads);
        tokio::time::timeout(Duration::from_secs(60), leads)
            .await
            .unwrap()
            .unwrap();
    }
}

/// Lets so much time pass.
pub(crate) async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

pub(crate) fn decision(replicas: u32, why: &str) -> Decision {
    Decision {
        at: START,
        replicas,
        active: replicas > 0,
        outcome: Outcome::Known,
        steps: vec![Step {
            kind: StepKind::Size,
            replicas,
            why: why.to_owned(),
        }],
        figures: Figures {
            attainment: Some(Ratio(0.995)),
            ..Figures::default()
        },
    }
}

/// The policy `chat` and its only workload, `chat` too.
pub(crate) fn report(decision: Result<Decision, &str>) -> PolicyReport {
    report_over(Value::Null, decision, None)
}

/// As [`report`], over what a scaler has written before, with what was learned.
pub(crate) fn report_over(
    status: Value,
    decision: Result<Decision, &str>,
    learned: Option<Arc<Learned>>,
) -> PolicyReport {
    PolicyReport {
        policy: Arc::new(ScalingPolicy {
            id: PolicyId {
                namespace: "models".into(),
                name: "chat".into(),
            },
            uid: "policy-uid".into(),
            generation: 3,
            spec: json!({"concurrency": 8}),
            status,
        }),
        problem: None,
        workloads: vec![WorkloadReport {
            name: "chat".into(),
            kind: WorkloadKind::ScaledObject,
            uid: "object-uid".into(),
            decision: decision.map(Arc::new).map_err(Into::into),
            gpus: None,
            learned,
        }],
    }
}
