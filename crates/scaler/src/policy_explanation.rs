use std::fmt;

use rheostat_cluster::PolicyId;
use rheostat_sizing::{Decision, Figures, Outcome, Serving, Stage, Step, StepKind};
use rheostat_steward::{Leadership, deciding_reason};
use serde::Serialize;

use crate::policy_state::PolicyState;
use crate::seen_pod::SeenPod;

/// Why a ScalingPolicy wants as many replicas as it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyExplanation {
    /// Name of the policy, in the workload's namespace.
    pub policy: String,
    /// Why it is not decided by, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Which replica of the scaler leads, in words.
    pub leadership: String,
    /// The leader's decision, where that is answered and not this scaler's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub followed: Option<FollowedReport>,
    /// The leader, while it has not written of the workload: until then nothing is taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awaited: Option<String>,
    /// This scaler's own decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionReport>,
    /// The pods as it saw them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<SeenPodReport>,
    /// What starts were seen to take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cold_starts: Vec<ColdStartReport>,
}

/// What the leader has decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FollowedReport {
    /// What it calls itself.
    pub leader: String,
    /// Replicas.
    pub replicas: u32,
    /// Whether there is demand.
    pub active: bool,
    /// What is not known, where it was decided so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecisionReport {
    /// When, Unix time in seconds.
    pub at: f64,
    /// Replicas.
    pub replicas: u32,
    /// Whether there is demand, or has been not long enough ago.
    pub active: bool,
    /// What it rests on: `known`, `at_zero` or `unknown`.
    pub outcome: &'static str,
    /// What is missing, where it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// The step that decided, in words.
    pub why: String,
    /// The limit that bound last, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_by: Option<String>,
    /// Each step, in the order in which it was taken.
    pub steps: Vec<Step>,
    /// The numbers behind it.
    pub figures: FiguresReport,
}

/// The numbers behind a decision; those that are not known are missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FiguresReport {
    /// Requests waiting and running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<f64>,
    /// Requests that arrive per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrivals_per_second: Option<f64>,
    /// Replicas that the present work keeps busy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demand_replicas: Option<f64>,
    /// The same when a replica that is asked for now serves, at the quantile that is sized for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_demand_replicas: Option<f64>,
    /// Requests per second that one replica serves within the objective.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_per_second: Option<f64>,
    /// How sure that is, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// From asking for a replica to its serving, 90th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_start_seconds: Option<f64>,
    /// Part of the requests that kept the objective of late, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attainment: Option<f64>,
    /// What is left of the tightest budget, 0 to 1; below 0 where more was spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_left: Option<f64>,
}

/// A pod as a decision saw it; what is not known is missing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeenPodReport {
    /// Name.
    pub name: String,
    /// How far it has come.
    pub stage: Stage,
    /// Product name of its GPUs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hardware: String,
    /// Which engine it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<&'static str>,
    /// Requests that its engine has, waiting and running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<f64>,
    /// Seconds from what the engine said to the decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_age_seconds: Option<f64>,
    /// Why the engine's requests are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_missing: Option<String>,
    /// Busy part of its GPUs' time, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_utilization: Option<f64>,
    /// Why that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus_missing: Option<String>,
}

/// What one stage of a start was seen to take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColdStartReport {
    /// Product name of the GPUs; empty where it is not known.
    pub hardware: String,
    /// The stage.
    pub stage: rheostat_sizing::StartStage,
    /// Median.
    pub p50_seconds: f64,
    /// 90th percentile.
    pub p90_seconds: f64,
    /// How many starts were seen.
    pub starts: u32,
}

