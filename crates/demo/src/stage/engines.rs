use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Context as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use rheostat_promtext::Item;
use rheostat_reading::{Clock, Seconds, Timestamp};
use rheostat_simulator::EngineModel;
use rheostat_testkit::engine::{
    EngineOptions, IterationTime, Misbehaviour, MockEngine, ModelSettings, Occupancy, Request,
};

use crate::score::FIRST_TOKEN;
use crate::story::{ASSIST, LLM};
use crate::world::{AGAIN, Batch, World, uniform};

/// The engines in llm's and assist's pods: each a mock vLLM with an HTTP port of its own, from when its pod is
/// ready until it is gone.
pub(crate) struct EngineStage {
    clock: Clock,
    engines: BTreeMap<String, Running>,
    served: [Served; 2],
    random: ChaCha8Rng,
}

/// What became of a workload's requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Served {
    /// Position of the workload.
    pub(crate) workload: usize,
    /// All that were handed to an engine, the first time.
    pub(crate) requests: Vec<Handed>,
    /// So many at least had their first token in time.
    pub(crate) in_time: u64,
}

/// A request that was handed to an engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Handed {
    /// When it came, which may be long before that.
    pub(crate) came: f64,
    pub(crate) prompt_tokens: u32,
    pub(crate) output_tokens: u32,
}

struct Running {
    workload: usize,
    engine: MockEngine,
    /// Requests that it was handed too late already.
    late: u64,
    node: String,
    /// Since when it should answer; `None` while it hangs.
    well_since: Option<Timestamp>,
}

/// An engine that an agent should have heard.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expected {
    /// The node of its pod.
    pub(crate) node: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Since when.
    pub(crate) since: Timestamp,
}

/// Tokens of a prompt.
const PROMPT: u32 = 200;

/// Tokens of an answer: so many on average, and up to half as many more or less.
const ANSWER: f64 = 100.0;

