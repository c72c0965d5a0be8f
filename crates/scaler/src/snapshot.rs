use std::sync::Arc;

use rheostat_cluster::Workload;
use rheostat_policy::{Answer, ErrorKind, Evaluation, Parsed, Trigger, TriggerError};
use rheostat_proto::keda::ScaledObjectRef;
use rheostat_reading::Timestamp;
use tokio::sync::watch;
use tonic::Status;

use crate::policy_state::PolicyState;

/// Every workload's answers at one moment. Never changes once it is published.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// When it was made; `None` of the first one, which is made of nothing.
    pub taken_at: Option<Timestamp>,
    /// Ordered by namespace, name and kind.
    pub(crate) workloads: Vec<Arc<WorkloadState>>,
    /// Set while answers would rest on nothing: why.
    pub(crate) unfounded: Option<String>,
}

/// One workload and the answers of its triggers.
#[derive(Debug)]
pub struct WorkloadState {
    /// As the Kubernetes API describes it.
    pub workload: Arc<Workload>,
    /// One for each of the workload's triggers, in their order.
    pub triggers: Vec<TriggerState>,
}

/// One trigger: what it means and what it is answered.
#[derive(Clone, Debug)]
pub struct TriggerState {
    /// Place among all triggers of the object.
    pub index: usize,
    /// What the metadata mean, or why they are refused.
    pub parsed: Arc<Result<Parsed, TriggerError>>,
    /// What was seen and computed; `None` where there was nothing to compute with.
    pub evaluation: Option<Arc<Evaluation>>,
    /// How the workload fares with its ScalingPolicy, where the trigger names one.
    pub policy: Option<Arc<PolicyState>>,
    /// What KEDA is told.
    pub answer: Answer,
    /// Whether the scale target stands at zero.
    pub(crate) at_zero: bool,
}

/// The newest snapshot, and word of each new one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshots(watch::Receiver<Arc<Snapshot>>);

/// The writing end of [`Snapshots`].
#[derive(Debug)]
pub(crate) struct Publisher(watch::Sender<Arc<Snapshot>>);

impl Snapshot {
    /// The trigger that KEDA means by `object`.
    ///
    /// # Errors
    ///
    /// As KEDA is to be told: `INVALID_ARGUMENT` for metadata that mean nothing, `UNAVAILABLE` for
    /// a workload that is not known.
    pub(crate) fn find(&self, object: &ScaledObjectRef) -> Result<(&TriggerState, &Trigger), Status> {
        let candidates = self.named(&object.namespace, &object.name);
        if let Some(reason) = &self.unfounded {
            return Err(Status::unavailable(reason.clone()));
        }
        let word_for_word = candidates.iter().find_map(|state| {
            let definition = state
                .workload
                .triggers
                .iter()
                .find(|trigger| same(trigger, object))?;
            state
                .triggers
                .iter()
                .find(|trigger| trigger.index == definition.index)
        });
        let trigger = match word_for_word {
            Some(trigger) => trigger,
            None => Self::find_by_meaning(candidates, object)?,
        };
        match trigger.parsed.as_ref() {
            Ok(parsed) => Ok((trigger, &parsed.trigger)),
            Err(error) => Err(Status::invalid_argument(error.to_string())),
        }
    }

    /// KEDA resolves `…FromEnv`, and may be ahead of or behind our own watch: what counts is what
    /// the metadata mean.
    fn find_by_meaning<'a>(
        candidates: &'a [Arc<WorkloadState>],
        object: &ScaledObjectRef,
    ) -> Result<&'a TriggerState, Status> {
        let metadata = object
            .scaler_metadata
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let wanted = Trigger::parse(&metadata)
            .map_err(|error| Status::invalid_argument(error.to_string()))?
            .trigger;
        candidates
            .iter()
            .flat_map(|state| &state.triggers)
            .find(|trigger| {
                matches!(trigger.parsed.as_ref(), Ok(parsed) if parsed.trigger.canonical() == wanted.canonical())
            })
            .ok_or_else(|| {
                let (namespace, name) = (&object.namespace, &object.name);
                Status::unavailable(match candidates {
                    [] => format!("no ScaledObject or ScaledJob {namespace}/{name} is known (yet)"),
                    _ => format!("{namespace}/{name} is known, but not (yet) with this trigger"),
                })
            })
    }

    /// Every workload, ordered by namespace, name and kind.
    #[must_use]
    pub fn workloads(&self) -> &[Arc<WorkloadState>] {
        &self.workloads
    }

    /// The workloads named `name` in `namespace`: none, one, or a ScaledObject and a ScaledJob,
    /// which may share a name; KEDA does not say which of them it means.
    #[must_use]
    pub fn named(&self, namespace: &str, name: &str) -> &[Arc<WorkloadState>] {
        let order = |state: &Arc<WorkloadState>| {
            let id = &state.workload.id;
            (id.namespace.as_str(), id.name.as_str()).cmp(&(namespace, name))
        };
        let start = self.workloads.partition_point(|state| order(state).is_lt());
        // At most two, so that a second bisection would cost every call more than it finds.
        let length = self.workloads[start..]
            .iter()
            .take_while(|state| order(state).is_eq())
            .count();
        &self.workloads[start..start + length]
    }
}

impl TriggerState {
    /// Of a trigger that is answered with an error before anything is evaluated.
    pub(crate) fn error(
        index: usize,
        parsed: Arc<Result<Parsed, TriggerError>>,
        kind: ErrorKind,
        reason: String,
    ) -> Self {
        Self {
            index,
            parsed,
            evaluation: None,
            policy: None,
            answer: Answer::Error { kind, reason },
            at_zero: false,
        }
    }

    /// What KEDA is told.
    #[must_use]
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Whether the scale target stands at zero.
    #[must_use]
    pub fn at_zero(&self) -> bool {
        self.at_zero
    }

    /// What the metadata mean, where they mean something.
    #[must_use]
    pub fn trigger(&self) -> Option<&Trigger> {
        self.parsed.as_ref().as_ref().ok().map(|parsed| &parsed.trigger)
    }
}

impl Snapshots {
    pub(crate) fn channel() -> (Publisher, Self) {
        let first = Snapshot {
            unfounded: Some("the scaler has only just started".to_owned()),
            ..Default::default()
        };
        let (sender, receiver) = watch::channel(Arc::new(first));
        (Publisher(sender), Self(receiver))
    }

    /// The newest one.
    #[must_use]
    pub fn latest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits for one that this receiver has not seen; `false` when there will be none.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl Publisher {
    /// Puts `snapshot` in the place of the one before, which is given back.
    pub(crate) fn publish(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        self.0.send_replace(Arc::new(snapshot))
    }
}

fn same(trigger: &rheostat_cluster::TriggerDefinition, object: &ScaledObjectRef) -> bool {
    trigger.metadata.len() == object.scaler_metadata.len()
        && trigger
            .metadata
            .iter()
            .all(|(key, value)| object.scaler_metadata.get(key) == Some(value))
}
