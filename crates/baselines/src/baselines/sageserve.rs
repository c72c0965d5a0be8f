//! SageServe (POMACS, December 2025) as its simulator has it (`shashwatj07/SageServe` 0b95ca2, 2026-06-23,
//! `arbiter.py`, `global_arbiter.py`, `long_term_allocation.py`), and its copy of Chiron (arXiv 2501.08090). One
//! model in one region: its integer program then has one variable.

use std::time::Duration;

use rheostat_reading::Timestamp;
use rheostat_simulator::{Control, Controller};
use rheostat_sizing::Observation;

use crate::baseline::{Baseline, BaselineError, Knowledge};
use crate::bounds::{Bounds, bounds_parameters};
use crate::context::Context;
use crate::parameter::{Chosen, Parameter};
use crate::query::{Signal, mean};
use crate::traffic::{Flow, Traffic};

pub(crate) mod chiron;
mod forecast;
pub(crate) mod long_term;

/// How often it looks. The original decides at every request.
const PERIOD: Duration = Duration::from_secs(5);
/// Decisions that one look may stand for: it bounds the work of a burst.
const MOST_DECISIONS: f64 = 10_000.0;

pub(crate) fn reactive(context: &Context) -> Baseline {
    let [floor, cap] = bounds_parameters(context);
    Baseline {
        name: "sageserve-reactive",
        source: "shashwatj07/SageServe 0b95ca2 (2026-06-23), arbiter.py: BasicArbiter.scale, \
                 configs/arbiter_repo/arbiters/basic_arbiter.yaml",
        description: "At each request: one more where the KV caches are above 0.5 together, one less below 0.25; \
                      nothing during a start.",
        knowledge: Knowledge::Past,
        parameters: [memory_parameters(context), vec![floor, cap]].concat(),
        builder: |chosen, _| {
            Ok(Control::Direct(Box::new(Reactive {
                memory: Memory::new(chosen)?,
                bounds: chosen.bounds()?,
            })))
        },
    }
}

/// What all of its arbiters have.
fn memory_parameters(context: &Context) -> Vec<Parameter> {
    vec![
        Parameter::number(
            "up_utilization",
            "one more above this part of the KV caches",
            0.5,
            (0.001, 1.0),
            &[0.1, 0.2, 0.3, 0.5, 0.7],
        ),
        Parameter::number(
            "down_part",
            "one less below 0.25, as a part of up_utilization",
            0.5,
            (0.0, 1.0),
            &[0.25, 0.5, 0.75],
        ),
        start_parameter(context),
    ]
}

fn start_parameter(context: &Context) -> Parameter {
    let cold_start = u32::try_from(context.cold_start.as_secs()).unwrap_or(u32::MAX);
    Parameter::whole(
        "start_seconds",
        "reclaim_spot (65 s) or spin_up (155 s): nothing is done for as long as a start takes",
        cold_start.min(86_400),
        (0, 86_400),
        &[0, 30, 65, 155],
    )
}

/// Memory in use, and the pause after a change.
#[derive(Debug)]
struct Memory {
    up: f64,
    down: f64,
    pause: Duration,
    paused_until: Option<Timestamp>,
    traffic: Traffic,
    /// Requests that came and are not counted yet.
    arrived: f64,
}

/// What is seen in one look.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// Part of the KV caches in use, over the replicas that serve.
    utilization: f64,
    /// Requests that came since the last look, at each of which the original decides.
    decisions: u32,
}

impl Memory {
    fn new(chosen: &Chosen) -> Result<Self, BaselineError> {
        let up = chosen.number("up_utilization")?;
        Ok(Self {
            up,
            down: up * chosen.number("down_part")?,
            pause: chosen.seconds("start_seconds")?,
            paused_until: None,
            traffic: Traffic::default(),
            arrived: 0.0,
        })
    }

    /// Looks; without a replica that serves there is nothing to see.
    fn look(&mut self, observation: &Observation) -> (Flow, Option<Look>) {
        let flow = self.traffic.observe(observation);
        self.arrived = (self.arrived + flow.arrived).clamp(0.0, MOST_DECISIONS);
        let used = observation.ready().filter_map(|pod| Signal::KvCacheUsage.of(pod));
        let look = mean(used).map(|utilization| {
            let decisions = self.arrived.floor();
            self.arrived -= decisions;
            Look {
                utilization,
                decisions: decisions as u32,
            }
        });
        (flow, look)
    }

    fn paused(&self, now: Timestamp) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    fn started(&mut self, now: Timestamp) {
        self.paused_until = Some(now.plus(self.pause));
    }

    /// How many of `replicas` are left when one goes at each decision as long as too little is used; the pause
    /// after one that goes is 0 (`spin_down`), and what is used is then shared by fewer.
    fn shrink(&self, replicas: u32, look: Look, least: u32, most_steps: u32) -> u32 {
        let used = look.utilization * f64::from(replicas);
        let mut left = replicas;
        for _ in 0..look.decisions.min(most_steps) {
            if left <= least || used / f64::from(left) >= self.down {
                break;
            }
            left -= 1;
        }
        left
    }
}

#[derive(Debug)]
struct Reactive {
    memory: Memory,
    bounds: Bounds,
}

impl Controller for Reactive {
    fn period(&self) -> Duration {
        PERIOD
    }

    fn decide(&mut self, observation: &Observation) -> Option<u32> {
        let (now, current) = (observation.now, observation.replicas);
        let (_, look) = self.memory.look(observation);
        let Some(look) = look else {
            return Some(self.bounds.clamp(current.max(1)));
        };
        if look.decisions == 0 || self.memory.paused(now) {
            return None;
        }
        if look.utilization > self.memory.up {
            let wanted = self.bounds.clamp(current.saturating_add(1));
            if wanted > current {
                self.memory.started(now);
            }
            return Some(wanted);
        }
        let left = self
            .memory
            .shrink(current, look, self.bounds.floor.max(1), u32::MAX);
        Some(self.bounds.clamp(left))
    }
}
