use std::time::Duration;

use rheostat_reading::{Absent, EngineQuantity, Quantity};

use crate::statistic::named;
use crate::{Schedule, Signal, Within};

/// A signal of a trigger with its name and all of its options.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedSignal {
    /// As expressions call it; [`MAIN_SIGNAL`] for that of the key `signal` or of a profile.
    pub name: String,
    /// What kind of signal it is.
    pub signal: Signal,
    /// Where its numbers come from.
    pub source: Source,
    /// An older reading is none.
    pub stale_after: Duration,
}

/// The name of the signal that a trigger scales by where it has no expression.
pub const MAIN_SIGNAL: &str = "signal";

/// Where a signal's numbers come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The devices of each pod.
    Gpu {
        /// What is read of them.
        quantity: Quantity,
        /// How a pod's devices become its number.
        within: Within,
    },
    /// The engine in each pod.
    Engine {
        /// What it reports.
        quantity: EngineQuantity,
    },
    /// One number for the workload, which somebody has to ask for.
    Outside(OutsideSource),
    /// A schedule, for which the time is enough.
    Schedule(Schedule),
    /// What a person has written on the ScaledObject.
    Manual,
}

/// One number for the whole workload that somebody has to ask for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OutsideSource {
    /// A PromQL query.
    Prometheus(PrometheusQuery),
    /// What waits in a LocalQueue.
    Kueue(KueueQuery),
    /// The unfinished Jobs of the ScaledJob.
    UnfinishedJobs,
}

/// An instant query to a Prometheus that the operator of Rheostat has configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PrometheusQuery {
    /// The server's name in Rheostat's configuration; never an address.
    pub server: String,
    /// The query.
    pub query: String,
    /// What an empty result means.
    pub on_empty: OnOdd,
    /// What NaN means; an infinity is an error always.
    pub on_nan: OnOdd,
    /// What several series mean.
    pub on_many: OnMany,
}

/// What waits in a LocalQueue of Kueue's, in the workload's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KueueQuery {
    /// The LocalQueue's name.
    pub queue: String,
    /// What is counted.
    pub count: KueueCount,
}

named! {
    /// What a result that is no number means.
    OnOdd {
        /// Nothing is known. The default: absent is not zero.
        Error = "error",
        /// Zero, as where a counter has no series until something happens.
        Zero = "zero",
    }
}

named! {
    /// What several series mean where one number is wanted.
    OnMany {
        /// Nothing is known. The default.
        Error = "error",
        /// Their sum.
        Sum = "sum",
        /// The greatest.
        Max = "max",
        /// The least.
        Min = "min",
        /// Their mean.
        Avg = "avg",
    }
}

named! {
    /// What is counted in a queue.
    KueueCount {
        /// Pending Workloads. The default.
        Workloads = "workloads",
        /// The GPUs that they ask for.
        Gpus = "gpus",
    }
}

impl PrometheusQuery {
    /// The number that a result with these samples stands for.
    ///
    /// # Errors
    ///
    /// [`Absent::Failed`] where the trigger does not say what such a result means.
    pub fn number(&self, samples: &[f64]) -> Result<f64, Absent> {
        let failed = |what: String| Err(Absent::Failed(what));
        let mut numbers = Vec::with_capacity(samples.len());
        for &sample in samples {
            match self.on_nan {
                _ if sample.is_finite() => numbers.push(sample),
                // Something divided by nothing is no reason to think that there is nothing.
                _ if sample.is_infinite() => {
                    return failed(format!("the query's result is {sample}; onNaN is for NaN alone"));
                }
                OnOdd::Zero => numbers.push(0.0),
                OnOdd::Error => {
                    return failed("the query's result is NaN; onNaN: zero takes that for 0".into());
                }
            }
        }
        let within = match (numbers.as_slice(), self.on_many) {
            ([], _) => {
                return match self.on_empty {
                    OnOdd::Zero => Ok(0.0),
                    OnOdd::Error => {
                        failed("the query's result is empty; onEmpty: zero takes that for 0".into())
                    }
                };
            }
            ([number], _) => return Ok(*number),
            (many, OnMany::Error) => {
                let count = many.len();
                return failed(format!(
                    "the query's result has {count} series; aggregate them in the query or say onMany: sum, max, min or avg"
                ));
            }
            (_, OnMany::Sum) => Within::Sum,
            (_, OnMany::Max) => Within::Max,
            (_, OnMany::Min) => Within::Min,
            (_, OnMany::Avg) => Within::Avg,
        };
        within
            .reduce(numbers.into_iter())
            .filter(|number| number.is_finite())
            .ok_or_else(|| Absent::Failed("the series' sum is too large".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(on_empty: OnOdd, on_nan: OnOdd, on_many: OnMany) -> PrometheusQuery {
        PrometheusQuery {
            server: "main".into(),
            query: "q".into(),
            on_empty,
            on_nan,
            on_many,
        }
    }

    #[test]
    fn odd_results_are_errors_until_the_trigger_says_what_they_mean() {
        let strict = query(OnOdd::Error, OnOdd::Error, OnMany::Error);
        assert_eq!(strict.number(&[3.5]), Ok(3.5));
        for (samples, part) in [
            (&[][..], "onEmpty"),
            (&[f64::NAN][..], "onNaN"),
            (&[f64::INFINITY][..], "onNaN"),
            (&[1.0, 2.0][..], "onMany"),
        ] {
            let error = strict.number(samples).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let lenient = |on_many| query(OnOdd::Zero, OnOdd::Zero, on_many);
        assert_eq!(lenient(OnMany::Error).number(&[]), Ok(0.0));
        assert_eq!(lenient(OnMany::Error).number(&[f64::NAN]), Ok(0.0));
        for infinite in [f64::INFINITY, f64::NEG_INFINITY] {
            for samples in [&[infinite][..], &[1.0, infinite][..]] {
                let error = lenient(OnMany::Max).number(samples).unwrap_err().to_string();
                assert!(error.contains("inf;"), "{error}");
            }
        }
        for (on_many, number) in [
            (OnMany::Sum, 9.0),
            (OnMany::Max, 6.0),
            (OnMany::Min, 1.0),
            (OnMany::Avg, 3.0),
        ] {
            assert_eq!(lenient(on_many).number(&[1.0, 6.0, 2.0]), Ok(number));
        }
        assert!(lenient(OnMany::Sum).number(&[f64::MAX, f64::MAX]).is_err());
    }
}
