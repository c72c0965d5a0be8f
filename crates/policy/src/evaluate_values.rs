use rheostat_expression::{Expression, Value};
use rheostat_reading::{Absent, Quality};

use crate::evaluate::{SLACK, Work, counted};
use crate::pod::pod_values;
use crate::{NamedSignal, PodResult, PodState, Within};

impl Work<'_> {
    /// The values for an expression over the workload, and of how many serving pods they are.
    ///
    /// A signal that too few pods have is absent. Of the others, only pods count that have all of
    /// them, so that none is counted twice: by what it showed and by its vote.
    pub(crate) fn totals(&self, expression: &Expression) -> (Vec<Value>, u32) {
        let (trigger, used) = (self.trigger, expression.used());
        let serving = || self.pods.iter().filter(|pod| pod.state == PodState::Ready);
        let has = |pod: &PodResult, place: usize| {
            pod.parts
                .iter()
                .any(|part| part.signal == place && part.number.is_ok())
        };
        let present: Vec<usize> = trigger
            .signals
            .iter()
            .enumerate()
            .filter(|(place, signal)| used.contains(*place) && signal.signal.is_per_pod())
            .map(|(place, _)| place)
            .filter(|place| {
                let known = counted(serving().filter(|pod| has(pod, *place)).count());
                f64::from(known) >= trigger.quorum * f64::from(self.coverage.ready) - SLACK
            })
            .collect();
        let counts = |pod: &PodResult| present.iter().all(|place| has(pod, *place));
        let known = counted(serving().filter(|pod| counts(pod)).count());
        let each = trigger.signals.iter().enumerate();
        let values = each.map(|(place, signal)| {
            if !used.contains(place) {
                return Value::Absent(Absent::NotYet);
            }
            let per_pod = signal.signal.is_per_pod();
            if per_pod && !present.contains(&place) {
                return Value::Absent(self.reason(place));
            }
            let mut reduce = |numbers: &mut [f64]| match signal.signal.is_intensity() {
                true => trigger.aggregation.reduce(numbers),
                false => Within::Sum.reduce(numbers.iter().copied()),
            };
            self.value(place, signal, &mut reduce, &counts)
        });
        (values.chain(self.sizes(known)).collect(), known)
    }

    /// Amounts of all serving pods that were read, and intensities of the busiest of them.
    pub(crate) fn activation_values(&self, expression: &Expression) -> Vec<Value> {
        let used = expression.used();
        let each = self.trigger.signals.iter().enumerate();
        let values = each.map(|(place, signal)| {
            if !used.contains(place) {
                return Value::Absent(Absent::NotYet);
            }
            let within = if signal.signal.is_intensity() {
                Within::Max
            } else {
                Within::Sum
            };
            self.value(
                place,
                signal,
                &mut |numbers| within.reduce(numbers.iter().copied()),
                &|_| true,
            )
        });
        values.chain(self.sizes(self.coverage.ready)).collect()
    }

    /// The value of one signal over the pods that `counts` takes. Where no pod serves, none has
    /// any load.
    fn value(
        &self,
        place: usize,
        signal: &NamedSignal,
        reduce: &mut dyn FnMut(&mut [f64]) -> Option<f64>,
        counts: &dyn Fn(&PodResult) -> bool,
    ) -> Value {
        if !signal.signal.is_per_pod() {
            let result = self.workload.iter().find(|result| result.signal == place);
            return match result.map(|result| &result.number) {
                Some(Ok(number)) => Value::Known {
                    number: *number,
                    quality: Quality::Measured,
                },
                Some(Err(reason)) => Value::Absent(reason.clone()),
                None => Value::Absent(Absent::NotYet),
            };
        }
        if self.coverage.ready == 0 || self.input.replicas == 0 {
            return Value::Known {
                number: 0.0,
                quality: Quality::Measured,
            };
        }
        let mut numbers = Vec::with_capacity(self.pods.len());
        let mut quality = Quality::Measured;
        for pod in self.pods.iter().filter(|pod| counts(pod)) {
            let part = pod.parts.iter().find(|part| part.signal == place);
            if let Some(Ok(number)) = part.map(|part| &part.number) {
                numbers.push(number.value);
                quality = quality.max(number.quality);
            }
        }
        match reduce(&mut numbers) {
            Some(number) => Value::Known { number, quality },
            None => Value::Absent(self.reason(place)),
        }
    }

    /// Why the first pod without it has no number of the signal at `place`.
    fn reason(&self, place: usize) -> Absent {
        let lacking = self.pods.iter().find(|pod| {
            let mut parts = pod.parts.iter();
            parts.any(|part| part.signal == place && part.number.is_err())
        });
        let values = lacking.map(|pod| pod_values(self.trigger, &pod.parts));
        match values.and_then(|values| values.into_iter().nth(place)) {
            Some(Value::Absent(reason)) => reason,
            _ => Absent::NotYet,
        }
    }

    /// The values of the names `ready` and `replicas`.
    fn sizes(&self, ready: u32) -> [Value; 2] {
        [ready, self.input.replicas].map(|size| Value::Known {
            number: f64::from(size),
            quality: Quality::Measured,
        })
    }
}
