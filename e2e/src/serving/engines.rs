//! The engines in a test's pods: what listens at the pods' addresses.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::reflector::Store;
use rheostat_testkit::engine::{
    Balance, EngineOptions, IterationTime, Lengths, Load, LoadOptions, MockEngine, ModelSettings, Pace,
};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::prometheus;
use super::requests::{Requests, Results};
use crate::cluster::pods::{is_ready, pod_name, watched, workload};
use crate::cluster::{Case, PATIENCE};
use crate::wait::{Seen, eventually};

/// How long engines may be behind the API.
pub(crate) const PERIOD: Duration = Duration::from_millis(100);

/// The port of the pods' engines, as `model-server.yaml` has it.
pub(crate) const PORT: u16 = 8000;

/// An engine in each ready pod of the Deployments that are served, and the requests to them.
///
/// An engine listens once its pod is ready, as a model server that has loaded its weights, and is
/// gone with its pod. Requests come over HTTP to the pods that are ready; a
/// [`Prometheus`](super::prometheus::Prometheus) of the test scrapes them.
pub(crate) struct Engines {
    state: Rc<RefCell<State>>,
    tasks: [JoinHandle<()>; 2],
}

struct State {
    case: Case,
    /// By the label `app` of the pods.
    models: BTreeMap<String, Model>,
    /// By the name of the pod.
    engines: BTreeMap<String, Rc<Engine>>,
    /// Pods that get no new requests.
    unrouted: BTreeSet<String>,
    /// Why an engine could not be started just now.
    failure: Option<anyhow::Error>,
}

/// What the pods of a Deployment are, and what comes to them.
struct Model {
    settings: ModelSettings,
    /// So many at any time.
    requests: Requests,
    /// So many a second.
    load: Load,
}

/// The engine of one pod.
pub(crate) struct Engine {
    pub(crate) pod: String,
    app: String,
    mock: MockEngine,
}

/// One iteration of an engine, which gives each of its requests one token. It does not slow down, and
/// takes long, as do these requests, so that many of them cost this machine little.
const ITERATION: Duration = Duration::from_millis(200);

/// Tokens of the requests that are kept under way: eight seconds.
const TOKENS: u32 = 40;

/// Tokens of those that come at a rate: one second.
const FEW_TOKENS: u32 = 5;

impl Engines {
    /// Follows the pods of the test's namespace; none has an engine yet.
    pub(crate) fn start(case: &Case) -> Self {
        let (pods, watching) = watched(Api::namespaced(case.client(), &case.namespace));
        let state = Rc::new(RefCell::new(State {
            case: case.clone(),
            models: BTreeMap::new(),
            engines: BTreeMap::new(),
            unrouted: BTreeSet::new(),
            failure: None,
        }));
        Self {
            tasks: [
                watching,
                tokio::task::spawn_local(follow(Rc::clone(&state), pods)),
            ],
            state,
        }
    }

    /// Gives the pods of a Deployment vLLM engines from now on. No requests come yet.
    pub(crate) fn serve(&self, app: &str) {
        self.serve_as(app, steady(), 20, FEW_TOKENS);
    }

    /// The same, with engines of these settings, and requests of so many tokens where they come at a rate.
    pub(crate) fn serve_as(&self, app: &str, settings: ModelSettings, prompt: u32, output: u32) {
        let load = Load::start(LoadOptions {
            balance: Balance::RoundRobin,
            rate: 0.0,
            pace: Pace::Constant,
            look: PERIOD,
            prompt: Lengths::Fixed(prompt),
            output: Lengths::Fixed(output),
            ..LoadOptions::default()
        });
        let model = Model {
            settings,
            requests: Requests::start(TOKENS),
            load,
        };
        self.state.borrow_mut().models.insert(app.to_owned(), model);
    }

    /// Sends short requests to a Deployment, open loop, to each pod in turn, at this rate (per second).
    pub(crate) fn set_rate(&self, app: &str, rate: f64) -> Result<()> {
        self.model(app, |model| model.load.set_rate(rate))
    }

    /// Keeps so many requests under way, closed loop, from now on, and waits until they are.
    pub(crate) async fn keep_under_way(&self, app: &str, requests: usize) -> Result<()> {
        self.model(app, |model| model.requests.set(requests))?;
        let what = format!("{requests} requests of {app} to be under way");
        eventually(&what, PATIENCE, async || {
            let results = self.results(app)?;
            Ok(Seen::when(results.under_way == requests, results))
        })
        .await
    }

    /// What became of the requests that were kept under way.
    pub(crate) fn results(&self, app: &str) -> Result<Results> {
        self.model(app, |model| model.requests.results())
    }

    /// Sends no new requests to a pod, or does again, as a router that knows which engines serve.
    pub(crate) fn set_routed(&self, engine: &Engine, routed: bool) {
        let mut state = self.state.borrow_mut();
        if routed {
            state.unrouted.remove(&engine.pod);
        } else {
            state.unrouted.insert(engine.pod.clone());
        }
        state.direct_requests();
    }

    /// The engines of a Deployment's pods, by the names of the pods.
    pub(crate) fn of(&self, app: &str) -> Vec<Rc<Engine>> {
        let state = self.state.borrow();
        let engines = state.engines.values();
        engines.filter(|engine| engine.app == app).cloned().collect()
    }

