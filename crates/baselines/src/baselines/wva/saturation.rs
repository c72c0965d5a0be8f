//! V1: what is spare in the KV cache and in the queue (`internal/saturation/analyzer.go`).

use rheostat_sizing::Observation;

use super::{Analyzer, ReplicaLoad, common_parameters, control};
use crate::baseline::{Baseline, Knowledge};
use crate::context::Context;
use crate::parameter::Parameter;
use crate::query::mean;

pub(crate) fn baseline(context: &Context) -> Baseline {
    let mut parameters = common_parameters(context);
    parameters.push(Parameter::number(
        "kv_spare_trigger",
        "kvSpareTrigger: up below this part of the KV cache to spare",
        0.1,
        (0.0, 1.0),
        &[0.05, 0.1, 0.2],
    ));
    parameters.push(Parameter::number(
        "queue_spare_trigger",
        "queueSpareTrigger: up below so many requests to spare in the queue",
        3.0,
        (0.0, 10_000.0),
        &[1.0, 3.0],
    ));
    Baseline {
        name: "llm-d-wva-v1",
        source: "llm-d/llm-d-workload-variant-autoscaler b08b1c7 (2026-02-19), internal/saturation/analyzer.go, \
                 charts/workload-variant-autoscaler",
        description: "One replica more while too little of KV cache (0.1) or queue (3) is spare, one less if the \
                      rest could take the load; an HPA with windows of 240 s carries it out.",
        knowledge: Knowledge::Past,
        parameters,
        builder: |chosen, _| {
            control(
                chosen,
                Saturation {
                    kv_cache: chosen.number("kv_cache_threshold")?,
                    queue: chosen.number("queue_length_threshold")?,
                    spare_kv_cache: chosen.number("kv_spare_trigger")?,
                    spare_queue: chosen.number("queue_spare_trigger")?,
                },
            )
        },
    }
}

#[derive(Debug)]
struct Saturation {
    kv_cache: f64,
    queue: f64,
    spare_kv_cache: f64,
    spare_queue: f64,
}

impl Analyzer for Saturation {
    /// `CalculateSaturationTargets`, with one variant.
    fn target(&mut self, seen: &[ReplicaLoad], desired: Option<u32>, observation: &Observation) -> u32 {
        let current = observation.replicas;
        let Some(reporting) = u32::try_from(seen.len()).ok().filter(|count| *count > 0) else {
            return current;
        };
        // In transition nothing is decided: what was asked for is not there yet, or not all of it reports.
        // A target that the HPA never carries out, within its tolerance or at its limit, blocks for ever.
        if let Some(desired) = desired.filter(|desired| *desired != 0 && *desired != current) {
            return desired;
        }
        if reporting != current {
            return current;
        }
        let spare: Vec<(f64, f64)> = seen
            .iter()
            .filter(|load| load.kv_cache < self.kv_cache && load.waiting < self.queue)
            .map(|load| (self.kv_cache - load.kv_cache, self.queue - load.waiting))
            .collect();
        let kv_cache = mean(spare.iter().map(|(kv_cache, _)| *kv_cache)).unwrap_or(0.0);
        let queue = mean(spare.iter().map(|(_, queue)| *queue)).unwrap_or(0.0);
        if kv_cache < self.spare_kv_cache || queue < self.spare_queue {
            return reporting + 1;
        }
        // One less if the rest, with N/(N-1) of the load, still has both to spare.
        let count = spare.len() as f64;
        if spare.len() >= 2 && reporting > 1 {
            let factor = count / (count - 1.0);
            let kv_cache_after = self.kv_cache - (self.kv_cache - kv_cache) * factor;
            let queue_after = self.queue - (self.queue - queue) * factor;
            if kv_cache_after >= self.spare_kv_cache && queue_after >= self.spare_queue {
                return reporting - 1;
            }
        }
        reporting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rheostat_reading::Timestamp;
    use rheostat_sizing::{QueuedOutside, Schedule};

    fn target(loads: &[(f64, f64)], desired: Option<u32>, replicas: u32) -> u32 {
        let seen: Vec<ReplicaLoad> = loads
            .iter()
            .map(|(kv_cache, waiting)| ReplicaLoad {
                kv_cache: *kv_cache,
                waiting: *waiting,
                kv_tokens: 400_000.0,
                prompt_tokens: 500.0,
                output_tokens: 200.0,
            })
            .collect();
        let observation = Observation {
            now: Timestamp::from_unix_nanos(0),
            replicas,
            pods: Vec::new(),
            queued_outside: QueuedOutside::Untold,
            schedule: Schedule::default(),
            pool: None,
            partner: None,
        };
        let mut analyzer = Saturation {
            kv_cache: 0.8,
            queue: 5.0,
            spare_kv_cache: 0.1,
            spare_queue: 3.0,
        };
        analyzer.target(&seen, desired, &observation)
    }

    /// docs/saturation-scaling-config.md: up where less than 0.1 of the KV cache is spare on average.
    #[test]
    fn up_by_one_where_too_little_is_spare() {
        assert_eq!(
            target(&[(0.75, 0.0), (0.72, 0.0)], None, 2),
            3,
            "0.05 and 0.08 to spare"
        );
        assert_eq!(
            target(&[(0.3, 2.5), (0.3, 2.5)], None, 2),
            3,
            "2.5 of the queue to spare"
        );
        assert_eq!(
            target(&[(0.95, 9.0)], None, 1),
            2,
            "nobody is left to average over"
        );
        assert_eq!(
            target(&[(0.6, 0.0), (0.6, 0.0)], None, 2),
            2,
            "0.2 to spare; one alone would be full"
        );
    }

    /// analyzer.go, isScaleDownSafe: the load of N on N - 1.
    #[test]
    fn down_by_one_where_the_rest_can_take_it() {
        assert_eq!(target(&[(0.2, 0.0); 3], None, 3), 2);
        assert_eq!(
            target(&[(0.2, 0.0)], None, 1),
            1,
            "never without a second that is not full"
        );
        assert_eq!(target(&[(0.5, 0.0); 3], None, 3), 3, "0.75 each would leave 0.05");
    }

    /// Step 1 of `CalculateSaturationTargets`.
    #[test]
    fn nothing_is_decided_in_transition() {
        assert_eq!(
            target(&[(0.79, 4.0); 2], Some(3), 2),
            3,
            "asked for, not there yet"
        );
        assert_eq!(
            target(&[(0.79, 4.0); 2], Some(3), 3),
            3,
            "there, not reporting yet"
        );
        assert_eq!(target(&[], None, 2), 2);
    }
}
