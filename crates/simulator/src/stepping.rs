use std::collections::VecDeque;

use crate::engine::{Costs, EngineModel};
use crate::server::{Finished, Job, Outcome, Server, Unfinished};
use crate::time::Picoseconds;

/// Continuous batching, one iteration after the other, without any closed form and with everything counted
/// anew for each: what [`Batch`](crate::batch::Batch) is proved equal to, and what its speed is compared with.
#[derive(Clone, Debug)]
pub(crate) struct Stepping {
    costs: Costs,
    max_sequences: usize,
    max_batched_tokens: u64,
    block: u64,
    blocks: u64,
    queue: VecDeque<Sequence>,
    /// In the order in which they were begun.
    running: Vec<Sequence>,
    iterations: u64,
    /// The iteration that runs.
    iteration: Option<Iteration>,
    /// A first iteration is to be put together at this time.
    wake: Option<Picoseconds>,
}

#[derive(Clone, Copy, Debug)]
struct Sequence {
    job: Job,
    first: Option<Picoseconds>,
    /// Tokens that it has.
    tokens: u32,
    /// Tokens to read, and those of them that are read when the iteration that runs is over.
    read: u32,
    done: u32,
    /// Tokens that it decoded since it was begun.
    decoded: u32,
    /// It gets a token by the iteration that runs, and not by the end of its prompt.
    decodes: bool,
}

#[derive(Clone, Copy, Debug)]
struct Iteration {
    lasts: Picoseconds,
    end: Picoseconds,
    prefill: u64,
}

impl Sequence {
    const fn new(job: Job) -> Self {
        Self {
            job,
            first: None,
            tokens: 0,
            read: job.prompt,
            done: 0,
            decoded: 0,
            decodes: false,
        }
    }

    /// Tokens of it in the KV cache, or kept for its prompt there.
    fn held(&self) -> u64 {
        u64::from(self.read + self.decoded)
    }

    const fn is_read(&self) -> bool {
        self.done == self.read
    }

    const fn unfinished(&self) -> Unfinished {
        Unfinished {
            job: self.job,
            first: self.first,
            tokens: self.tokens,
        }
    }
}

impl Server for Stepping {
    fn new(engine: &EngineModel) -> Self {
        Self {
            costs: engine.costs(),
            max_sequences: engine.max_sequences as usize,
            max_batched_tokens: u64::from(engine.max_batched_tokens),
            block: u64::from(engine.block_tokens),
            blocks: u64::from(engine.kv_tokens / engine.block_tokens),
            queue: VecDeque::new(),
            running: Vec::new(),
            iterations: 0,
            iteration: None,
            wake: None,
        }
    }

    fn fits(&self, job: Job) -> bool {
        (u64::from(job.prompt) + u64::from(job.output)).div_ceil(self.block) <= self.blocks
    }

    fn submit(&mut self, now: Picoseconds, job: Job) {
        self.queue.push_back(Sequence::new(job));
        if self.iteration.is_none() {
            self.wake = Some(now);
        }
    }

    fn next(&self) -> Option<Picoseconds> {
        self.iteration.map(|iteration| iteration.end).or(self.wake)
    }

    fn step(&mut self, now: Picoseconds, outcome: &mut Outcome<'_>) {
        self.wake = None;
        if let Some(iteration) = self.iteration.take() {
            self.complete(&iteration, outcome);
        }
        self.schedule(now, outcome);
    }

    fn settle(&mut self, _now: Picoseconds, _outcome: &mut Outcome<'_>) {}

    fn waiting(&self) -> u32 {
        self.queue.len() as u32
    }

    fn running(&self) -> u32 {
        self.running.len() as u32
    }

    fn kv_tokens(&self) -> u64 {
        (self.blocks - self.free()) * self.block
    }

    fn take(&mut self) -> Vec<Unfinished> {
        (self.iteration, self.wake) = (None, None);
        let all = self.running.drain(..).chain(self.queue.drain(..));
        all.map(|sequence| sequence.unfinished()).collect()
    }
}

impl Stepping {
    /// Iterations that are over.
    #[cfg(test)]
    pub(crate) const fn iterations(&self) -> u64 {
        self.iterations
    }

