//! From the pods of a workload to the engines that are to be asked.
//!
//! Addresses come from the pods that the scale target's selector selects, never from a trigger: no
//! tenant can make us ask somebody else's server.

use std::net::SocketAddr;
use std::sync::Arc;

use rheostat_cluster::{Holder, Pod, PodPhase, ValueRef, Values, Workload};
use rheostat_engines::{
    CustomEngine, Endpoint, Engine, EngineChoice, Scheme, Secret, Target, TargetId, View,
};
use rheostat_policy::{EnginePort, EngineScheme, EngineSelection, EngineSource, ObjectKey, Unseen};

/// The engine of one pod.
#[derive(Clone, Debug)]
pub(crate) struct PodTarget {
    /// The pod's name.
    pub(crate) pod: String,
    /// The node whose agent is to ask it.
    pub(crate) node: String,
    /// What is to be asked, or why that cannot be told.
    pub(crate) target: Result<(TargetId, Arc<Target>), Unseen>,
}

/// Annotations of a pod that say where its metrics are; the first that is there counts.
const PORT_ANNOTATIONS: [&str; 2] = ["rheostat.dev/engine-port", "prometheus.io/port"];
const PATH_ANNOTATIONS: [&str; 2] = ["rheostat.dev/engine-path", "prometheus.io/path"];

/// The longest path that an annotation may give.
const LONGEST_PATH: usize = 256;

/// The engines of all pods of `workload` that run and have an address, ready or not: one that has been
/// followed for a while can tell rates as soon as it is ready.
pub(crate) fn pod_targets(
    workload: &Workload,
    selection: &EngineSelection,
    values: &Values,
) -> Vec<PodTarget> {
    let shared = Shared::new(&workload.id.namespace, selection, values);
    workload
        .pods
        .iter()
        .filter(|pod| pod.phase == PodPhase::Running && !pod.terminating)
        .filter_map(|pod| {
            let node = pod.node.clone()?;
            let target = shared.as_ref().map_err(Clone::clone).and_then(|shared| {
                let target = shared.target(pod, selection)?;
                Ok((target.id(), Arc::new(target)))
            });
            Some(PodTarget {
                pod: pod.name.clone(),
                node,
                target,
            })
        })
        .collect()
}

/// The Secrets and ConfigMaps that `selection` names, in the workload's own namespace.
pub(crate) fn value_refs(namespace: &str, selection: &EngineSelection) -> impl Iterator<Item = ValueRef> {
    let ca = match &selection.scheme {
        EngineScheme::Https { ca, .. } => ca.as_ref(),
        EngineScheme::Http => None,
    };
    let config = match &selection.engine {
        EngineSource::ConfigMap(key) => Some(key),
        EngineSource::Recognise | EngineSource::Named(_) | EngineSource::Inline(_) => None,
    };
    let secrets = [ca, selection.bearer_token.as_ref()].into_iter().flatten();
    secrets
        .map(|key| value_ref(Holder::Secret, namespace, key))
        .chain(config.map(|key| value_ref(Holder::ConfigMap, namespace, key)))
        .collect::<Vec<_>>()
        .into_iter()
}

fn value_ref(holder: Holder, namespace: &str, key: &ObjectKey) -> ValueRef {
    ValueRef {
        holder,
        namespace: namespace.to_owned(),
        name: key.name.clone(),
        key: key.key.clone(),
    }
}

/// What all pods of a workload have in common.
struct Shared {
    scheme: Scheme,
    bearer: Option<Secret>,
    engine: EngineChoice,
}

impl Shared {
    fn new(namespace: &str, selection: &EngineSelection, values: &Values) -> Result<Self, Unseen> {
        let text = |holder, key: &ObjectKey| {
            let wanted = value_ref(holder, namespace, key);
            let value = values.get(&wanted);
            if let Some((text, _)) = value.and_then(|value| value.text.as_ref()) {
                return Ok(text.trim().to_owned());
            }
            // One that is not there is often made a moment after the workload, and a read that failed is repeated.
            let problem = value.and_then(|value| value.problem.clone());
            let reason = problem.unwrap_or_else(|| format!("{wanted} has not been read yet"));
            Err(Unseen::EngineNotKnown { reason })
        };
        let secret = |key: &Option<ObjectKey>| key.as_ref().map(|key| text(Holder::Secret, key)).transpose();
        Ok(Self {
            scheme: match &selection.scheme {
                EngineScheme::Http => Scheme::Http,
                EngineScheme::Https {
                    ca,
                    skip_verification,
                } => Scheme::Https {
                    ca_pem: secret(ca)?,
                    server_name: None,
                    skip_verification: *skip_verification,
                },
            },
            bearer: secret(&selection.bearer_token)?.map(Secret::new),
            engine: match &selection.engine {
                EngineSource::Recognise => EngineChoice::Recognise,
                EngineSource::Named(engine) => EngineChoice::Named(*engine),
                EngineSource::Inline(description) => custom(description).map_err(lasting)?,
                EngineSource::ConfigMap(key) => custom(&text(Holder::ConfigMap, key)?).map_err(lasting)?,
            },
        })
    }

