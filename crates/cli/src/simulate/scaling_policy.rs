use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rheostat_backtest::Case;
use rheostat_crd::{KIND, Policy, Surroundings};
use rheostat_simulator::{Control, ExternalScaler, SizingScaler, TriggerAnswer};
use rheostat_sizing::{Decision, Observation};
use serde_json::Value;

use crate::workload::read_bounded;

/// Our policy as the `ScalingPolicy` in the file at `path` has it, on the workload of `case`.
pub(super) fn read(path: &Path, case: &Case) -> anyhow::Result<Control> {
    let text = read_bounded(path)?;
    let object: Value = serde_saphyr::from_str(&text).context("it is no YAML document")?;
    match object.get("kind").and_then(Value::as_str) {
        Some(KIND) => {}
        other => bail!("kind is {other:?}; {KIND} is needed"),
    }
    let spec = object.get("spec").context("spec is missing")?;
    let policy = Policy::read(spec)?;
    let conditions = &case.conditions;
    let intent = policy.intent(&Surroundings {
        min_replicas: 0,
        max_replicas: conditions.max_replicas,
        cooldown_period: Duration::ZERO,
        gpus_per_pod: Some(f64::from(conditions.engine.gpus)),
    });
    let control = SizingScaler::through_keda(intent.clone());
    let Control::Keda { object, .. } = control else {
        return Ok(control);
    };
    Ok(Control::Keda {
        object,
        scaler: Box::new(Scheduled {
            policy,
            inner: SizingScaler::new(intent),
        }),
    })
}

/// Sees the schedule of a policy beside the workload, as the live scaler does.
#[derive(Debug)]
struct Scheduled {
    policy: Policy,
    inner: SizingScaler,
}

impl ExternalScaler for Scheduled {
    fn period(&self) -> Duration {
        self.inner.period()
    }

    fn observe(&mut self, observation: &Observation) {
        let mut observation = observation.clone();
        observation.schedule = self.policy.schedule_at(observation.now);
        self.inner.observe(&observation);
    }

    fn targets(&self) -> Vec<(String, f64)> {
        self.inner.targets()
    }

    fn answer(&self, trigger: usize) -> TriggerAnswer {
        self.inner.answer(trigger)
    }

    fn decision(&self) -> Option<&Decision> {
        self.inner.decision()
    }
}