impl PolicyExplanation {
    pub(crate) fn new(state: &PolicyState) -> Self {
        let PolicyId { name, .. } = &state.policy;
        let learned = state.learned.as_ref();
        Self {
            policy: name.clone(),
            problem: state.problem.as_deref().map(str::to_owned),
            leadership: match &state.leadership {
                Leadership::Nobody => "no replica of the scaler is known to lead".to_owned(),
                Leadership::Leading { .. } => "this replica of the scaler leads".to_owned(),
                Leadership::Following { leader, .. } => format!("{leader} leads"),
                Leadership::Alone { reason } => format!("this scaler decides alone: {reason}"),
            },
            followed: state.followed.as_ref().map(|followed| FollowedReport {
                leader: followed.leader.to_string(),
                replicas: followed.replicas,
                active: followed.active,
                unknown: followed.unknown.as_deref().map(str::to_owned),
            }),
            awaited: state.awaited.as_deref().map(str::to_owned),
            decision: state.decision.as_deref().map(DecisionReport::new),
            pods: match &state.decision {
                Some(decision) => {
                    let pods = state.pods.iter();
                    pods.map(|pod| SeenPodReport::new(pod, decision)).collect()
                }
                None => Vec::new(),
            },
            cold_starts: learned.map_or_else(Vec::new, |learned| {
                let times = learned.cold_start().learned();
                times
                    .map(|(hardware, time)| ColdStartReport {
                        hardware: hardware.to_owned(),
                        stage: time.stage,
                        p50_seconds: time.p50.as_secs_f64(),
                        p90_seconds: time.p90.as_secs_f64(),
                        starts: time.samples,
                    })
                    .collect()
            }),
        }
    }
}

impl DecisionReport {
    fn new(decision: &Decision) -> Self {
        Self {
            at: decision.at.unix_nanos() as f64 / 1e9,
            replicas: decision.replicas,
            active: decision.active,
            outcome: outcome(decision),
            missing: match &decision.outcome {
                Outcome::Unknown { reason } => Some(reason.clone()),
                Outcome::Known | Outcome::AtZero => None,
            },
            why: deciding_reason(decision),
            bound_by: bound_by(decision),
            steps: decision.steps.clone(),
            figures: FiguresReport::new(&decision.figures),
        }
    }
}

impl SeenPodReport {
    fn new(pod: &SeenPod, decision: &Decision) -> Self {
        let age = |serving: Serving| decision.at.since(serving.taken_at).as_secs_f64();
        Self {
            name: pod.name.to_string(),
            stage: pod.stage,
            hardware: pod.hardware.to_string(),
            engine: pod.engine.map(rheostat_engines::Engine::name),
            in_flight: pod.in_flight().map(|count| count.0),
            engine_age_seconds: pod.serving.map(age),
            engine_missing: pod.engine_missing.clone(),
            gpu_utilization: pod.gpu_utilization.map(|ratio| ratio.0),
            gpus_missing: pod.gpus_missing.clone(),
        }
    }
}

impl FiguresReport {
    fn new(figures: &Figures) -> Self {
        Self {
            in_flight: figures.in_flight.map(|count| count.0),
            arrivals_per_second: figures.arrival_rate.map(|rate| rate.0),
            demand_replicas: figures.demand.map(|count| count.0),
            expected_demand_replicas: figures.expected_demand.map(|count| count.0),
            capacity_per_second: figures.capacity.map(|rate| rate.0),
            confidence: figures.confidence.map(|ratio| ratio.0),
            cold_start_seconds: figures.cold_start.map(|span| span.as_secs_f64()),
            attainment: figures.attainment.map(|ratio| ratio.0),
            budget_left: figures.budget_left.map(|ratio| ratio.0),
        }
    }
}

/// What a decision rests on, in a word.
pub(crate) const fn outcome(decision: &Decision) -> &'static str {
    match decision.outcome {
        Outcome::Known => "known",
        Outcome::AtZero => "at_zero",
        Outcome::Unknown { .. } => "unknown",
    }
}

/// The last limit that moved the count.
fn bound_by(decision: &Decision) -> Option<String> {
    let is_limit = |kind| matches!(kind, StepKind::Limit | StepKind::Schedule | StepKind::Pool);
    let mut pairs = decision.steps.windows(2).rev();
    let bound = pairs.find(|pair| is_limit(pair[1].kind) && pair[0].replicas != pair[1].replicas)?;
    Some(bound[1].why.clone())
}

