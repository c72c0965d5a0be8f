use std::time::Duration;

use rheostat_backtest::Case;
use rheostat_crd::{Policy, Surroundings};
use rheostat_simulator::{Control, ExternalScaler, SizingScaler, TriggerAnswer};
use rheostat_sizing::{Decision, Observation};

use crate::policy_file::COOLDOWN;

/// Our policy as `policy` has it, on the workload of `case`.
pub(super) fn control(policy: Policy, case: &Case) -> Control {
    let conditions = &case.conditions;
    let intent = policy.intent(&Surroundings {
        min_replicas: conditions.min_replicas,
        max_replicas: conditions.max_replicas,
        cooldown_period: COOLDOWN,
        gpus_per_pod: Some(f64::from(conditions.engine.gpus)),
    });
    let control = SizingScaler::through_keda(intent.clone());
    let Control::Keda { mut object, .. } = control else {
        return control;
    };
    // The policy has taken it off its own time. The run begins with a workload that serves already.
    object.spec.cooldown_period = Some(COOLDOWN.as_secs() as u32);
    object.spec.initial_cooldown_period = object.spec.cooldown_period;
    Control::Keda {
        object,
        scaler: Box::new(Scheduled {
            policy,
            inner: SizingScaler::new(intent),
        }),
    }
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