    /// Waits until a Deployment has `count` engines, and returns them.
    pub(crate) async fn are(&self, app: &str, count: usize) -> Result<Vec<Rc<Engine>>> {
        eventually(&format!("{count} engines of {app}"), PATIENCE, async || {
            self.are_in_step()?;
            let engines = self.of(app);
            Ok(if engines.len() == count {
                Seen::Yes(engines)
            } else {
                Seen::NotYet(format!("{} engines", engines.len()))
            })
        })
        .await
    }

    /// Fails where an engine could not be started.
    pub(crate) fn are_in_step(&self) -> Result<()> {
        match self.state.borrow_mut().failure.take() {
            Some(error) => Err(error).context("a pod is without its engine"),
            None => Ok(()),
        }
    }

    fn model<T>(&self, app: &str, of: impl FnOnce(&Model) -> T) -> Result<T> {
        let state = self.state.borrow();
        let model = state.models.get(app);
        model.map(of).with_context(|| format!("{app} is not served"))
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Engine {
    /// Its address.
    pub(crate) fn ip(&self) -> IpAddr {
        self.mock.address().ip()
    }

    /// How often its page was asked for: by one of these agents, and by others.
    pub(crate) fn scrapes_by(&self, agents: &[IpAddr]) -> Scrapes {
        let mut scrapes = Scrapes::default();
        for (address, count) in self.mock.scrapes() {
            if agents.contains(&address) {
                scrapes.by_agent += count;
            } else {
                scrapes.by_others += count;
            }
        }
        scrapes
    }
}

impl Deref for Engine {
    type Target = MockEngine;

    fn deref(&self) -> &MockEngine {
        &self.mock
    }
}

/// How often an engine's page was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scrapes {
    /// By the agent of its node.
    pub(crate) by_agent: u64,
    /// By anybody else: the scalers.
    pub(crate) by_others: u64,
}

/// Keeps engines and the targets of requests in step with the pods of the API.
async fn follow(state: Rc<RefCell<State>>, pods: Store<Pod>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut published = BTreeSet::new();
    loop {
        ticks.tick().await;
        let missing = state.borrow_mut().without_engine(&pods.state());
        let mut failure = None;
        for (pod, app, options) in missing {
            let started = MockEngine::start(options)
                .await
                .with_context(|| format!("starting the engine of the pod {pod}"));
            match started {
                Ok(mock) => {
                    let engine = Rc::new(Engine {
                        pod: pod.clone(),
                        app,
                        mock,
                    });
                    state.borrow_mut().engines.insert(pod, engine);
                }
                // It is tried again: the address may be another pod's for a moment still.
                Err(error) => failure = Some(error),
            }
        }
        let mut state = state.borrow_mut();
        state.failure = failure;
        state.direct_requests();
        let running: BTreeSet<String> = state.engines.keys().cloned().collect();
        if running != published {
            match state.publish() {
                Ok(()) => published = running,
                Err(error) => state.failure = Some(error),
            }
        }
    }
}

impl State {
    /// Ends the engines whose pods are gone, and tells which pods have none yet.
    fn without_engine(&mut self, pods: &[Arc<Pod>]) -> Vec<(String, String, EngineOptions)> {
        let ready: BTreeMap<String, (String, IpAddr)> = pods
            .iter()
            .filter(|pod| is_ready(pod))
            .filter_map(|pod| {
                let address = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
                Some((pod_name(pod).1, (workload(pod).1, address)))
            })
            .collect();
        // Without a pod, or no longer at its address.
        self.engines
            .retain(|pod, engine| ready.get(pod).is_some_and(|(_, address)| *address == engine.ip()));
        ready
            .into_iter()
            .filter(|(pod, _)| !self.engines.contains_key(pod))
            .filter_map(|(pod, (app, address))| {
                let options = EngineOptions {
                    address: SocketAddr::new(address, PORT),
                    look: PERIOD,
                    model: self.models.get(&app)?.settings.clone(),
                    ..EngineOptions::default()
                };
                Some((pod, app, options))
            })
            .collect()
    }

    /// Tells Prometheus of the engines.
    fn publish(&self) -> Result<()> {
        let engines = self.engines.values();
        let namespace = &self.case.namespace;
        let targets: Vec<_> = engines
            .map(|engine| (engine.address(), namespace.clone(), engine.pod.clone()))
            .collect();
        prometheus::scrape(&self.case, "pods", &targets)
    }

    fn direct_requests(&self) {
        for (app, model) in &self.models {
            let engines = self.engines.values().filter(|engine| engine.app == *app);
            let routed = engines.filter(|engine| !self.unrouted.contains(&engine.pod));
            let targets: Vec<SocketAddr> = routed.map(|engine| engine.mock.address()).collect();
            model.load.set_targets(&targets);
            model.requests.set_targets(targets.into_iter());
        }
    }
}

/// A vLLM that takes the same time for each iteration, however much it has to do.
fn steady() -> ModelSettings {
    ModelSettings {
        iteration: IterationTime {
            base: ITERATION.as_secs_f64(),
            per_prefill_token: 0.0,
            per_decode_sequence: 0.0,
            per_context_token: 0.0,
            speed: 1.0,
        },
        ..ModelSettings::default()
    }
}