impl fmt::Display for PolicyExplanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "    policy {}; {}", self.policy, self.leadership)?;
        if let Some(problem) = &self.problem {
            writeln!(out, "      not decided by: {problem}")?;
        }
        if let Some(FollowedReport {
            leader,
            replicas,
            active,
            unknown,
        }) = &self.followed
        {
            let active = activity(*active);
            match unknown {
                Some(unknown) => writeln!(out, "      {unknown}")?,
                None => writeln!(
                    out,
                    "      {leader} has decided: {replicas} replicas, {active}; that is answered"
                )?,
            }
        }
        if let Some(leader) = &self.awaited {
            writeln!(
                out,
                "      {leader} has not written what it decides: this scaler's own count is answered, but nothing is taken away"
            )?;
        }
        if let Some(decision) = &self.decision {
            decision.fmt(out)?;
        }
        for pod in &self.pods {
            pod.fmt(out)?;
        }
        for start in &self.cold_starts {
            let ColdStartReport {
                hardware,
                stage,
                p50_seconds,
                p90_seconds,
                starts,
            } = start;
            let hardware = if hardware.is_empty() {
                "unknown GPUs"
            } else {
                hardware
            };
            writeln!(
                out,
                "      start on {hardware}, {stage:?}: median {p50_seconds:.0} s, P90 {p90_seconds:.0} s, of {starts}"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for DecisionReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let active = activity(self.active);
        writeln!(
            out,
            "      decided: {} replicas, {active}; {}",
            self.replicas, self.why
        )?;
        if let Some(missing) = &self.missing {
            writeln!(out, "      too little is known: {missing}")?;
        }
        for step in &self.steps {
            writeln!(out, "        {:>4} {:?}: {}", step.replicas, step.kind, step.why)?;
        }
        if let Some(bound) = &self.bound_by {
            writeln!(out, "      bound by: {bound}")?;
        }
        self.figures.fmt(out)
    }
}

impl fmt::Display for SeenPodReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "      {}: {:?}", self.name, self.stage)?;
        if !self.hardware.is_empty() {
            write!(out, ", {}", self.hardware)?;
        }
        if let (Some(in_flight), Some(age)) = (self.in_flight, self.engine_age_seconds) {
            let engine = self.engine.unwrap_or("engine");
            write!(out, ", {engine}: {in_flight:.0} requests, read {age:.1} s before")?;
        }
        if let Some(busy) = self.gpu_utilization {
            write!(out, ", GPUs busy {:.0} %", busy * 100.0)?;
        }
        for missing in [&self.engine_missing, &self.gpus_missing].into_iter().flatten() {
            write!(out, "; {missing}")?;
        }
        writeln!(out)
    }
}

impl fmt::Display for FiguresReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ratio: Option<f64>| ratio.map(|ratio| format!("{:.1} %", ratio * 100.0));
        let number = |number: Option<f64>, unit: &str| number.map(|number| format!("{number:.2}{unit}"));
        let told = [
            ("in flight", number(self.in_flight, "")),
            ("arriving", number(self.arrivals_per_second, "/s")),
            ("demand", number(self.demand_replicas, " replicas")),
            (
                "expected demand",
                number(self.expected_demand_replicas, " replicas"),
            ),
            ("capacity", number(self.capacity_per_second, "/s each")),
            ("sure of that", percent(self.confidence)),
            ("cold start", number(self.cold_start_seconds, " s")),
            ("attainment", percent(self.attainment)),
            ("budget left", percent(self.budget_left)),
        ];
        let known: Vec<_> = told
            .into_iter()
            .filter_map(|(what, number)| Some(format!("{what} {}", number?)))
            .collect();
        match known.is_empty() {
            true => Ok(()),
            false => writeln!(out, "      {}", known.join(", ")),
        }
    }
}

fn activity(active: bool) -> &'static str {
    if active { "active" } else { "inactive" }
}
