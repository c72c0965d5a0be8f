use std::ops::Range;
use std::time::Duration;

use rheostat_policy::{MANUAL_DEMAND_ANNOTATION, Trigger};
use rheostat_trace::Trace;

use crate::manifest::{Manifest, PolicyManifest};
use crate::world::{Arrivals, Demand, Rate, World};

/// What is to happen in the demo. All times are seconds of the simulated day.
#[derive(Debug)]
pub(crate) struct Story {
    /// The ScaledObjects, in the order of [`World::workloads`].
    pub(crate) manifests: Vec<Manifest>,
    /// The ScalingPolicy that assist's trigger names.
    pub(crate) policy: PolicyManifest,
    /// How long it lasts.
    pub(crate) seconds: u32,
    /// When somebody asks for batch replicas.
    pub(crate) batch_wanted: Range<u32>,
    /// When a GPU under chat is to fail: as soon as chat has three ready replicas, at the latest at
    /// the end.
    pub(crate) failure: Range<u32>,
    /// When an engine of llm is to hang: as soon as it has two ready replicas, at the latest at the
    /// end.
    pub(crate) hang: Range<u32>,
    /// Seed of the world.
    pub(crate) seed: u64,
    /// Whether chat's load is the built-in one, whose course is known.
    pub(crate) built_in: bool,
    /// What is said of the load.
    pub(crate) load: String,
}

/// The workload that the story is about: a chat service, scaled by its GPUs' utilisation.
pub(crate) const CHAT: usize = 0;
/// Another tenant's steady full load on the same nodes, at its maximum from the start.
pub(crate) const RENDER: usize = 1;
/// A job that a person asks for by an annotation: from zero and back.
pub(crate) const BATCH: usize = 2;
/// A vLLM, scaled by the requests in its engines: a morning, a break in which it goes to zero, and
/// an afternoon.
pub(crate) const LLM: usize = 3;

/// The same engines and as many requests as llm has, sized by a ScalingPolicy: it is told what to keep, and no
/// target.
pub(crate) const ASSIST: usize = 4;

/// Nodes of the cluster.
pub(crate) const NODES: usize = 4;
/// GPUs of each.
pub(crate) const GPUS: usize = 8;

const CHAT_REPLICAS: u32 = 4;
const RENDER_REPLICAS: u32 = 6;
/// Replicas that llm and assist begin with.
pub(crate) const LLM_REPLICAS: u32 = 1;
/// Replicas of batch that are asked for.
pub(crate) const BATCH_REPLICAS: u32 = 4;

/// Ready replicas of chat from which on one may fail without the rest being swamped.
const ENOUGH_TO_FAIL: usize = 3;

/// Ready replicas of llm from which on one may hang.
const ENOUGH_TO_HANG: usize = 2;

/// Seconds for which an engine hangs, until it is restarted: longer than its trigger's `staleAfter`.
pub(crate) const HANG_LASTS: f64 = 90.0;

/// Seconds of the built-in story.
const BUILT_IN: u32 = 1200;
/// Of a trace at most so much is played.
const LONGEST: u32 = 2 * 3600;
/// Quiet after a trace's last request, so that it can be seen to come down.
const TAIL: u32 = 240;
/// GPUs that a trace's busiest minute is made to need.
const TRACE_PEAK: f64 = 8.0;

impl Story {
    /// The built-in story, or that of a trace, and its world.
    ///
    /// # Errors
    ///
    /// A manifest of the demo cannot be read, which is a defect.
    pub(crate) fn new(seed: u64, trace: Option<&Trace>) -> anyhow::Result<(Self, World)> {
        let manifests = [
            include_str!("manifests/chat.yaml"),
            include_str!("manifests/render.yaml"),
            include_str!("manifests/batch.yaml"),
            include_str!("manifests/llm.yaml"),
            include_str!("manifests/assist.yaml"),
        ];
        let manifests = manifests
            .into_iter()
            .map(Manifest::read)
            .collect::<anyhow::Result<_>>()?;
        let (arrivals, seconds, load) = match trace {
            None => (
                Arrivals::built_in(),
                BUILT_IN,
                "built-in: a rise, a burst, quiet".to_owned(),
            ),
            Some(trace) => {
                let length = trace.duration().as_secs_f64().ceil().min(f64::from(LONGEST)) as u32;
                // What comes at the very end is played too.
                let played = trace.slice(
                    Duration::ZERO,
                    Duration::from_secs(length.into()) + Duration::from_nanos(1),
                );
                let load = format!(
                    "trace: {} of {:.0} requests in {} min, scaled so that the busiest minute needs {TRACE_PEAK} GPUs",
                    played.requests().count(),
                    trace.expected_requests(),
                    length.div_ceil(60)
                );
                (
                    Arrivals::from_trace(&played, TRACE_PEAK),
                    // llm's day is the same whatever is replayed.
                    length.max(BUILT_IN - TAIL) + TAIL,
                    load,
                )
            }
        };
        let story = Self {
            manifests,
            policy: PolicyManifest::read(include_str!("manifests/assist-policy.yaml"))?,
            seconds,
            // Soon after one of KEDA's polls, which come once a minute, so that push is what starts it.
            batch_wanted: seconds * 2 / 5 / 60 * 60 + 5..seconds * 27 / 50,
            failure: seconds * 7 / 20..seconds * 3 / 5,
            hang: 330..360,
            seed,
            built_in: trace.is_none(),
            load,
        };
        let mut world = World::new(NODES, GPUS, seed);
        let render = Demand::Steady(0.95);
        let batch = Demand::Steady(0.9);
        let mut add = |index: usize, demand, replicas| {
            let manifest = &story.manifests[index];
            let added = world.add(manifest.namespace(), manifest.name(), demand, replicas);
            debug_assert_eq!(added, index, "workloads are known by their position");
        };
        add(CHAT, Demand::Requests(arrivals), CHAT_REPLICAS);
        add(RENDER, render, RENDER_REPLICAS);
        add(BATCH, batch, 0);
        add(LLM, Demand::Engines(llm_requests()), LLM_REPLICAS);
        add(ASSIST, Demand::Engines(llm_requests()), LLM_REPLICAS);
        Ok((story, world))
    }

