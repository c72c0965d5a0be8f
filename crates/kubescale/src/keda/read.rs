//! How one trigger is read: `GetMetricSpec`, then `GetMetrics` and `IsActive` of each metric, each
//! with one immediate retry (`cache/scalers_cache.go`, `getScalerState`, `GetScaledObjectMetrics`).

use std::collections::BTreeMap;

use super::fallback::{Health, Record};
use super::settings::{Fallback, Trigger};
use crate::calls::{Answer, CallError, MetricSpec, MetricValue, Request};
use crate::hpa::HpaMetric;
use crate::quantity::Quantity;
use crate::workload::Workload;

/// A read of one trigger under way.
#[derive(Clone, Debug)]
pub(crate) struct TriggerRead {
    trigger: usize,
    /// Only the metric of this name, for the HPA; all of them, for the scale loop.
    only: Option<String>,
    step: Step,
    /// What was observed, by metric.
    pub(crate) records: Vec<(HpaMetric, Record)>,
    /// `GetMetricSpec` failed.
    pub(crate) spec_error: Option<String>,
}

#[derive(Clone, Debug)]
enum Step {
    Specs {
        retried: bool,
    },
    Values {
        metrics: Vec<Metric>,
        retried: bool,
    },
    Activity {
        metrics: Vec<Metric>,
        retried: bool,
        values: Vec<Quantity>,
    },
    Done,
}

/// A metric still to be observed (the last is next): its name at the scaler, and in the HPA.
#[derive(Clone, Debug)]
struct Metric {
    bare_name: String,
    hpa: HpaMetric,
}

/// What a read needs to know of the rest.
pub(crate) struct ReadContext<'a> {
    pub(crate) trigger: &'a Trigger,
    pub(crate) fallback: Option<&'a Fallback>,
    pub(crate) workload: &'a Workload,
    pub(crate) health: &'a mut Health,
    /// Observations to take instead of asking: the HPA's for the loop, the loop's for the HPA.
    pub(crate) stored: Stored<'a>,
    /// Whether the scalers of this read are still the current ones.
    pub(crate) current: bool,
}

