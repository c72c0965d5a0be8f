use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Context as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use rheostat_reading::{Clock, Timestamp};
use rheostat_testkit::engine::{
    EngineOptions, IterationTime, Misbehaviour, MockEngine, ModelSettings, Occupancy, Request,
};

use crate::story::LLM;
use crate::world::{Batch, World, uniform};

/// The engines in llm's pods: each a mock vLLM with an HTTP port of its own, from when its pod is
/// ready until it is gone.
pub(crate) struct EngineStage {
    clock: Clock,
    engines: BTreeMap<String, Running>,
    random: ChaCha8Rng,
}

struct Running {
    engine: MockEngine,
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
            random: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Lets llm's pods have their engines, tells the world how full these are, and hands them the
    /// requests that have come since.
    ///
    /// # Errors
    ///
    /// An engine cannot start.
    pub(crate) async fn show(&mut self, world: &mut World) -> anyhow::Result<()> {
        self.end(world);
        self.begin(world).await?;
        for (pod, running) in &self.engines {
            world.observe(LLM, pod, running.batch());
        }
        self.hand_out(world)
    }

    /// The port of the engine in `pod`.
    pub(crate) fn port(&self, pod: &str) -> Option<u16> {
        Some(self.engines.get(pod)?.engine.address().port())
    }

    /// The engines of pods that are to stay and do not hang.
    pub(crate) fn expected(&self, world: &World) -> Vec<Expected> {
        let pods = world.workloads()[LLM].pods().iter();
        let running = pods
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
            world.send_again(LLM, running.in_flight());
            // First the restart: whoever waits for an answer of before gets none.
            running.engine.restart().await?;
            running.engine.misbehave(Misbehaviour::None).await?;
            running.well_since = Some(self.clock.now());
            world.observe(LLM, pod, running.batch());
        }
        Ok(())
    }

    /// Ends the engines of pods that are gone or broken; their clients ask again.
    fn end(&mut self, world: &mut World) {
        let pods = world.workloads()[LLM].pods().iter();
        let alive: Vec<String> = pods
            .filter(|pod| pod.works() || pod.is_terminating())
            .map(|pod| pod.name.clone())
            .collect();
        let ended = self.engines.extract_if(.., |pod, _| !alive.contains(pod));
        let lost: u64 = ended.map(|(_, running)| running.in_flight()).sum();
        world.send_again(LLM, lost);
    }

    async fn begin(&mut self, world: &World) -> anyhow::Result<()> {
        for pod in world.workloads()[LLM].pods().iter().filter(|pod| pod.works()) {
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
    fn hand_out(&mut self, world: &mut World) -> anyhow::Result<()> {
        let pods = world.workloads()[LLM].pods().iter();
        let serving = pods
            .filter(|pod| pod.works())
            .filter_map(|pod| self.engines.get(&pod.name));
        let mut loads: Vec<(u64, &MockEngine)> = serving
            .map(|running| (running.in_flight(), &running.engine))
            .collect();
        if loads.is_empty() {
            return Ok(());
        }
        for _ in 0..world.take_requests(LLM) {
            let Some((load, engine)) = loads.iter_mut().min_by_key(|(load, _)| *load) else {
                return Ok(());
            };
            let length = ANSWER * (0.5 + uniform(&mut self.random));
            engine.submit(Request {
                prompt_tokens: PROMPT,
                output_tokens: length.round() as u32,
                ..Request::default()
            })?;
            *load += 1;
        }
        Ok(())
    }
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
