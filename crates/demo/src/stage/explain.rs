use rheostat_policy::{Answer, Basis, Evaluation, Step};
use rheostat_scaler::WorkloadState;

/// What the scaler saw of a workload's first trigger, and how it put it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sight {
    /// The steps from the pods to the value in the scaler's words.
    steps: Vec<String>,
    /// The answer in its words, where it is more or other than the steps say.
    remark: Option<String>,
    /// Whether the value is not that of this moment: held, or missing.
    substitute: bool,
    value: Option<f64>,
    active: Option<bool>,
    unread: u32,
    devices: Vec<(String, String)>,
    /// Ready pods that could not be read.
    unread_pods: Vec<String>,
}

impl Sight {
    /// What stands in `state`.
    pub(crate) fn of(state: &WorkloadState) -> Self {
        let Some(trigger) = state.triggers.first() else {
            return Self::default();
        };
        let answer = trigger.answer();
        let remark = match answer {
            Answer::Value {
                basis: Basis::Current,
                ..
            } => None,
            other => Some(other.to_string()),
        };
        let held = matches!(
            answer,
            Answer::Value {
                basis: Basis::Held { .. } | Basis::FirstLook { .. },
                ..
            }
        );
        let substitute = held || matches!(answer, Answer::Error { .. });
        let mut sight = Self {
            remark,
            substitute,
            value: answer.value(),
            active: answer.active(),
            ..Self::default()
        };
        if let (Some(evaluation), Some(parsed)) = (trigger.evaluation.as_deref(), trigger.trigger()) {
            // The lines on pods and devices are left out: there is one for each.
            sight.steps = evaluation
                .explain(parsed)
                .to_string()
                .lines()
                .filter_map(|line| line.strip_prefix("  "))
                .filter(|line| !line.starts_with("pod ") && !line.starts_with(' '))
                .map(str::to_owned)
                .collect();
            if let Some(decision) = trigger
                .policy
                .as_ref()
                .and_then(|policy| policy.decision.as_ref())
            {
                // How the policy came to its count stands before what is made of it.
                let steps = decision.steps.iter().map(|step| step.why.clone());
                sight.steps.splice(..0, steps.collect::<Vec<_>>());
            }
            sight.unread = unread(evaluation);
            sight.devices = devices(evaluation);
            let pods = evaluation.pods.iter();
            sight.unread_pods = pods
                .filter(|pod| matches!(pod.number, Some(Err(_))))
                .map(|pod| pod.name.to_string())
                .collect();
        }
        sight
    }

    /// What KEDA was told; none where that was an error.
    pub(crate) const fn value(&self) -> Option<f64> {
        self.value
    }

    /// Whether KEDA was told that it is active; none where that was an error.
    pub(crate) const fn active(&self) -> Option<bool> {
        self.active
    }

    /// Ready pods that were counted at the target because they could not be read.
    pub(crate) const fn unread(&self) -> u32 {
        self.unread
    }

    /// Whether `pod` is ready and could not be read.
    pub(crate) fn cannot_read(&self, pod: &str) -> bool {
        self.unread_pods.iter().any(|unread| unread == pod)
    }

    /// Whether the value is not that of this moment: held, or an error.
    pub(crate) const fn is_substitute(&self) -> bool {
        self.substitute
    }

    /// Each pod whose devices were looked at, with the device.
    pub(crate) fn devices(&self) -> &[(String, String)] {
        &self.devices
    }

    /// How the number came about.
    pub(crate) fn number(&self) -> String {
        // What is said of idleness changes nothing of the number.
        let remark = self.remark.as_ref().filter(|_| self.substitute);
        remark
            .cloned()
            .unwrap_or_else(|| self.joined(|step| !is_activity(step)))
    }

    /// Why it is active or not.
    pub(crate) fn activity(&self) -> String {
        let about_demand = |step: &str| step.starts_with("the annotation") || step.starts_with("there is no");
        let joined = || self.joined(|step| is_activity(step) || about_demand(step));
        self.remark.clone().unwrap_or_else(joined)
    }

    fn joined(&self, wanted: impl Fn(&str) -> bool) -> String {
        let steps = self.steps.iter().map(String::as_str).filter(|step| wanted(step));
        steps.collect::<Vec<_>>().join("; ")
    }
}

fn is_activity(step: &str) -> bool {
    step.starts_with("active") || step.starts_with("inactive")
}

fn unread(evaluation: &Evaluation) -> u32 {
    let votes = evaluation.steps.iter().filter_map(|step| match step {
        Step::Votes { pods, .. } => Some(*pods),
        _ => None,
    });
    votes.sum()
}

fn devices(evaluation: &Evaluation) -> Vec<(String, String)> {
    let pods = evaluation.pods.iter();
    pods.flat_map(|pod| {
        pod.devices()
            .map(|device| (pod.name.to_string(), device.id.to_string()))
    })
    .collect()
}