impl EngineStage {
    /// No engines yet, on `clock`; answers are as long as `seed` has it.
    pub(crate) fn new(clock: Clock, seed: u64) -> Self {
        Self {
            clock,
            engines: BTreeMap::new(),
            served: [LLM, ASSIST].map(|workload| Served {
                workload,
                ..Served::default()
            }),
            random: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Lets the pods have their engines, tells the world how full these are, and hands them the
    /// requests that have come since.
    ///
    /// # Errors
    ///
    /// An engine cannot start.
    pub(crate) async fn show(&mut self, world: &mut World) -> anyhow::Result<()> {
        for workload in [LLM, ASSIST] {
            self.end(world, workload);
            self.begin(world, workload).await?;
        }
        for (pod, running) in &self.engines {
            world.observe(running.workload, pod, running.batch());
        }
        self.hand_out(world, LLM)?;
        self.hand_out(world, ASSIST)
    }

    /// What became of the requests so far.
    pub(crate) fn served(&self) -> [Served; 2] {
        let mut all = self.served.clone();
        for served in &mut all {
            let running = self
                .engines
                .values()
                .filter(|one| one.workload == served.workload);
            served.in_time += running.map(Running::in_time).sum::<u64>();
        }
        all
    }

    /// The port of the engine in `pod`.
    pub(crate) fn port(&self, pod: &str) -> Option<u16> {
        Some(self.engines.get(pod)?.engine.address().port())
    }

    /// The engines of pods that are to stay and do not hang.
    pub(crate) fn expected(&self, world: &World) -> Vec<Expected> {
        let workloads = [LLM, ASSIST].map(|workload| world.workloads()[workload].pods());
        let running = workloads
            .into_iter()
            .flatten()
            .filter(|pod| pod.works())
            .filter_map(|pod| self.engines.get(&pod.name));
        let expected = running.filter_map(|running| {
            Some(Expected {
                node: running.node.clone(),
                address: running.engine.address(),
                since: running.well_since?,
            })
        });
        expected.collect()
    }

    /// The engine of `pod` takes connections from now on and answers none; its batch stands still.
    ///
    /// # Errors
    ///
    /// It has stopped.
    pub(crate) async fn hang(&mut self, pod: &str) -> anyhow::Result<()> {
        if let Some(running) = self.engines.get_mut(pod) {
            running.well_since = None;
            running.engine.misbehave(Misbehaviour::Hang).await?;
            running.engine.sleep();
        }
        Ok(())
    }

    /// The engine of `pod` dies and comes back well; its clients ask again.
    ///
    /// # Errors
    ///
    /// It cannot listen.
    pub(crate) async fn restart(&mut self, pod: &str, world: &mut World) -> anyhow::Result<()> {
        if let Some(running) = self.engines.get_mut(pod) {
            world.send_again(running.workload, running.in_flight());
            self.served[place(running.workload)].in_time += running.in_time();
            running.late = 0;
            // First the restart: whoever waits for an answer of before gets none.
            running.engine.restart().await?;
            running.engine.misbehave(Misbehaviour::None).await?;
            running.well_since = Some(self.clock.now());
            world.observe(running.workload, pod, running.batch());
        }
        Ok(())
    }

    /// Ends the engines of pods that are gone or broken; their clients ask again.
    fn end(&mut self, world: &mut World, workload: usize) {
        let pods = world.workloads()[workload].pods().iter();
        let alive: Vec<String> = pods
            .filter(|pod| pod.works() || pod.is_terminating())
            .map(|pod| pod.name.clone())
            .collect();
        let ended = self.engines.extract_if(.., |pod, running| {
            running.workload == workload && !alive.contains(pod)
        });
        let served = &mut self.served[place(workload)];
        let mut lost = 0;
        for (_, running) in ended {
            served.in_time += running.in_time();
            lost += running.in_flight();
        }
        world.send_again(workload, lost);
    }

    async fn begin(&mut self, world: &World, workload: usize) -> anyhow::Result<()> {
        for pod in world.workloads()[workload]
            .pods()
            .iter()
            .filter(|pod| pod.works())
        {
            let (false, Some(gpu)) = (self.engines.contains_key(&pod.name), pod.gpu) else {
                continue;
            };
            let options = EngineOptions {
                model: model(),
                clock: self.clock.clone(),
                ..EngineOptions::default()
            };
            let engine = MockEngine::start(options).await;
            let running = Running {
                workload,
                late: 0,
                engine: engine.with_context(|| format!("the engine of {}", pod.name))?,
                node: world.nodes()[gpu.node].name.clone(),
                well_since: Some(self.clock.now()),
            };
            self.engines.insert(pod.name.clone(), running);
        }
        Ok(())
    }

    /// Each request goes where fewest are, as balancers have it that count what is under way: one
    /// that hangs gets its part too. While nobody serves, requests stay outside.
    fn hand_out(&mut self, world: &mut World, workload: usize) -> anyhow::Result<()> {
        let now = world.now();
        let pods = world.workloads()[workload].pods().iter();
        let serving: Vec<&str> = pods
            .filter(|pod| pod.works())
            .map(|pod| pod.name.as_str())
            .collect();
        let engines = self.engines.iter_mut();
        let mut loads: Vec<(u64, &mut Running)> = engines
            .filter(|(pod, _)| serving.contains(&pod.as_str()))
            .map(|(_, running)| (running.in_flight(), running))
            .collect();
        if loads.is_empty() {
            return Ok(());
        }
        for came in world.take_requests(workload) {
            let Some((load, running)) = loads.iter_mut().min_by_key(|(load, _)| *load) else {
                return Ok(());
            };
            let length = (ANSWER * (0.5 + uniform(&mut self.random))).round() as u32;
            running.engine.submit(Request {
                prompt_tokens: PROMPT,
                output_tokens: length,
                ..Request::default()
            })?;
            running.late += u64::from(now - came > FIRST_TOKEN.as_secs_f64());
            if came > AGAIN {
                self.served[place(workload)].requests.push(Handed {
                    came,
                    prompt_tokens: PROMPT,
                    output_tokens: length,
                });
            }
            *load += 1;
        }
        Ok(())
    }
}

/// Where a workload's requests are counted.
const fn place(workload: usize) -> usize {
    if workload == LLM { 0 } else { 1 }
}

impl Running {
    fn batch(&self) -> Batch {
        let each = self.engine.occupancy();
        let sum = |count: fn(&Occupancy) -> usize| each.iter().map(count).sum();
        Batch {
            waiting: sum(|one| one.waiting),
            running: sum(|one| one.running),
            stuck: each.iter().any(|one| one.asleep),
        }
    }

    fn in_flight(&self) -> u64 {
        self.batch().in_flight()
    }

    /// Requests that had their first token in time, by its page; less those that were late when they came to it,
    /// whatever became of them here.
    fn in_time(&self) -> u64 {
        let page = self.engine.page().unwrap_or_default();
        first_tokens_within(&page, FIRST_TOKEN.as_secs_f64()).saturating_sub(self.late)
    }
}

/// The bucket of first tokens that came within `seconds`.
fn first_tokens_within(page: &str, seconds: f64) -> u64 {
    let samples = rheostat_promtext::parse(page.as_bytes()).filter_map(|item| match item {
        Ok(Item::Sample(sample)) if sample.name == "vllm:time_to_first_token_seconds_bucket" => Some(sample),
        _ => None,
    });
    let bound = |text: &str| {
        text.parse::<f64>()
            .is_ok_and(|bound| (bound - seconds).abs() < 1e-9)
    };
    let counts = samples
        .filter(|sample| sample.labels.get("le").is_some_and(|text| bound(&text)))
        .map(|sample| sample.value);
    counts.sum::<f64>() as u64
}

/// The same engine as the bound on what must be spent takes it.
pub(crate) fn engine_model() -> EngineModel {
    let model = model();
    let time = model.iteration;
    let blocks = model.blocks.saturating_mul(model.block_size);
    EngineModel {
        name: "demo".into(),
        hardware: "".into(),
        gpus: 1,
        base: Seconds(time.base),
        per_prefill_token: Seconds(time.per_prefill_token),
        per_decode_sequence: Seconds(time.per_decode_sequence),
        per_kv_token: Seconds(time.per_context_token),
        max_sequences: u32::try_from(model.max_sequences).unwrap_or(u32::MAX),
        max_batched_tokens: model.max_batched_tokens,
        kv_tokens: blocks,
        block_tokens: model.block_size,
    }
}

/// A large model on one GPU: 48 requests at once, about 10 s for each. Its iterations take far
/// longer than those of the presets, so that computing them costs the demo little.
fn model() -> ModelSettings {
    ModelSettings {
        max_sequences: 48,
        blocks: 2_000,
        iteration: IterationTime {
            base: 0.1,
            per_decode_sequence: 1e-3,
            ..IterationTime::H100_8B
        },
        ..ModelSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engines_page_tells_which_first_tokens_were_in_time() {
        let start = Timestamp::from_unix_nanos(1_767_603_600_000_000_000);
        let (clock, hand) = Clock::manual(start);
        let options = EngineOptions {
            model: model(),
            clock,
            ..EngineOptions::default()
        };
        let engine = MockEngine::start(options).await.unwrap();
        // Two batches' worth: those of the second wait for the first to end, for ten seconds.
        for _ in 0..2 * model().max_sequences {
            let request = Request {
                prompt_tokens: PROMPT,
                output_tokens: 100,
                ..Request::default()
            };
            engine.submit(request).unwrap();
        }
        hand.set(start.plus(std::time::Duration::from_secs(60)));
        let _ = engine.occupancy();
        let page = engine.page().unwrap();
        assert_eq!(first_tokens_within(&page, 5.0), model().max_sequences as u64);
    }
}