    fn target(&self, pod: &Pod, selection: &EngineSelection) -> Result<Target, Unseen> {
        let ip = pod.ip.ok_or_else(|| Unseen::EngineNotKnown {
            reason: "the pod has no address yet".to_owned(),
        })?;
        let port = port(pod, selection, &self.engine).map_err(lasting)?;
        let path = match (&selection.path, annotation(pod, PATH_ANNOTATIONS)) {
            (Some(path), _) => Some(path.clone()),
            (None, Some((key, _))) if is_of_another_port(pod, key, port) => None,
            (None, Some((key, path))) => Some(checked_path(key, path).map_err(lasting)?),
            (None, None) => None,
        };
        if pod.host_network && !pod.ports.iter().any(|declared| declared.port == port) {
            return Err(lasting(format!(
                "the pod has its node's address, so that only ports which it declares are asked: {port} is none of {}",
                declared(pod)
            )));
        }
        Ok(Target {
            endpoint: Endpoint {
                address: SocketAddr::new(ip, port),
                pod_uid: pod.uid.clone(),
                scheme: self.scheme.clone(),
                path,
                bearer: self.bearer.clone(),
                engine: self.engine.clone(),
                period: selection.period,
            },
            view: View {
                model: selection.model.clone(),
                adapter: selection.adapter.clone(),
                window: selection.window,
            },
            owner: format!("{}/{}", pod.namespace, pod.name),
        })
    }
}

/// Why an engine cannot be asked until somebody changes something.
fn lasting(reason: String) -> Unseen {
    Unseen::EngineUnreachable { reason }
}

/// A custom engine in the one spelling that makes equal descriptions equal targets.
fn custom(description: &str) -> Result<EngineChoice, String> {
    let engine = CustomEngine::parse(description).map_err(|error| format!("the custom engine: {error}"))?;
    Ok(EngineChoice::Custom(engine.to_json()))
}

fn annotation<'a>(pod: &'a Pod, keys: [&'static str; 2]) -> Option<(&'static str, &'a str)> {
    keys.into_iter()
        .find_map(|key| pod.annotations.get(key).map(|text| (key, text.as_str())))
}

/// Whether the path in annotation `key` was written for another port than `port`, as a service mesh does that has its
/// own port asked.
fn is_of_another_port(pod: &Pod, key: &str, port: u16) -> bool {
    let [_, prometheus_port] = PORT_ANNOTATIONS;
    let [_, prometheus_path] = PATH_ANNOTATIONS;
    let annotated = pod.annotations.get(prometheus_port);
    key == prometheus_path && annotated.is_some_and(|text| port_of(pod, text) != Some(port))
}

/// The port that an annotation names, by number or by the pod's name for it.
fn port_of(pod: &Pod, text: &str) -> Option<u16> {
    let number = text.parse().ok().filter(|port| *port > 0);
    number.or_else(|| pod.port_named(text))
}

fn checked_path(key: &str, path: &str) -> Result<String, String> {
    let fine = path.starts_with('/')
        && path.len() <= LONGEST_PATH
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if fine {
        Ok(path.to_owned())
    } else {
        let shown: String = path.chars().take(40).collect();
        Err(format!(
            "the pod's annotation {key} is {shown:?}; a path begins with / and has at most {LONGEST_PATH} printable characters"
        ))
    }
}

/// The trigger's port; else that of the pod's annotations; else the engine's usual one where the pod
/// declares it or declares none; else the only one that the pod declares.
fn port(pod: &Pod, selection: &EngineSelection, engine: &EngineChoice) -> Result<u16, String> {
    match &selection.port {
        Some(EnginePort::Number(port)) => return Ok(*port),
        Some(EnginePort::Named(name)) => {
            return pod
                .port_named(name)
                .ok_or_else(|| format!("the pod has no TCP port named {name:?}; it has {}", declared(pod)));
        }
        None => {}
    }
    if let Some((key, text)) = annotation(pod, PORT_ANNOTATIONS) {
        return port_of(pod, text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            format!("the pod's annotation {key} is {shown:?}; a port number or the name of one of its ports is needed")
        });
    }
    let usual = |engine: &Engine| engine.default_port();
    let has = |port: &u16| pod.ports.iter().any(|declared| declared.port == *port);
    let usual = match engine {
        EngineChoice::Named(engine) => usual(engine).filter(|port| pod.ports.is_empty() || has(port)),
        EngineChoice::Custom(_) => None,
        EngineChoice::Recognise => {
            let mut known: Vec<u16> = Engine::ALL.iter().filter_map(usual).filter(has).collect();
            known.sort_unstable();
            known.dedup();
            match known.as_slice() {
                [only] => Some(*only),
                _ => None,
            }
        }
    };
    match (usual, pod.ports.as_slice()) {
        (Some(port), _) => Ok(port),
        (None, [only]) => Ok(only.port),
        (None, _) => Err(format!(
            "which port is the engine's cannot be told: the pod has {}; set the trigger's `port`",
            declared(pod)
        )),
    }
}

fn declared(pod: &Pod) -> String {
    if pod.ports.is_empty() {
        return "none".into();
    }
    let ports: Vec<_> = pod
        .ports
        .iter()
        .map(|port| match &port.name {
            Some(name) => format!("{name} ({})", port.port),
            None => port.port.to_string(),
        })
        .collect();
    ports.join(", ")
}

#[cfg(test)]
#[path = "engine_targets_tests.rs"]
mod tests;
