use rheostat_expression::{Answer, Expression, Outcome as Computed};

use crate::evaluate::{Work, counted};
use crate::{Activity, Step};

impl Work<'_> {
    /// Whether the workload is active; the reason is the step that it adds.
    pub(crate) fn activity(&mut self, compared: f64, unread: u32) -> bool {
        let (activity, active) = match &self.trigger.activation_expression {
            None if compared > self.trigger.activation => (Activity::Busy { compared }, true),
            None => (Activity::Idle { compared }, false),
            Some(expression) => self.condition(expression),
        };
        let requests = self.guard.map_or(0.0, |guard| guard.requests);
        let unread = unread.max(match &self.trigger.activation_expression {
            Some(expression) => self.unread_by(expression),
            None => 0,
        });
        let (activity, active) = if active {
            (activity, true)
        } else if self.input.replicas > 0 && requests > 0.0 {
            (Activity::Requests { requests }, true)
        } else if unread > 0 {
            (Activity::Unread { pods: unread }, true)
        } else if self.trigger.looks_at_pods() && self.input.replicas > 0 && self.not_ready() > 0 {
            let replicas = self.not_ready();
            (Activity::Starting { replicas }, true)
        } else {
            (activity, false)
        };
        self.steps.push(Step::Activity(activity));
        active
    }

    /// What the activation's expression says. Without a result a workload that runs is not called
    /// idle, and one at zero is not started.
    fn condition(&mut self, expression: &Expression) -> (Activity, bool) {
        let values = self.activation_values(expression);
        let outcome = expression.evaluate(&values);
        self.activation_values = values;
        match outcome {
            Computed::Known {
                answer: Answer::Condition(holds),
                ..
            } => (Activity::Condition { holds }, holds),
            Computed::Known {
                answer: Answer::Number(compared),
                ..
            } if compared > self.trigger.activation => (Activity::Busy { compared }, true),
            Computed::Known {
                answer: Answer::Number(compared),
                ..
            } => (Activity::Idle { compared }, false),
            Computed::Absent(_) => (Activity::Unclear, self.input.replicas > 0),
        }
    }

    /// Serving pods that lack a signal which the activation's expression uses.
    fn unread_by(&self, expression: &Expression) -> u32 {
        let used = expression.used();
        let lacking = self.pods.iter().filter(|pod| {
            let mut parts = pod.parts.iter();
            parts.any(|part| used.contains(part.signal) && part.number.is_err())
        });
        match self.input.replicas {
            0 => 0,
            _ => counted(lacking.count()),
        }
    }
}
