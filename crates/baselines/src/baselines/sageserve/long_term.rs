use std::time::Duration;

use rheostat_reading::Timestamp;
use rheostat_simulator::{Control, Controller};
use rheostat_sizing::Observation;

use super::forecast::{Forecast, MINUTE};
use super::{Memory, PERIOD, memory_parameters};
use crate::baseline::{Baseline, BaselineError, Knowledge};
use crate::bounds::{Bounds, bounds_parameters, round_up};
use crate::capacity::best_operation;
use crate::context::Context;
use crate::parameter::{Chosen, Parameter};

/// `long_term_scaling_interval` of `configs/global_arbiter/milp.yaml`.
const INTERVAL: Duration = Duration::from_secs(3600);
/// `get_ilp_forecast`: the largest minute from 20 to 60 minutes ahead.
const AHEAD: std::ops::Range<usize> = 20..60;

/// LT-UA with a forecast that only knows the past.
pub(crate) fn online(context: &Context) -> Baseline {
    Baseline {
        name: "sageserve-lt-ua",
        source: "shashwatj07/SageServe 0b95ca2 (2026-06-23), arbiter.py: GlobalArbiterARIMAChecking, \
                 global_arbiter.py, long_term_allocation.py",
        description: "Each hour the instances that the forecast's largest minute needs; up to that many are added as \
                      KV caches fill, more where traffic is five times the forecast.",
        knowledge: Knowledge::Past,
        parameters: parameters(context),
        builder: |chosen, context| build(chosen, context, Forecast::online()),
    }
}

/// LT-UA with the forecast of its repository, which has seen the trace: the notebook fits ARIMA to
/// `final_data.csv`, and README.md simulates `final_data_day_1`. Whether the paper's own runs did so is not
/// known.
pub(crate) fn in_sample(context: &Context) -> Baseline {
    Baseline {
        name: "sageserve-lt-ua-in-sample",
        source: "shashwatj07/SageServe 0b95ca2 (2026-06-23), as sageserve-lt-ua, with the forecast of \
                 notebooks/arima_modelling_new_data.ipynb",
        description: "The same with ARIMA predictions that were fitted to the trace and read off it.",
        knowledge: Knowledge::Future,
        parameters: parameters(context),
        builder: |chosen, context| {
            let forecast = Forecast::in_sample(context).ok_or_else(|| BaselineError::NoForesight {
                baseline: chosen.baseline(),
            })?;
            build(chosen, context, forecast)
        },
    }
}

fn parameters(context: &Context) -> Vec<Parameter> {
    let [floor, cap] = bounds_parameters(context);
    let own = vec![
        Parameter::number(
            "capacity_part",
            "part of a replica's fastest rate within the SLO that the plan counts on (model_tps: 30 of 60 seconds)",
            0.5,
            (0.05, 1.0),
            &[0.3, 0.4, 0.5, 0.7, 0.9],
        ),
        Parameter::number(
            "surprise_ratio",
            "arima_checking_scaling_threshhold: traffic over forecast above which it acts against the plan",
            5.0,
            (1.0, 100.0),
            &[1.5, 2.0, 3.0, 5.0],
        ),
        floor,
        cap,
    ];
    [memory_parameters(context), own].concat()
}

fn build(chosen: &Chosen, context: &Context, forecast: Forecast) -> Result<Control, BaselineError> {
    Ok(Control::Direct(Box::new(LongTerm {
        memory: Memory::new(chosen)?,
        context: context.clone(),
        capacity_part: chosen.number("capacity_part")?,
        surprise_ratio: chosen.number("surprise_ratio")?,
        forecast,
        begun: context.foresight.as_ref().map(|foresight| foresight.start()),
        minute: 0,
        tokens: 0.0,
        last_minute: 0.0,
        shape: None,
        budget: 0,
        next_plan: None,
        planned: Vec::new(),
        planned_from: 0,
        bounds: chosen.bounds()?,
    })))
}

