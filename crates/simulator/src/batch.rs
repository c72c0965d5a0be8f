use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use crate::engine::{Costs, EngineModel};
use crate::server::{Finished, Job, Outcome, Server, Unfinished};
use crate::span::Span;
use crate::time::Picoseconds;

/// Continuous batching, iteration by iteration, in closed form from one event to the next.
///
/// As vLLM's scheduler does it: at the end of each iteration the next is put together. Every decoding
/// sequence gets a token; what remains of `max_batched_tokens` reads prompts, first come, first served, the
/// last of them in part. A prompt is begun when a sequence is free and its blocks fit the KV cache. The
/// iteration that reads the end of a prompt gives the first token. Where the KV cache has no block for the
/// next token, the sequence that was begun last goes back to the head of the queue and loses its blocks;
/// later its prompt and its tokens so far are read again.
///
/// While nothing comes, ends, is read or thrown out, iterations differ only by the tokens that they attend
/// to, so that they are one [`Span`].
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    costs: Costs,
    max_sequences: usize,
    max_batched_tokens: u64,
    blocks: Blocks,
    queue: VecDeque<Waiting>,
    /// By when they were begun.
    running: BTreeMap<u64, Sequence>,
    begun: u64,
    /// The iteration after which each decoding sequence ends; some are there no more.
    endings: BinaryHeap<Reverse<(u64, u64)>>,
    /// Iterations so far.
    iteration: u64,
    decoding: u64,
    /// Tokens of decoding sequences in the KV cache.
    held: u64,
    /// The sequence whose prompt is read in part, and what is left of it.
    partial: Option<(u64, u32)>,
    /// Sequences whose prompts end with this iteration.
    ripe: Vec<u64>,
    /// Prompt tokens that this iteration reads.
    prefill: u64,
    span: Option<Span>,
    /// A first iteration is to be put together at this time.
    wake: Option<Picoseconds>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    job: Job,
    /// Of one that was thrown out: when it had its first token.
    first: Option<Picoseconds>,
    /// Tokens that it has already.
    tokens: u32,
}

#[derive(Clone, Copy, Debug)]
struct Sequence {
    job: Job,
    first: Option<Picoseconds>,
    /// Tokens that it had when it was begun.
    tokens: u32,
    /// Tokens to read before it decodes.
    read: u32,
    /// The iteration after which it began to decode; `None` while its prompt is read.
    since: Option<u64>,
}

/// Blocks of the KV cache.
///
/// A decoding sequence takes a block each `size` iterations. In which of them is fixed when it begins to
/// decode, so it is enough to count sequences by that.
#[derive(Clone, Debug)]
struct Blocks {
    size: u64,
    total: u64,
    used: u64,
    /// Decoding sequences by (tokens - iteration) mod size.
    phases: Vec<u64>,
}

impl Server for Batch {
    fn new(engine: &EngineModel) -> Self {
        let size = u64::from(engine.block_tokens);
        Self {
            costs: engine.costs(),
            max_sequences: engine.max_sequences as usize,
            max_batched_tokens: u64::from(engine.max_batched_tokens),
            blocks: Blocks {
                size,
                total: u64::from(engine.kv_tokens) / size,
                used: 0,
                phases: vec![0; engine.block_tokens as usize],
            },
            queue: VecDeque::new(),
            running: BTreeMap::new(),
            begun: 0,
            endings: BinaryHeap::new(),
            iteration: 0,
            decoding: 0,
            held: 0,
            partial: None,
            ripe: Vec::new(),
            prefill: 0,
            span: None,
            wake: None,
        }
    }

    fn fits(&self, job: Job) -> bool {
        self.blocks.of(u64::from(job.prompt) + u64::from(job.output)) <= self.blocks.total
    }

    fn submit(&mut self, now: Picoseconds, job: Job) {
        let first_in_line = self.queue.is_empty();
        self.queue.push_back(Waiting {
            job,
            first: None,
            tokens: 0,
        });
        match &mut self.span {
            None => self.wake = Some(now),
            Some(span) if first_in_line && self.running.len() < self.max_sequences => span.end_after(now),
            Some(_) => {}
        }
    }

    fn next(&self) -> Option<Picoseconds> {
        self.span.as_ref().map(Span::end).or(self.wake)
    }

    fn step(&mut self, now: Picoseconds, outcome: &mut Outcome<'_>) {
        self.wake = None;
        if let Some(span) = self.span.take() {
            self.advance(&span, outcome);
            self.complete(now, outcome);
        }
        self.schedule(now, outcome);
    }

    fn settle(&mut self, now: Picoseconds, outcome: &mut Outcome<'_>) {
        if let Some(span) = &mut self.span
            && let Some(done) = span.split(now)
        {
            self.advance(&done, outcome);
        }
    }

