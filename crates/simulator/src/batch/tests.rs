//! The jumps beside plain steps: an engine that does every iteration by itself and counts everything anew.

use std::borrow::Cow;

use proptest::prelude::*;
use rheostat_reading::Seconds;

use super::*;
use crate::time::SECOND;

/// One iteration after the other, without any closed form.
struct Reference {
    costs: Costs,
    max_sequences: usize,
    budget: u64,
    block: u64,
    blocks: u64,
    now: Picoseconds,
    iterations: u64,
    queue: VecDeque<Step>,
    /// In the order in which they were begun.
    running: Vec<Step>,
    finished: Vec<Finished>,
    preemptions: u64,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    job: Job,
    first: Option<Picoseconds>,
    /// Tokens that it has.
    tokens: u32,
    /// Tokens to read, and those of them that are read.
    read: u32,
    done: u32,
    /// Tokens that it decoded since it was begun.
    decoded: u32,
}

impl Step {
    fn held(&self) -> u64 {
        u64::from(self.read + self.decoded)
    }

    fn decodes(&self) -> bool {
        self.done == self.read
    }
}

impl Reference {
    fn new(engine: &EngineModel) -> Self {
        Self {
            costs: engine.costs(),
            max_sequences: engine.max_sequences as usize,
            budget: u64::from(engine.max_batched_tokens),
            block: u64::from(engine.block_tokens),
            blocks: u64::from(engine.kv_tokens / engine.block_tokens),
            now: 0,
            iterations: 0,
            queue: VecDeque::new(),
            running: Vec::new(),
            finished: Vec::new(),
            preemptions: 0,
        }
    }

    fn run(&mut self, jobs: &[Job]) {
        let mut jobs = jobs.iter().copied().peekable();
        loop {
            if self.queue.is_empty() && self.running.is_empty() {
                let Some(job) = jobs.peek() else { return };
                self.now = self.now.max(job.arrived);
            }
            while let Some(job) = jobs.next_if(|job| job.arrived <= self.now) {
                self.queue.push_back(Step {
                    job,
                    first: None,
                    tokens: 0,
                    read: job.prompt,
                    done: 0,
                    decoded: 0,
                });
            }
            self.iterate();
        }
    }

    fn free(&self) -> u64 {
        let used: u64 = self
            .running
            .iter()
            .map(|step| step.held().div_ceil(self.block))
            .sum();
        self.blocks - used
    }

    /// Blocks that the next token of each decoding sequence takes.
    fn wanted(&self) -> u64 {
        let full = |step: &&Step| step.decodes() && step.held().is_multiple_of(self.block);
        self.running.iter().filter(full).count() as u64
    }

    fn iterate(&mut self) {
        let mut preempted = false;
        while self.wanted() > self.free() {
            let step = self.running.pop().unwrap();
            self.preemptions += 1;
            preempted = true;
            self.queue.push_front(Step {
                read: step.job.prompt + step.tokens,
                done: 0,
                decoded: 0,
                ..step
            });
        }
        let decoding: Vec<bool> = self.running.iter().map(Step::decodes).collect();
        let mut budget = self.budget - decoding.iter().filter(|decodes| **decodes).count() as u64;
        let mut prefill = 0;
        let mut read = |step: &mut Step, budget: &mut u64| {
            let tokens = u64::from(step.read - step.done).min(*budget);
            step.done += tokens as u32;
            *budget -= tokens;
            prefill += tokens;
        };
        for (step, _) in self
            .running
            .iter_mut()
            .zip(&decoding)
            .filter(|(_, decodes)| !**decodes)
        {
            read(step, &mut budget);
        }
        let wanted: u64 = self
            .running
            .iter()
            .zip(&decoding)
            .filter(|(step, decodes)| **decodes && step.held().is_multiple_of(self.block))
            .count() as u64;
        while !preempted
            && budget > 0
            && self.running.len() < self.max_sequences
            && self.running.iter().all(Step::decodes)
            && let Some(head) = self.queue.front()
            && u64::from(head.read).div_ceil(self.block) + wanted <= self.free()
        {
            let mut step = self.queue.pop_front().unwrap();
            read(&mut step, &mut budget);
            self.running.push(step);
        }
        let (mut sequences, mut attended) = (0, 0);
        for (step, _) in self
            .running
            .iter()
            .zip(&decoding)
            .filter(|(_, decodes)| **decodes)
        {
            sequences += 1;
            attended += step.held() + 1;
        }
        self.now += self.costs.iteration(prefill, sequences, attended);
        self.iterations += 1;
        for (place, step) in self.running.iter_mut().enumerate() {
            if decoding.get(place) == Some(&true) {
                step.decoded += 1;
                step.tokens += 1;
            } else if step.decodes() {
                step.tokens += 1;
                step.first = step.first.or(Some(self.now));
            }
        }
        let now = self.now;
        let finished = &mut self.finished;
        self.running.retain(|step| {
            let done = step.tokens == step.job.output;
            if done {
                finished.push(Finished {
                    job: step.job,
                    first: step.first.unwrap(),
                    at: now,
                });
            }
            !done
        });
    }
}

