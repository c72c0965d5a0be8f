//! What goes into KEDA's messages.

use rheostat_policy::{Answer, ErrorKind, Trigger};
use rheostat_proto::keda::{GetMetricSpecResponse, GetMetricsResponse, MetricSpec, MetricValue};
use tonic::Status;

/// The metric of a trigger that is refused.
const REFUSED: &str = "rheostat-refused";

/// The one spec of a trigger.
///
/// A refused trigger has one too: where the spec is an error, KEDA never starts to ask for the
/// value, and its user reads only "no metric specs returned from scalers". So the spec stands, and
/// the value and the activity are the errors that KEDA tells in events.
pub(super) fn spec(trigger: Option<&Trigger>) -> GetMetricSpecResponse {
    let (name, target) = trigger.map_or((REFUSED, 1.0), |trigger| {
        (trigger.metric_name(), trigger.target())
    });
    GetMetricSpecResponse {
        metric_specs: vec![MetricSpec {
            metric_name: name.to_owned(),
            // KEDA before 2.17 reads only this one.
            target_size: whole(target).max(1),
            target_size_float: target,
        }],
    }
}

/// The one value of a trigger, under the name that was asked for.
pub(super) fn value(name: &str, value: f64) -> GetMetricsResponse {
    GetMetricsResponse {
        metric_values: vec![MetricValue {
            metric_name: name.to_owned(),
            metric_value: whole(value),
            metric_value_float: value,
        }],
    }
}

/// The value and activity of an answer, or the error that freezes the workload.
pub(super) fn known(answer: &Answer) -> Result<(f64, bool), Status> {
    match answer {
        Answer::Value { value, active, .. } => Ok((*value, *active)),
        Answer::AtZero => Ok((0.0, false)),
        Answer::Error {
            kind: ErrorKind::Unavailable,
            reason,
        } => Err(Status::unavailable(reason)),
        Answer::Error {
            kind: ErrorKind::FailedPrecondition,
            reason,
        } => Err(Status::failed_precondition(reason)),
    }
}

/// Rounded up: KEDA before 2.17 must not see a little demand as none. Zero stays zero, since KEDA
/// takes the integer where the float is not above zero.
#[expect(
    clippy::cast_possible_truncation,
    reason = "as casts saturate, and values are finite"
)]
fn whole(value: f64) -> i64 {
    value.ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_zero_in_both_fields_and_a_little_is_not() {
        let read = |number| {
            let reply = value("rheostat-gpu-utilization", number);
            (
                reply.metric_values[0].metric_value,
                reply.metric_values[0].metric_value_float,
            )
        };
        assert_eq!(read(0.0), (0, 0.0));
        assert_eq!(read(0.2), (1, 0.2));
        assert_eq!(read(380.0), (380, 380.0));
    }
}
