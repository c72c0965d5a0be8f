//! The jumps beside plain steps.

use std::borrow::Cow;

use proptest::prelude::*;
use rheostat_reading::Seconds;

use super::*;
use crate::stepping::Stepping;
use crate::time::SECOND;

/// Plays `jobs` through a server, with looks in between that must not change anything; gives what ended, how
/// often a sequence was thrown out and how often the server was called.
fn play<S: Server>(server: &mut S, jobs: &[Job], looks: Picoseconds) -> (Vec<Finished>, u64, u64) {
    let (mut finished, mut preemptions, mut steps) = (Vec::new(), 0, 0);
    let mut outcome = Outcome {
        meter: None,
        finished: &mut finished,
        preemptions: &mut preemptions,
    };
    let mut jobs = jobs.iter().copied().peekable();
    let mut look = looks;
    loop {
        let due = server.next();
        let arrival = jobs.peek().map(|job| job.arrived);
        let Some(next) = due.into_iter().chain(arrival).min() else {
            break;
        };
        if looks > 0 && look < next {
            server.settle(look, &mut outcome);
            look += looks;
        } else if arrival == Some(next) {
            let job = jobs.next().unwrap();
            server.submit(next, job);
        } else {
            server.step(next, &mut outcome);
            steps += 1;
        }
    }
    assert_eq!((server.in_flight(), server.kv_tokens()), (0, 0));
    (finished, preemptions, steps)
}

/// By jumps: what ended, how many iterations there were, how often a sequence was thrown out, how many jumps.
fn jump(engine: &EngineModel, jobs: &[Job], looks: Picoseconds) -> (Vec<Finished>, u64, u64, u64) {
    let mut batch = Batch::new(engine);
    let (finished, preemptions, spans) = play(&mut batch, jobs, looks);
    assert_eq!((batch.blocks.used, batch.held), (0, 0));
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
        let mut stepping = Stepping::new(&engine);
        let (one_by_one, thrown_out, _) = play(&mut stepping, &jobs, 0);
        let (finished, iterations, preemptions, spans) = jump(&engine, &jobs, looks);
        prop_assert_eq!(finished.len(), jobs.len());
        prop_assert_eq!(sorted(finished), sorted(one_by_one));
        prop_assert_eq!(iterations, stepping.iterations());
        prop_assert_eq!(preemptions, thrown_out);
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