    fn waiting(&self) -> u32 {
        self.queue.len() as u32
    }

    fn running(&self) -> u32 {
        self.running.len() as u32
    }

    fn kv_tokens(&self) -> u64 {
        self.blocks.used * self.blocks.size
    }

    fn take(&mut self) -> Vec<Unfinished> {
        let iteration = self.iteration;
        let running = self.running.values().map(|sequence| Unfinished {
            job: sequence.job,
            first: sequence.first,
            tokens: sequence.has(iteration),
        });
        let waiting = self.queue.iter().map(|waiting| Unfinished {
            job: waiting.job,
            first: waiting.first,
            tokens: waiting.tokens,
        });
        let all = running.chain(waiting).collect();
        self.queue.clear();
        self.running.clear();
        self.endings.clear();
        self.blocks.clear();
        self.ripe.clear();
        (self.decoding, self.held, self.prefill) = (0, 0, 0);
        (self.partial, self.span, self.wake) = (None, None, None);
        all
    }
}

impl Batch {
    /// Counts the iterations of `done`.
    fn advance(&mut self, done: &Span, outcome: &mut Outcome<'_>) {
        self.blocks.used += self.blocks.wanted(self.iteration, done.count);
        self.iteration += done.count;
        self.held += self.decoding * done.count;
        if let Some(meter) = &mut outcome.meter
            && self.decoding > 0
        {
            done.gaps(|at, gap, iterations| meter.tokens(at, gap, iterations * self.decoding));
        }
    }

    /// What an iteration that is over gives: first tokens, last tokens.
    fn complete(&mut self, now: Picoseconds, outcome: &mut Outcome<'_>) {
        if self.prefill > 0 {
            if let Some(meter) = &mut outcome.meter {
                meter.prefilled(now, self.prefill);
            }
            self.prefill = 0;
        }
        // Sequences that end do so before others begin to decode: those begin with the next iteration.
        while let Some(&Reverse((ending, begun))) = self.endings.peek()
            && ending <= self.iteration
        {
            self.endings.pop();
            if let Some(sequence) = self.running.remove(&begun) {
                self.release(&sequence);
                finish(&sequence, now, outcome);
            }
        }
        for begun in std::mem::take(&mut self.ripe) {
            let Some(sequence) = self.running.get_mut(&begun) else {
                continue;
            };
            if let Some(meter) = &mut outcome.meter {
                meter.generated(now, 1);
                if sequence.first.is_none() {
                    meter.first_token(now, now - sequence.job.arrived);
                }
            }
            sequence.first = sequence.first.or(Some(now));
            sequence.since = Some(self.iteration);
            let left = sequence.job.output - sequence.tokens - 1;
            let (sequence, read) = (*sequence, u64::from(sequence.read));
            self.decoding += 1;
            self.held += read;
            self.blocks.add(read, self.iteration);
            if left == 0 {
                self.running.remove(&begun);
                self.release(&sequence);
                finish(&sequence, now, outcome);
            } else {
                self.endings
                    .push(Reverse((self.iteration + u64::from(left), begun)));
            }
        }
    }

    /// Puts the next iterations together, if there is anything to do.
    fn schedule(&mut self, now: Picoseconds, outcome: &mut Outcome<'_>) {
        let preempted = self.make_room(now, outcome);
        let mut budget = self.max_batched_tokens - self.decoding;
        if let Some((begun, left)) = self.partial.take() {
            budget -= self.read(begun, left, budget);
        }
        while !preempted
            && self.partial.is_none()
            && budget > 0
            && self.running.len() < self.max_sequences
            && let Some(head) = self.queue.front().copied()
        {
            let read = head.job.prompt + head.tokens;
            let blocks = self.blocks.of(u64::from(read));
            if blocks + self.blocks.wanted(self.iteration, 1) > self.blocks.free() {
                break;
            }
            self.queue.pop_front();
            self.blocks.used += blocks;
            let begun = self.begun;
            self.begun += 1;
            self.running.insert(
                begun,
                Sequence {
                    job: head.job,
                    first: head.first,
                    tokens: head.tokens,
                    read,
                    since: None,
                },
            );
            budget -= self.read(begun, read, budget);
        }
        if self.prefill == 0 && self.decoding == 0 {
            return;
        }
        let count = if self.prefill > 0 {
            1
        } else {
            self.iterations_alike()
        };
        self.span = Some(Span {
            start: now,
            first: self
                .costs
                .iteration(self.prefill, self.decoding, self.held + self.decoding),
            growth: self.costs.kv_token * self.decoding,
            count,
        });
    }