/// The same through [`Batch`], with looks in between that must not change anything.
fn jump(engine: &EngineModel, jobs: &[Job], looks: Picoseconds) -> (Vec<Finished>, u64, u64, u64) {
    let mut batch = Batch::new(engine);
    let (mut finished, mut preemptions, mut spans) = (Vec::new(), 0, 0);
    let mut outcome = Outcome {
        meter: None,
        finished: &mut finished,
        preemptions: &mut preemptions,
    };
    let mut jobs = jobs.iter().copied().peekable();
    let mut look = looks;
    loop {
        let due = batch.next();
        let arrival = jobs.peek().map(|job| job.arrived);
        let Some(next) = due.into_iter().chain(arrival).min() else {
            break;
        };
        if looks > 0 && look < next {
            batch.settle(look, &mut outcome);
            look += looks;
        } else if arrival == Some(next) {
            let job = jobs.next().unwrap();
            batch.submit(next, job);
        } else {
            batch.step(next, &mut outcome);
            spans += 1;
        }
    }
    assert_eq!((batch.in_flight(), batch.blocks.used, batch.held), (0, 0, 0));
    assert!(batch.blocks.phases.iter().all(|phase| *phase == 0));
    (finished, batch.iteration, preemptions, spans)
}

fn engine(
    max_sequences: u32,
    batched: u32,
    kv_blocks: u32,
    block_tokens: u32,
    cost: (u64, u64),
) -> EngineModel {
    EngineModel {
        name: Cow::Borrowed("test"),
        hardware: Cow::Borrowed("none"),
        gpus: 1,
        base: Seconds(cost.0 as f64 * 1e-6),
        per_prefill_token: Seconds(31e-6),
        per_decode_sequence: Seconds(17e-6),
        per_kv_token: Seconds(cost.1 as f64 * 1e-9),
        max_sequences,
        max_batched_tokens: batched.max(max_sequences),
        kv_tokens: kv_blocks * block_tokens,
        block_tokens,
    }
}

fn sorted(mut finished: Vec<Finished>) -> Vec<Finished> {
    finished.sort_by_key(|done| {
        (
            done.at,
            done.first,
            done.job.arrived,
            done.job.prompt,
            done.job.output,
        )
    });
    finished
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Not nearly: every first and last token at the very same picosecond, after as many iterations.
    #[test]
    fn jumping_is_stepping(
        lengths in prop::collection::vec((0_u64..400_000, 1_u32..300, 1_u32..200), 1..60),
        max_sequences in 1_u32..20,
        batched in 1_u32..200,
        spare in 0_u32..60,
        block_tokens in prop::sample::select(vec![1_u32, 3, 16]),
        cost in (100_u64..20_000, 0_u64..3000),
        looks in prop::sample::select(vec![0, SECOND / 100, SECOND / 3]),
    ) {
        let mut arrived = 0;
        let jobs: Vec<Job> = lengths
            .iter()
            .map(|(gap, prompt, output)| {
                arrived += gap * 1_000_003;
                Job { arrived, prompt: *prompt, output: *output }
            })
            .collect();
        let largest = jobs.iter().map(|job| job.prompt + job.output).max().unwrap();
        let kv_blocks = largest.div_ceil(block_tokens) + spare;
        let engine = engine(max_sequences, batched, kv_blocks, block_tokens, cost);
        let mut reference = Reference::new(&engine);
        reference.run(&jobs);
        let (finished, iterations, preemptions, spans) = jump(&engine, &jobs, looks);
        prop_assert_eq!(finished.len(), jobs.len());
        prop_assert_eq!(sorted(finished), sorted(reference.finished));
        prop_assert_eq!(iterations, reference.iterations);
        prop_assert_eq!(preemptions, reference.preemptions);
        prop_assert!(spans <= iterations + jobs.len() as u64);
    }
}

#[test]
fn a_full_kv_cache_throws_the_youngest_out_and_everybody_still_ends() {
    let engine = engine(8, 256, 20, 16, (1000, 100));
    let jobs: Vec<Job> = (0..8)
        .map(|number| Job {
            arrived: number * 1000,
            prompt: 64,
            output: 150,
        })
        .collect();
    let (finished, _, preemptions, _) = jump(&engine, &jobs, 0);
    assert!(preemptions > 3, "{preemptions}");
    assert_eq!(finished.len(), 8);
    let order: Vec<_> = finished.iter().map(|done| done.job.arrived).collect();
    assert!(order.is_sorted(), "first come, first served: {order:?}");
}

#[test]
fn hundreds_of_iterations_are_one_jump() {
    let engine = EngineModel::named("llama-3.1-8b-h100").unwrap();
    let job = Job {
        arrived: 0,
        prompt: 512,
        output: 512,
    };
    let (_, iterations, _, spans) = jump(&engine, &[job], 0);
    assert_eq!((iterations, spans), (512, 3), "wake, prompt, answer");
}