#[derive(Debug)]
struct LongTerm {
    memory: Memory,
    context: Context,
    capacity_part: f64,
    surprise_ratio: f64,
    forecast: Forecast,
    begun: Option<Timestamp>,
    /// Minutes that have ended.
    minute: usize,
    /// Tokens of prompts in this minute, and in the last.
    tokens: f64,
    last_minute: f64,
    shape: Option<(f64, f64)>,
    /// `changes`: instances that may still be added, or, below 0, that were added against the plan.
    budget: i64,
    next_plan: Option<Timestamp>,
    /// The forecast of the plan, and its first minute.
    planned: Vec<f64>,
    planned_from: usize,
    bounds: Bounds,
}

impl Controller for LongTerm {
    fn period(&self) -> Duration {
        PERIOD
    }

    fn decide(&mut self, observation: &Observation) -> Option<u32> {
        let (now, current) = (observation.now, observation.replicas);
        let (flow, look) = self.memory.look(observation);
        self.shape = flow.shape.or(self.shape);
        self.count(now, flow.arrived * flow.shape.map_or(0.0, |(prompt, _)| prompt));
        let mut replicas = current;
        if self.next_plan.is_none_or(|due| now >= due) && self.minute > 0 {
            self.next_plan = Some(now.plus(INTERVAL));
            replicas = self.plan(current)?;
        }
        let Some(look) = look else {
            return Some(self.bounds.clamp(replicas.max(1)));
        };
        if look.decisions == 0 || self.memory.paused(now) {
            return Some(self.bounds.clamp(replicas));
        }
        let up = match self.budget {
            0 => self.surprised(),
            1.. => look.utilization > self.memory.up,
            _ => false,
        };
        let wanted = if up {
            self.bounds.clamp(replicas.saturating_add(1))
        } else if self.budget < 0 {
            let owed = u32::try_from(-self.budget).unwrap_or(u32::MAX);
            self.memory.shrink(replicas, look, self.bounds.floor.max(1), owed)
        } else {
            replicas
        };
        if wanted > replicas {
            self.memory.started(now);
        }
        self.budget -= i64::from(wanted) - i64::from(replicas);
        Some(self.bounds.clamp(wanted))
    }
}

impl LongTerm {
    /// Counts tokens, and closes minutes.
    fn count(&mut self, now: Timestamp, tokens: f64) {
        let begun = *self.begun.get_or_insert(now);
        self.tokens += tokens;
        let ended = (now.since(begun).as_secs() / MINUTE.as_secs()) as usize;
        if ended > self.minute {
            self.last_minute = self.tokens.max(0.0) / (ended - self.minute) as f64;
            for _ in self.minute..ended {
                self.forecast.observe(self.last_minute);
            }
            self.minute = ended;
            self.tokens = 0.0;
        }
    }

    /// `MilpLongTermAllocation` for one model in one region: as few as serve the forecast. What is too many goes at
    /// once (`force_scale_down`), what is missing may be added when it is needed (`force_scale_up`).
    fn plan(&mut self, current: u32) -> Option<u32> {
        let (prompt, output) = self.shape?;
        self.planned = self.forecast.next(self.minute, AHEAD.end);
        self.planned_from = self.minute;
        let later = self.planned.get(AHEAD.start..)?;
        let largest = later.iter().copied().reduce(f64::max)?;
        let slo = &self.context.slo;
        let operation = best_operation(&self.context.engine, prompt, output, slo.ttft, slo.itl);
        let each = operation.rate.0 * prompt * MINUTE.as_secs_f64() * self.capacity_part;
        let needed = self.bounds.clamp(round_up(largest / each));
        self.budget = (i64::from(needed) - i64::from(current)).max(0);
        Some(needed.min(current).max(1))
    }

    /// `ratio_between_arima_and_actual`: the last minute against what the plan expected of this one.
    fn surprised(&self) -> bool {
        let expected = self.planned.get(self.minute - self.planned_from);
        expected.is_some_and(|expected| self.last_minute > self.surprise_ratio * expected)
    }
}
