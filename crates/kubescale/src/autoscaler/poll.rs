//! The scale loop (`checkScalers`, `getScaledObjectState`).

use rheostat_reading::Timestamp;

use super::{Autoscaler, Event, Output, Reads};
use crate::calls::{Answer, Caller};
use crate::keda::{Activity, Next, ReadContext, Stored, TriggerRead};
use crate::workload::Workload;

impl Autoscaler {
    pub(super) fn start_poll(&mut self, now: Timestamp, workload: &mut Workload, out: &mut Output) {
        // The timer runs from the start of a poll; one that takes longer is followed at once.
        self.due.poll = Some(now.plus(self.object.polling_interval()));
        let hpa_reads = self.hpa.as_ref().and_then(|hpa| hpa.conditions().scaling_active);
        let reads = Reads {
            generation: self.scalers.open(),
            reads: (0..self.object.spec.triggers.len())
                .map(|index| TriggerRead::new(index, None))
                .collect(),
            started: 0,
            observed_by_hpa: self.object.uses_hpa_observations() && hpa_reads.is_some_and(|c| c.is_true),
        };
        self.go_on_polling(now, reads, workload, out);
    }

    pub(super) fn answer_poll(
        &mut self,
        now: Timestamp,
        trigger: usize,
        answer: Answer,
        workload: &mut Workload,
        out: &mut Output,
    ) {
        let Some(mut reads) = self.poll.take() else { return };
        self.answer_read(Caller::Poll, &mut reads, trigger, answer, workload, out);
        self.go_on_polling(now, reads, workload, out);
    }

    fn go_on_polling(&mut self, now: Timestamp, mut reads: Reads, workload: &mut Workload, out: &mut Output) {
        self.start_reads(Caller::Poll, &mut reads, workload, out);
        if reads.reads.iter().all(TriggerRead::is_done) {
            self.finish_poll(now, &reads, workload, out);
        } else {
            self.poll = Some(reads);
        }
    }

    fn finish_poll(&mut self, now: Timestamp, reads: &Reads, workload: &mut Workload, out: &mut Output) {
        let error =
            |(index, read): (usize, &TriggerRead)| read.error().map(|error| (index, error.to_owned()));
        let errors: Vec<(usize, String)> = reads.reads.iter().enumerate().filter_map(error).collect();
        let active = reads.reads.iter().any(TriggerRead::is_active);
        let records = || reads.reads.iter().flat_map(|read| &read.records);
        let fallback = records().any(|(_, record)| record.fallback_active);
        let found = Activity {
            active,
            error: !errors.is_empty(),
            pushed: false,
        };
        if found.error {
            self.close_scalers(now, out);
        }
        self.note_fallback();
        out.events.push(Event::Polled {
            at: now,
            active,
            fallback,
            errors,
        });
        self.request_scale(now, found, workload, out);
        self.keep_cached_metrics(reads);
        while let Some(trigger) = self.waiting_pushes.pop_front() {
            self.activate(now, trigger, workload, out);
        }
    }

    /// `useCachedMetrics`: what the loop saw serves the HPA until the next poll.
    fn keep_cached_metrics(&mut self, reads: &Reads) {
        let triggers = &self.object.spec.triggers;
        let cached = triggers
            .iter()
            .zip(&reads.reads)
            .filter(|(trigger, _)| trigger.use_cached_metrics);
        let records = cached.flat_map(|(_, read)| &read.records);
        let records: std::collections::BTreeMap<_, _> = records
            .map(|(metric, record)| (metric.name.clone(), record.clone()))
            .collect();
        if !records.is_empty() {
            self.records = records;
        }
    }

    /// The condition follows the failure counts wherever there is a fallback.
    pub(super) fn note_fallback(&mut self) {
        if self.object.spec.fallback.is_some() {
            self.state.conditions.fallback = self.health.condition(self.object.spec.fallback.as_ref());
        }
    }

    /// Starts the reads that may start: all at once for the loop; for the HPA one trigger after the
    /// other, each as soon as the specs of the one before are known.
    pub(super) fn start_reads(
        &mut self,
        caller: Caller,
        reads: &mut Reads,
        workload: &Workload,
        out: &mut Output,
    ) {
        while reads.started < reads.reads.len() {
            let waits = reads.started > 0
                && !reads
                    .reads
                    .iter()
                    .take(reads.started)
                    .all(TriggerRead::past_specs);
            if caller == Caller::Hpa && waits {
                return;
            }
            let index = reads.started;
            reads.started += 1;
            let streamed = self.scalers.streamed.get(&index).cloned();
            let Some(read) = reads.reads.get_mut(index) else {
                return;
            };
            let observed = reads.observed_by_hpa;
            let Some(mut context) = self.context(caller, index, reads.generation, observed, workload) else {
                return;
            };
            if let Next::Call(request) = read.start(&mut context, streamed.as_deref()) {
                self.call(caller, index, request, out);
            }
        }
    }

    pub(super) fn answer_read(
        &mut self,
        caller: Caller,
        reads: &mut Reads,
        trigger: usize,
        answer: Answer,
        workload: &Workload,
        out: &mut Output,
    ) {
        let Some(read) = reads.reads.get_mut(trigger) else {
            return;
        };
        let observed = reads.observed_by_hpa;
        let Some(mut context) = self.context(caller, trigger, reads.generation, observed, workload) else {
            return;
        };
        if let Next::Call(request) = read.answer(&mut context, answer) {
            self.call(caller, trigger, request, out);
        }
    }

    fn context<'a>(
        &'a mut self,
        caller: Caller,
        trigger: usize,
        generation: u64,
        observed_by_hpa: bool,
        workload: &'a Workload,
    ) -> Option<ReadContext<'a>> {
        let current = self.scalers.is_current(generation);
        let trigger = self.object.spec.triggers.get(trigger)?;
        let stored = match caller {
            Caller::Poll if observed_by_hpa => Stored::Finished(&self.records),
            Caller::Hpa if trigger.use_cached_metrics => Stored::Raw(&self.records),
            _ => Stored::None,
        };
        let fallback = self.object.spec.fallback.as_ref();
        Some(ReadContext {
            trigger,
            fallback,
            workload,
            health: &mut self.health,
            stored,
            current,
        })
    }
}
