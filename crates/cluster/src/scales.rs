use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use kube::Client;
use kube::api::{ApiResource, Request};
use kube::core::GroupVersionKind;
use parking_lot::Mutex;
use rheostat_backoff::Backoff;
use rheostat_reading::{Clock, Timestamp};
use tokio::sync::Notify;

use crate::definition::TargetReference;
use crate::index::{ScaleAnswer, ScaleKey};
use crate::model::{ScaleTarget, Stale, TargetProblem};
use crate::objects::ScaleObject;
use crate::seed_of;
use crate::selector::Selector;

/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The least time between two questions about one target, however often it is touched.
const LEAST_GAP: Duration = Duration::from_millis(200);
/// Questions a second that all targets together may cost the API server.
const RATE: f64 = 50.0;

/// Reads scale subresources of kinds that are not watched. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Scales {
    client: Client,
    clock: Clock,
    period: Duration,
    kinds: Arc<Mutex<HashMap<GroupVersionKind, ApiResource>>>,
    targets: Arc<AtomicUsize>,
}

impl Scales {
    /// Reads each target every `period`, less often where they are too many.
    pub(crate) fn new(client: Client, clock: Clock, period: Duration) -> Self {
        Self {
            client,
            clock,
            period,
            kinds: Arc::default(),
            targets: Arc::default(),
        }
    }

    /// Reads the scale of `key` for ever: periodically, and when `touched`.
    pub(crate) async fn follow(
        self,
        key: ScaleKey,
        touched: Arc<Notify>,
        emit: impl Fn(ScaleAnswer) -> BoxFuture<'static, ()> + Send,
    ) {
        self.targets.fetch_add(1, Ordering::Relaxed);
        let _counted = Counted(Arc::clone(&self.targets));
        let mut jitter = Backoff::new(self.period, self.period, seed_of(&key.target.name));
        let mut last: Option<(Timestamp, ScaleAnswer)> = None;
        loop {
            let answer = tokio::time::timeout(TIMEOUT, self.read(&key)).await;
            let answer =
                answer.unwrap_or_else(|_| Err(Problem::Passing("the API server does not answer".into())));
            let answer = match answer {
                Ok(found) => Ok(found),
                Err(Problem::Lasting(problem)) => Err(problem),
                // What was known stays, marked as old.
                Err(Problem::Passing(reason)) => match &last {
                    Some((since, Ok((target, selector)))) => {
                        let mut target = target.clone();
                        target.stale.get_or_insert(Stale {
                            since: *since,
                            reason,
                        });
                        Ok((target, selector.clone()))
                    }
                    _ => Err(TargetProblem::Failed {
                        kind: key.target.kind.clone(),
                        name: key.target.name.clone(),
                        reason,
                    }),
                },
            };
            let fresh = answer.as_ref().is_ok_and(|(target, _)| target.stale.is_none());
            if fresh || last.is_none() || answer.is_err() {
                last = Some((self.clock.now(), answer.clone()));
            }
            emit(answer).await;
            tokio::time::sleep(LEAST_GAP).await;
            #[expect(clippy::cast_precision_loss, reason = "a count of targets")]
            let fair = Duration::from_secs_f64(self.targets.load(Ordering::Relaxed) as f64 / RATE);
            let pause = jitter.jitter(self.period.max(fair));
            let _ = tokio::time::timeout(pause, touched.notified()).await;
        }
    }

    async fn read(&self, key: &ScaleKey) -> Result<(ScaleTarget, Selector), Problem> {
        let TargetReference {
            api_version,
            kind,
            name,
        } = &key.target;
        let resource = self.resource(&key.target).await?;
        let path = format!(
            "/apis/{api_version}/namespaces/{}/{}",
            key.namespace, resource.plural
        );
        let request = Request::new(path)
            .get_subresource("scale", name)
            .map_err(|error| Problem::Passing(error.to_string()))?;
        let scale = match self.client.request::<ScaleObject>(request).await {
            Ok(scale) => scale,
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                // The kind itself may be gone: look it up anew next time.
                self.kinds.lock().remove(&gvk(&key.target)?);
                return Err(Problem::Lasting(TargetProblem::NotFound {
                    kind: kind.clone(),
                    name: name.clone(),
                    namespace: key.namespace.clone(),
                }));
            }
            Err(error) => return Err(Problem::Passing(error.to_string())),
        };
        let selector = scale.status.selector.as_deref().unwrap_or_default();
        let selector: Selector = selector.parse().map_err(|error| {
            Problem::Lasting(TargetProblem::Selector {
                kind: kind.clone(),
                name: name.clone(),
                reason: format!("status.selector of its scale subresource: {error}"),
            })
        })?;
        let target = ScaleTarget {
            api_version: api_version.clone(),
            kind: kind.clone(),
            name: name.clone(),
            spec_replicas: scale.spec.replicas.unwrap_or(0),
            status_replicas: scale.status.replicas.unwrap_or(0),
            selector: selector.to_string(),
            stale: None,
        };
        Ok((target, selector))
    }

    /// The plural of the kind, by discovery; remembered.
    async fn resource(&self, target: &TargetReference) -> Result<ApiResource, Problem> {
        let gvk = gvk(target)?;
        if let Some(known) = self.kinds.lock().get(&gvk) {
            return Ok(known.clone());
        }
        let TargetReference {
            api_version, kind, ..
        } = target;
        let (api_version, kind) = (api_version.clone(), kind.clone());
        match kube::discovery::pinned_kind(&self.client, &gvk).await {
            Ok((resource, abilities))
                if abilities
                    .subresources
                    .iter()
                    .any(|(sub, _)| sub.plural == "scale") =>
            {
                self.kinds.lock().insert(gvk, resource.clone());
                Ok(resource)
            }
            Ok(_) => Err(Problem::Lasting(TargetProblem::NotScalable { api_version, kind })),
            Err(kube::Error::Discovery(_)) => {
                Err(Problem::Lasting(TargetProblem::UnknownKind { api_version, kind }))
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                Err(Problem::Lasting(TargetProblem::UnknownKind { api_version, kind }))
            }
            Err(error) => Err(Problem::Passing(error.to_string())),
        }
    }
}

enum Problem {
    /// The API server said so.
    Lasting(TargetProblem),
    /// It could not be asked.
    Passing(String),
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn gvk(target: &TargetReference) -> Result<GroupVersionKind, Problem> {
    let (group, version) = target
        .api_version
        .split_once('/')
        .filter(|(group, version)| is_name(group) && is_name(version))
        .ok_or_else(|| {
            let reason = format!("apiVersion is {:?}, not group/version", target.api_version);
            Problem::Lasting(TargetProblem::Reference(reason))
        })?;
    if !is_name(&target.name) {
        let reason = format!("name is {:?}, not a Kubernetes name", target.name);
        return Err(Problem::Lasting(TargetProblem::Reference(reason)));
    }
    Ok(GroupVersionKind::gvk(group, version, &target.kind))
}

/// Whether `text` can stand in a path of the API without changing it: a tenant writes it.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.contains("..")
        && text
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter))
}