    /// The replicas of batch that somebody asks for at `second`.
    pub(crate) fn batch_demand(&self, second: f64) -> Option<u32> {
        let wanted = f64::from(self.batch_wanted.start)..f64::from(self.batch_wanted.end);
        wanted.contains(&second).then_some(BATCH_REPLICAS)
    }

    /// The annotation that asks for them.
    pub(crate) const fn annotation() -> &'static str {
        MANUAL_DEMAND_ANNOTATION
    }

    /// Whether the GPU is to fail now, if it has not failed yet.
    pub(crate) fn gpu_fails(&self, world: &World) -> bool {
        let now = world.now();
        let ready = world.workloads()[CHAT].ready();
        now >= f64::from(self.failure.end) || now >= f64::from(self.failure.start) && ready >= ENOUGH_TO_FAIL
    }

    /// Whether an engine of llm is to hang now, if none has yet.
    pub(crate) fn engine_hangs(&self, world: &World) -> bool {
        let now = world.now();
        let ready = world.workloads()[LLM].ready();
        now >= f64::from(self.hang.end) || now >= f64::from(self.hang.start) && ready >= ENOUGH_TO_HANG
    }

    /// Llm's target: requests that one replica is to have at once.
    pub(crate) fn llm_target(&self) -> f64 {
        let parsed = Trigger::parse(&self.manifests[LLM].metadata());
        parsed.map_or(1.0, |parsed| parsed.trigger.target())
    }

    /// Replicas that chat's trigger would ask for, were it llm's: by how busy `ready` replicas keep
    /// their GPUs.
    pub(crate) fn by_utilization(&self, ready: usize, utilization: f64) -> f64 {
        (ready as f64 * utilization / self.chat_target()).ceil()
    }

    /// Chat's target, as a ratio: one replica's part of a GPU that it is meant to use.
    pub(crate) fn chat_target(&self) -> f64 {
        let parsed = Trigger::parse(&self.manifests[CHAT].metadata());
        parsed.map_or(1.0, |parsed| parsed.trigger.target() / 100.0)
    }

    /// Replicas of chat that `load` GPUs' worth of work needs at the target.
    pub(crate) fn chat_needs(&self, load: f64) -> f64 {
        load / self.chat_target()
    }
}

/// Llm's requests: a rise to what four replicas serve, none from 09:09:20 to 09:14:10, then a few. One
/// replica serves 2.4 a second at its target and 3.2 at most.
fn llm_requests() -> Rate {
    Rate(vec![
        (0.0, 1.2),
        (60.0, 1.2),
        (210.0, 8.8),
        (465.0, 8.8),
        (520.0, 1.5),
        (559.0, 1.5),
        (560.0, 0.0),
        (850.0, 0.0),
        (851.0, 2.0),
        (1080.0, 2.0),
        (1081.0, 0.8),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_mean_something() {
        let (story, world) = Story::new(1, None).unwrap();
        for manifest in &story.manifests {
            manifest.scaled_object().validate().unwrap();
            let parsed = Trigger::parse(&manifest.metadata()).unwrap();
            // `manual` is for rehearsals such as this one, and says so; engines alone start nothing from
            // zero, which llm leaves to its schedule.
            let expected = usize::from(matches!(manifest.name(), "batch" | "llm"));
            assert_eq!(parsed.warnings.len(), expected, "{:?}", parsed.warnings);
        }
        let (policy, trigger) = (&story.policy.object().id.name, story.manifests[ASSIST].metadata());
        assert_eq!(trigger.get("policy"), Some(policy));
        assert!((story.chat_target() - 0.7).abs() < 1e-12);
        assert!((story.llm_target() - 32.0).abs() < 1e-12);
        assert!((story.by_utilization(4, 0.97) - 6.0).abs() < 1e-12);
        assert_eq!(world.workloads()[RENDER].ready(), RENDER_REPLICAS as usize);
        let max = story.manifests[RENDER].scaled_object().max_replicas();
        assert_eq!(max, RENDER_REPLICAS as i32, "render is at its maximum");
    }

    #[test]
    fn batch_is_wanted_for_a_while_and_the_gpu_fails_once_chat_can_bear_it() {
        let (story, mut world) = Story::new(1, None).unwrap();
        assert_eq!(story.batch_demand(0.0), None);
        assert_eq!(
            story.batch_demand(f64::from(story.batch_wanted.start)),
            Some(BATCH_REPLICAS)
        );
        assert_eq!(story.batch_demand(f64::from(story.batch_wanted.end)), None);
        world.set_replicas(CHAT, 2);
        while world.now() < f64::from(story.failure.start) {
            assert!(!story.gpu_fails(&world));
            world.step();
        }
        assert!(!story.gpu_fails(&world), "two replicas are too few");
        world.set_replicas(CHAT, 4);
        while world.workloads()[CHAT].ready() < ENOUGH_TO_FAIL {
            world.step();
        }
        assert!(story.gpu_fails(&world));
    }
}
