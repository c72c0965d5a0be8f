//! The HPA's syncs, and its reads of metrics through KEDA (`GetScaledObjectMetrics`).

use rheostat_reading::Timestamp;

use super::{Autoscaler, Event, Output, Reads};
use crate::calls::{Answer, Caller};
use crate::hpa::{Start, Sync};
use crate::keda::TriggerRead;
use crate::quantity::Quantity;
use crate::workload::{Cause, Workload};

/// A sync that is reading its metrics, one after the other.
#[derive(Clone, Debug)]
pub(super) struct SyncRun {
    /// The scale as it was when the sync began.
    scale: Workload,
    /// The HPA's metrics at that time.
    metrics: Vec<String>,
    readings: Vec<Result<Vec<Quantity>, String>>,
    reads: Reads,
}

impl Autoscaler {
    pub(super) fn start_sync(&mut self, now: Timestamp, workload: &mut Workload, out: &mut Output) {
        self.due.sync = None;
        let Some(hpa) = &mut self.hpa else { return };
        match hpa.start(now, workload) {
            Start::Decided(sync) => self.finish_sync(now, *sync, workload, out),
            Start::NeedsMetrics => {
                let metrics: Vec<String> = hpa
                    .settings()
                    .metrics
                    .iter()
                    .map(|metric| metric.name.clone())
                    .collect();
                let reads = self.metric_reads(metrics.first().map_or("", String::as_str));
                let run = SyncRun {
                    scale: *workload,
                    metrics,
                    readings: Vec::new(),
                    reads,
                };
                self.go_on_syncing(now, run, workload, out);
            }
        }
    }

    pub(super) fn answer_sync(
        &mut self,
        now: Timestamp,
        trigger: usize,
        answer: Answer,
        workload: &mut Workload,
        out: &mut Output,
    ) {
        let Some(mut run) = self.sync.take() else { return };
        self.answer_read(Caller::Hpa, &mut run.reads, trigger, answer, workload, out);
        self.go_on_syncing(now, run, workload, out);
    }

    fn go_on_syncing(&mut self, now: Timestamp, mut run: SyncRun, workload: &mut Workload, out: &mut Output) {
        loop {
            self.start_reads(Caller::Hpa, &mut run.reads, workload, out);
            if !run.reads.reads.iter().all(TriggerRead::is_done) {
                self.sync = Some(run);
                return;
            }
            let name = run.metrics.get(run.readings.len()).cloned().unwrap_or_default();
            let reading = self.finish_metric(now, &name, &run.reads, out);
            run.readings.push(reading);
            match run.metrics.get(run.readings.len()) {
                Some(next) => run.reads = self.metric_reads(next),
                None => break,
            }
        }
        // Pods are listed when the metrics are there, the scale was read before.
        let scale = Workload {
            spec_replicas: run.scale.spec_replicas,
            status_replicas: run.scale.status_replicas,
            ..*workload
        };
        if let Some(hpa) = &mut self.hpa {
            let sync = hpa.finish(now, &scale, &run.readings);
            self.finish_sync(now, sync, workload, out);
        }
    }

    fn finish_sync(&mut self, now: Timestamp, sync: Sync, workload: &mut Workload, out: &mut Output) {
        let change = sync.cause.clone().map(|cause| (sync.to, cause));
        out.events.push(Event::Synced(Box::new(sync)));
        if let Some((to, cause)) = change {
            // Written even if the count changed meanwhile: a conflict is tried again with the same number.
            Self::scale(now, to, Cause::Hpa(cause), workload, out);
        }
        self.due.sync = Some(now.plus(self.controller.sync_period()));
    }

    /// Every trigger is asked for its specs, whichever metric is wanted.
    fn metric_reads(&mut self, metric: &str) -> Reads {
        let read = |index| TriggerRead::new(index, Some(metric.to_owned()));
        Reads {
            generation: self.scalers.open(),
            reads: (0..self.object.spec.triggers.len()).map(read).collect(),
            started: 0,
            observed_by_hpa: false,
        }
    }

    /// What KEDA answers to the HPA for one metric.
    fn finish_metric(
        &mut self,
        now: Timestamp,
        name: &str,
        reads: &Reads,
        out: &mut Output,
    ) -> Result<Vec<Quantity>, String> {
        let records = || reads.reads.iter().flat_map(|read| &read.records);
        if self.object.uses_hpa_observations() {
            for (metric, record) in records() {
                self.records.insert(metric.name.clone(), record.clone());
            }
        }
        let error = reads.reads.iter().find_map(TriggerRead::error);
        if error.is_some() {
            self.close_scalers(now, out);
        }
        self.note_fallback();
        let fallback = records().any(|(_, record)| record.fallback_active);
        if let Some(error) = error.filter(|_| !fallback) {
            return Err(error.to_owned());
        }
        let values: Vec<Quantity> = records()
            .flat_map(|(_, record)| record.values.iter().copied())
            .collect();
        if values.is_empty() {
            Err(format!("KEDA has no value for {name}"))
        } else {
            Ok(values)
        }
    }
}