/// Where stored observations come from, which decides what is still to be done with them.
#[derive(Clone, Copy)]
pub(crate) enum Stored<'a> {
    /// There are none to be used.
    None,
    /// The HPA's observations, finished (`hpaObservedRecord`).
    Finished(&'a BTreeMap<String, Record>),
    /// The loop's (`useCachedMetrics`), which go through fallback again.
    Raw(&'a BTreeMap<String, Record>),
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Make this call.
    Call(Request),
    /// The read is over.
    Done,
}

impl TriggerRead {
    pub(crate) const fn new(trigger: usize, only: Option<String>) -> Self {
        Self {
            trigger,
            only,
            step: Step::Specs { retried: false },
            records: Vec::new(),
            spec_error: None,
        }
    }

    /// Whether the metric specs are known (or given up).
    pub(crate) const fn past_specs(&self) -> bool {
        !matches!(self.step, Step::Specs { .. })
    }

    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.step, Step::Done)
    }

    /// Begins. `streamed` are the specs of `StreamMetricSpec`, which are used in place of a call.
    pub(crate) fn start(&mut self, context: &mut ReadContext<'_>, streamed: Option<&[MetricSpec]>) -> Next {
        if !context.current {
            self.step = Step::Done;
            return Next::Done;
        }
        match streamed {
            Some(specs) => self.with_specs(context, specs),
            None => Next::Call(Request::MetricSpec),
        }
    }

    /// Goes on with an answer.
    pub(crate) fn answer(&mut self, context: &mut ReadContext<'_>, answer: Answer) -> Next {
        match (std::mem::replace(&mut self.step, Step::Done), answer) {
            (Step::Specs { retried }, Answer::MetricSpec(specs)) => self.specs(context, specs, retried),
            (Step::Values { metrics, retried }, Answer::Metrics(values)) => {
                self.values(context, metrics, values, retried)
            }
            (
                Step::Activity {
                    metrics,
                    retried,
                    values,
                },
                Answer::IsActive(active),
            ) => match active {
                Ok(active) => {
                    let raw = Record {
                        values,
                        active,
                        ..Record::default()
                    };
                    self.observed(context, metrics, Some(raw))
                }
                Err(error) => self.failed(context, metrics, error, retried),
            },
            // An answer to another question cannot be used, so the question stays open.
            (step, _) => {
                self.step = step;
                Next::Done
            }
        }
    }

    /// `GetMetricSpecForScalingForScaler`: an error looks like an empty answer.
    fn specs(
        &mut self,
        context: &mut ReadContext<'_>,
        specs: Result<Vec<MetricSpec>, CallError>,
        retried: bool,
    ) -> Next {
        match specs {
            Ok(specs) if !specs.is_empty() => self.with_specs(context, &specs),
            // The scalers were replaced meanwhile: no result, and no error either.
            _ if !context.current => Next::Done,
            _ if !retried => {
                self.step = Step::Specs { retried: true };
                Next::Call(Request::MetricSpec)
            }
            Ok(_) => {
                self.spec_error = Some("the scaler returned no metric spec".to_owned());
                Next::Done
            }
            Err(error) => {
                self.spec_error = Some(error.0);
                Next::Done
            }
        }
    }

    fn with_specs(&mut self, context: &mut ReadContext<'_>, specs: &[MetricSpec]) -> Next {
        let metric = |spec: &MetricSpec| Metric {
            bare_name: spec.metric_name.clone(),
            hpa: spec.to_hpa(self.trigger, context.trigger.metric_type),
        };
        let wanted = |metric: &Metric| match &self.only {
            None => true,
            Some(name) => metric.hpa.name.eq_ignore_ascii_case(name),
        };
        let metrics: Vec<Metric> = specs.iter().rev().map(metric).filter(wanted).collect();
        self.next_metric(context, metrics)
    }

    fn next_metric(&mut self, context: &mut ReadContext<'_>, mut metrics: Vec<Metric>) -> Next {
        while let Some(metric) = metrics.last() {
            let stored = match context.stored {
                Stored::None => None,
                Stored::Finished(records) => records.get(&metric.hpa.name).cloned(),
                Stored::Raw(records) => records.get(&metric.hpa.name).map(|raw| {
                    context
                        .health
                        .observe(raw.clone(), &metric.hpa, context.fallback, context.workload)
                }),
            };
            match stored {
                Some(record) => {
                    self.records.push((metric.hpa.clone(), record));
                    metrics.pop();
                }
                None if context.current => {
                    let request = Request::Metrics {
                        metric_name: metric.bare_name.clone(),
                    };
                    self.step = Step::Values {
                        metrics,
                        retried: false,
                    };
                    return Next::Call(request);
                }
                None => {
                    metrics.pop();
                }
            }
        }
        self.step = Step::Done;
        Next::Done
    }

    fn values(
        &mut self,
        context: &mut ReadContext<'_>,
        metrics: Vec<Metric>,
        values: Result<Vec<MetricValue>, CallError>,
        retried: bool,
    ) -> Next {
        match values {
            Ok(values) => {
                let values = values.into_iter().map(MetricValue::quantity).collect();
                self.step = Step::Activity {
                    metrics,
                    retried,
                    values,
                };
                Next::Call(Request::IsActive)
            }
            Err(error) => self.failed(context, metrics, error, retried),
        }
    }

    /// `GetMetricsAndActivityForScaler`: the whole pair once more, then it is an error.
    fn failed(
        &mut self,
        context: &mut ReadContext<'_>,
        metrics: Vec<Metric>,
        error: CallError,
        retried: bool,
    ) -> Next {
        if !retried {
            if !context.current {
                // ErrCacheClosed: the observation is thrown away.
                return self.observed(context, metrics, None);
            }
            if let Some(metric) = metrics.last() {
                let request = Request::Metrics {
                    metric_name: metric.bare_name.clone(),
                };
                self.step = Step::Values {
                    metrics,
                    retried: true,
                };
                return Next::Call(request);
            }
        }
        let raw = Record {
            error: Some(error.0),
            ..Record::default()
        };
        self.observed(context, metrics, Some(raw))
    }

    /// `observeMetric`, then on to the next metric.
    fn observed(
        &mut self,
        context: &mut ReadContext<'_>,
        mut metrics: Vec<Metric>,
        raw: Option<Record>,
    ) -> Next {
        if let (Some(metric), Some(raw)) = (metrics.pop(), raw) {
            let record = context
                .health
                .observe(raw, &metric.hpa, context.fallback, context.workload);
            self.records.push((metric.hpa, record));
        }
        self.next_metric(context, metrics)
    }

    /// Whether the trigger counts as active: the last metric that had no error decides.
    pub(crate) fn is_active(&self) -> bool {
        let valid = self
            .records
            .iter()
            .rev()
            .find(|(_, record)| record.error.is_none());
        valid.is_some_and(|(_, record)| record.active || record.fallback_active)
    }

    /// The first error.
    pub(crate) fn error(&self) -> Option<&str> {
        let of_metrics = self
            .records
            .iter()
            .find_map(|(_, record)| record.error.as_deref());
        self.spec_error.as_deref().or(of_metrics)
    }
}