    /// Reads as much of a prompt as `budget` allows, and says how much that is.
    fn read(&mut self, begun: u64, left: u32, budget: u64) -> u64 {
        let now = u64::from(left).min(budget);
        self.prefill += now;
        if now == u64::from(left) {
            self.ripe.push(begun);
        } else {
            self.partial = Some((begun, left - now as u32));
        }
        now
    }

    /// Throws sequences out until the others have a block for their next token.
    fn make_room(&mut self, now: Picoseconds, outcome: &mut Outcome<'_>) -> bool {
        let mut preempted = false;
        while self.blocks.wanted(self.iteration, 1) > self.blocks.free()
            && let Some((begun, sequence)) = self.running.pop_last()
        {
            preempted = true;
            *outcome.preemptions += 1;
            if let Some(meter) = &mut outcome.meter {
                meter.preempted(now);
            }
            if self.partial.is_some_and(|(partial, _)| partial == begun) {
                self.partial = None;
            }
            self.queue.push_front(Waiting {
                job: sequence.job,
                first: sequence.first,
                tokens: sequence.has(self.iteration),
            });
            self.release(&sequence);
        }
        preempted
    }

    /// How many iterations from now on are put together alike: until the first sequence ends or the KV cache
    /// is full.
    fn iterations_alike(&mut self) -> u64 {
        while let Some(&Reverse((_, begun))) = self.endings.peek()
            && !self.running.contains_key(&begun)
        {
            self.endings.pop();
        }
        let ending = self
            .endings
            .peek()
            .map_or(self.iteration + 1, |ending| ending.0.0);
        self.blocks
            .last(self.iteration, ending - self.iteration, self.decoding)
            .max(1)
    }

    /// Gives back what a sequence held.
    fn release(&mut self, sequence: &Sequence) {
        let held = sequence.held(self.iteration);
        self.blocks.used -= self.blocks.of(held);
        if sequence.since.is_some() {
            self.decoding -= 1;
            self.held -= held;
            self.blocks.remove(held, self.iteration);
        }
    }
}

fn finish(sequence: &Sequence, now: Picoseconds, outcome: &mut Outcome<'_>) {
    let done = Finished {
        job: sequence.job,
        first: sequence.first.unwrap_or(now),
        at: now,
    };
    if let Some(meter) = &mut outcome.meter {
        meter.finished(&done);
    }
    outcome.finished.push(done);
}

impl Sequence {
    /// Tokens of it in the KV cache, or kept for its prompt there.
    fn held(&self, iteration: u64) -> u64 {
        u64::from(self.read) + self.since.map_or(0, |since| iteration - since)
    }

    /// Tokens that were generated for it.
    fn has(&self, iteration: u64) -> u32 {
        self.since
            .map_or(self.tokens, |since| self.tokens + 1 + (iteration - since) as u32)
    }
}

impl Blocks {
    const fn of(&self, tokens: u64) -> u64 {
        tokens.div_ceil(self.size)
    }

    const fn free(&self) -> u64 {
        self.total - self.used
    }

    fn phase(&mut self, tokens: u64, iteration: u64) -> &mut u64 {
        let phase = (tokens % self.size + self.size - iteration % self.size) % self.size;
        &mut self.phases[phase as usize]
    }

    /// A sequence of so many tokens decodes from `iteration` on.
    fn add(&mut self, tokens: u64, iteration: u64) {
        *self.phase(tokens, iteration) += 1;
    }

    fn remove(&mut self, tokens: u64, iteration: u64) {
        *self.phase(tokens, iteration) -= 1;
    }

    /// Blocks that the iteration after `iteration` ones takes: one for each sequence whose blocks are full.
    fn wanted_by(&self, iteration: u64) -> u64 {
        let phase = (self.size - iteration % self.size) % self.size;
        self.phases[phase as usize]
    }

    /// Blocks that the next `count` iterations take.
    fn wanted(&self, iteration: u64, count: u64) -> u64 {
        let rounds = count / self.size;
        let whole = if rounds > 0 {
            rounds * self.phases.iter().sum::<u64>()
        } else {
            0
        };
        let rest = (0..count % self.size).map(|next| self.wanted_by(iteration + next));
        whole + rest.sum::<u64>()
    }

    /// How many of the next `count` iterations have the blocks they take, with `sequences` decoding.
    fn last(&self, iteration: u64, count: u64, sequences: u64) -> u64 {
        let mut free = self.free();
        if sequences == 0 || count.div_ceil(self.size) * sequences <= free {
            return count;
        }
        let rounds = free / sequences;
        let mut last = rounds * self.size;
        free -= rounds * sequences;
        while last < count {
            let wanted = self.wanted_by(iteration + last);
            if wanted > free {
                return last;
            }
            free -= wanted;
            last += 1;
        }
        count
    }

    fn clear(&mut self) {
        self.used = 0;
        self.phases.fill(0);
    }
}

#[cfg(test)]
mod tests;
