//! The controller of ScaledObjects: creates and updates the HPA (`reconcileScaledObject`,
//! `getScaledObjectMetricSpecs`).

use rheostat_reading::Timestamp;

use super::{Autoscaler, Event, Output};
use crate::calls::{Answer, Caller, MetricSpec, Request};
use crate::hpa::{Hpa, HpaMetric};
use crate::keda::{Condition, Status};
use crate::workload::Workload;

/// A reconcile that is asking the triggers for their specs, one after the other. There is no retry
/// here, and a trigger that fails is left out.
#[derive(Clone, Debug, Default)]
pub(super) struct ReconcileRun {
    /// The trigger that is asked now.
    trigger: usize,
    metrics: Vec<HpaMetric>,
}

impl Autoscaler {
    pub(super) fn start_reconcile(&mut self, now: Timestamp, workload: &mut Workload, out: &mut Output) {
        self.due.reconcile = None;
        let annotations = self.object.annotations;
        if self.object.is_paused() {
            self.pause(now, workload, out);
            self.restart_loop = true;
            self.conclude(now, Ok(()), out);
            return;
        }
        let one_way = annotations.paused_scale_in || annotations.paused_scale_out;
        let paused = if one_way { Status::True } else { Status::False };
        let reason = if one_way { "ScaledObjectPaused" } else { "" };
        self.state.conditions.paused = Condition::new(paused, reason);
        self.scalers.open();
        self.go_on_reconciling(now, ReconcileRun::default(), out);
    }

    pub(super) fn answer_reconcile(
        &mut self,
        now: Timestamp,
        answer: Answer,
        _workload: &mut Workload,
        out: &mut Output,
    ) {
        let Some(mut run) = self.reconcile.take() else {
            return;
        };
        if let Answer::MetricSpec(Ok(specs)) = answer {
            self.take_specs(&mut run, &specs);
        }
        run.trigger += 1;
        self.go_on_reconciling(now, run, out);
    }

    fn go_on_reconciling(&mut self, now: Timestamp, mut run: ReconcileRun, out: &mut Output) {
        while run.trigger < self.object.spec.triggers.len() {
            let Some(specs) = self.scalers.streamed.get(&run.trigger).cloned() else {
                self.call(Caller::Reconcile, run.trigger, Request::MetricSpec, out);
                self.reconcile = Some(run);
                return;
            };
            self.take_specs(&mut run, &specs);
            run.trigger += 1;
        }
        let result = self.ensure_hpa(now, run.metrics, out);
        self.conclude(now, result, out);
    }

    fn take_specs(&self, run: &mut ReconcileRun, specs: &[MetricSpec]) {
        let Some(trigger) = self.object.spec.triggers.get(run.trigger) else {
            return;
        };
        run.metrics.extend(
            specs
                .iter()
                .map(|spec| spec.to_hpa(run.trigger, trigger.metric_type)),
        );
    }

    fn ensure_hpa(
        &mut self,
        now: Timestamp,
        metrics: Vec<HpaMetric>,
        out: &mut Output,
    ) -> Result<(), String> {
        if metrics.is_empty() {
            return Err("no metric specs returned from scalers".to_owned());
        }
        for (index, metric) in metrics.iter().enumerate() {
            if metrics.iter().take(index).any(|other| other.name == metric.name) {
                return Err(format!("metric {} is there more than once", metric.name));
            }
        }
        let settings = self.object.hpa(metrics.clone());
        let created = match &mut self.hpa {
            Some(hpa) if *hpa.settings() == settings => false,
            Some(hpa) => {
                let other_metrics = hpa.settings().metrics != settings.metrics;
                hpa.update(settings).map_err(|error| error.to_string())?;
                if other_metrics && self.sync.take().is_some() {
                    // The values on their way belong to other metrics.
                    self.forget_calls(Caller::Hpa);
                    self.due.sync = Some(now);
                }
                false
            }
            None => {
                self.hpa = Some(Hpa::new(settings, self.controller).map_err(|error| error.to_string())?);
                // The controller's queue holds every HPA back for one period, new ones too.
                self.due.sync = Some(now.plus(self.controller.sync_period()));
                true
            }
        };
        self.health.retain(&metrics);
        self.metrics = metrics;
        if created || self.restart_loop {
            self.restart_loop = false;
            self.start_loop(now, out);
        }
        Ok(())
    }

    fn conclude(&mut self, now: Timestamp, result: Result<(), String>, out: &mut Output) {
        let was_ready = self.state.conditions.ready.is_true();
        let conditions = &mut self.state.conditions;
        match &result {
            Ok(()) => {
                self.reconcile_failures = 0;
                conditions.ready = Condition::new(Status::True, "ScaledObjectReady");
            }
            Err(_) => {
                self.reconcile_failures = self.reconcile_failures.saturating_add(1);
                conditions.ready = Condition::new(Status::False, "ScaledObjectCheckFailed");
                conditions.active = Condition::new(Status::Unknown, "UnknownState");
            }
        }
        if self.object.spec.fallback.is_none() {
            self.state.conditions.fallback = Condition::new(Status::False, "NoFallbackFound");
        }
        self.ready_changed(now, was_ready);
        if result.is_err() {
            self.due.reconcile = Some(now.plus(self.reconcile_delay()));
        }
        out.events.push(Event::Reconciled {
            at: now,
            error: result.err(),
        });
    }
}