    fn free(&self) -> u64 {
        let blocks = self
            .running
            .iter()
            .map(|sequence| sequence.held().div_ceil(self.block));
        self.blocks - blocks.sum::<u64>()
    }

    /// Blocks that the next token of each of those that decode takes.
    fn wanted(&self, decodes: impl Fn(&Sequence) -> bool) -> u64 {
        let full = |sequence: &&Sequence| decodes(sequence) && sequence.held().is_multiple_of(self.block);
        self.running.iter().filter(full).count() as u64
    }

    /// What an iteration that is over gives.
    fn complete(&mut self, iteration: &Iteration, outcome: &mut Outcome<'_>) {
        self.iterations += 1;
        let now = iteration.end;
        let mut decoded = 0;
        for sequence in &mut self.running {
            if sequence.decodes {
                sequence.decoded += 1;
                sequence.tokens += 1;
                decoded += 1;
            } else if sequence.is_read() {
                sequence.tokens += 1;
                if let Some(meter) = &mut outcome.meter {
                    meter.generated(now, 1);
                    if sequence.first.is_none() {
                        meter.first_token(now, now - sequence.job.arrived);
                    }
                }
                sequence.first = sequence.first.or(Some(now));
            }
        }
        if let Some(meter) = &mut outcome.meter {
            if iteration.prefill > 0 {
                meter.prefilled(now, iteration.prefill);
            }
            if decoded > 0 {
                meter.tokens(now, iteration.lasts, decoded);
            }
        }
        self.running.retain(|sequence| {
            if sequence.tokens < sequence.job.output {
                return true;
            }
            let done = Finished {
                job: sequence.job,
                first: sequence.first.unwrap_or(now),
                at: now,
            };
            if let Some(meter) = &mut outcome.meter {
                meter.finished(&done);
            }
            outcome.finished.push(done);
            false
        });
    }

    /// Puts the next iteration together, if there is anything to do.
    fn schedule(&mut self, now: Picoseconds, outcome: &mut Outcome<'_>) {
        let mut preempted = false;
        while self.wanted(Sequence::is_read) > self.free()
            && let Some(sequence) = self.running.pop()
        {
            preempted = true;
            *outcome.preemptions += 1;
            if let Some(meter) = &mut outcome.meter {
                meter.preempted(now);
            }
            self.queue.push_front(Sequence {
                read: sequence.job.prompt + sequence.tokens,
                done: 0,
                decoded: 0,
                ..sequence
            });
        }
        let (mut sequences, mut attended, mut prefill) = (0, 0, 0);
        for sequence in &mut self.running {
            sequence.decodes = sequence.is_read();
            if sequence.decodes {
                sequences += 1;
                attended += sequence.held() + 1;
            }
        }
        let mut budget = self.max_batched_tokens - sequences;
        let mut read = |sequence: &mut Sequence, budget: &mut u64| {
            let tokens = u64::from(sequence.read - sequence.done).min(*budget);
            sequence.done += tokens as u32;
            *budget -= tokens;
            prefill += tokens;
        };
        for sequence in self.running.iter_mut().filter(|sequence| !sequence.decodes) {
            read(sequence, &mut budget);
        }
        let wanted = self.wanted(|sequence| sequence.decodes);
        while !preempted
            && budget > 0
            && self.running.len() < self.max_sequences
            && self.running.iter().all(Sequence::is_read)
            && let Some(head) = self.queue.front()
            && u64::from(head.read).div_ceil(self.block) + wanted <= self.free()
            && let Some(mut sequence) = self.queue.pop_front()
        {
            sequence.decodes = false;
            read(&mut sequence, &mut budget);
            self.running.push(sequence);
        }
        if prefill == 0 && sequences == 0 {
            return;
        }
        let lasts = self.costs.iteration(prefill, sequences, attended);
        self.iteration = Some(Iteration {
            lasts,
            end: now + lasts,
            prefill,
        });
    }
}
