use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::{
    ScaleTarget, Stale, TargetProblem, TriggerDefinition, Workload, WorkloadId, WorkloadKind,
};
use rheostat_decisions::DecisionLog;
use rheostat_fleet::FleetView;
use rheostat_policy::{
    Answer, DEFAULT_TOLERANCE, ErrorKind, Evaluation, Input, MANUAL_DEMAND_ANNOTATION, Memory, MetricType,
    Parsed, Trigger, TriggerError, evaluate, evaluate_decided, hpa_desired, parse_manual_demand,
};
use rheostat_reading::Timestamp;
use rheostat_steward::{Leadership, PolicyReport};

use crate::asked_for::AskedFor;
use crate::by_policy::{ByPolicy, Rules, Scene};
use crate::following::Unsigned;
use crate::inquiries::{Findings, Wishes};
use crate::plan::Plan;
use crate::policies::Policies;
use crate::policy_reports;
use crate::snapshot::{Snapshot, TriggerState, WorkloadState};
use crate::standing::{Standings, Undecided};
use crate::{join, observe};

/// Makes snapshots, and remembers of each trigger what the next one needs.
#[derive(Debug, Default)]
pub struct Evaluator {
    known: HashMap<WorkloadId, Known>,
    panics: u64,
    wishes: Wishes,
    policies: Policies,
    unsigned: Unsigned,
    decisions: Arc<DecisionLog>,
}

#[derive(Debug, Default)]
struct Known {
    /// As it was last followed.
    workload: Option<Arc<Workload>>,
    triggers: Vec<KnownTrigger>,
    by_policy: ByPolicy,
    asked_for: AskedFor,
}

#[derive(Debug)]
struct KnownTrigger {
    definition: TriggerDefinition,
    parsed: Arc<Result<Parsed, TriggerError>>,
    memory: Memory,
    /// `None` where nothing has to be found out for it.
    plan: Option<Plan>,
    /// The replicas that its last answer makes where nothing is within the HPA's tolerance; `None` where it makes none.
    makes: Option<u32>,
}

/// What the scaler knows at one moment, before it is evaluated.
#[derive(Clone, Debug)]
pub struct Sources<'a> {
    /// What the Kubernetes API says.
    pub cluster: &'a rheostat_cluster::Snapshot,
    /// What the agents say.
    pub fleet: &'a FleetView,
    /// What the scaler has found out by itself.
    pub findings: &'a Findings,
    /// Which replica of the scaler leads.
    pub leadership: &'a Leadership,
}

/// How long what the API server said stays good while it cannot be asked. Long enough for its
/// rolling update, during which nobody can scale anything anyway; short enough that pods which are
/// long gone are not taken for idle ones.
const CLUSTER_STALE_AFTER: Duration = Duration::from_secs(60);

impl Evaluator {
    /// One whose decisions by policies go to `decisions`. That of [`Default`] keeps them in memory.
    #[must_use]
    pub fn new(decisions: Arc<DecisionLog>) -> Self {
        Self {
            decisions,
            ..Self::default()
        }
    }

    /// The answers at `now`. The same sources and times in the same order give the same answers.
    pub fn evaluate(&mut self, now: Timestamp, sources: &Sources<'_>) -> Snapshot {
        let cluster = sources.cluster;
        let workloads = cluster.workloads();
        self.wishes = Wishes::default();
        self.policies.follow(cluster);
        self.unsigned
            .look(now, sources.leadership, &self.policies, cluster);
        let known = |workload: &Workload| Some(&self.known.get(&workload.id)?.by_policy);
        let undecided = workloads.iter().filter_map(|workload| {
            let by_policy = known(workload);
            match by_policy.is_some_and(ByPolicy::decides) {
                true => None,
                false => Undecided::of(workload, by_policy, &self.policies, sources),
            }
        });
        let undecided: Vec<_> = undecided.collect();
        let known = workloads
            .iter()
            .filter_map(|workload| Some((&workload.id, known(workload)?)));
        let standings = Standings::new(known, &undecided);
        let states = workloads
            .iter()
            .map(|workload| Arc::new(self.workload(now, workload, sources, &standings)))
            .collect();
        if cluster.synced && self.known.len() > workloads.len() {
            let present: HashSet<_> = workloads.iter().map(|workload| &workload.id).collect();
            self.known.retain(|id, _| present.contains(id));
            self.decisions.retain(|name| {
                let workload = name.split_once('/');
                workload.is_some_and(|(namespace, name)| !cluster.find(namespace, name).is_empty())
            });
        }
        let unfounded = (!cluster.synced).then(|| "not all workloads have been listed yet".to_owned());
        Snapshot {
            taken_at: Some(now),
            workloads: states,
            unfounded,
        }
    }

    /// What there is to say of each ScalingPolicy of `cluster` after the evaluation that gave `snapshot`.
    #[must_use]
    pub fn policy_reports(
        &self,
        snapshot: &Snapshot,
        cluster: &rheostat_cluster::Snapshot,
    ) -> Arc<[PolicyReport]> {
        policy_reports::of(cluster.policies(), &self.policies, snapshot)
    }

    /// What the last evaluation wants to be found out for the next one.
    pub fn take_wishes(&mut self) -> Wishes {
        std::mem::take(&mut self.wishes)
    }

    /// How often the evaluation of a workload panicked: a defect that costs only that workload.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics
    }

    /// How many workloads it remembers something of.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.known.len()
    }

    fn workload(
        &mut self,
        now: Timestamp,
        workload: &Arc<Workload>,
        sources: &Sources<'_>,
        standings: &Standings,
    ) -> WorkloadState {
        // Taken out and put back: nearly all are known, and need no new key then.
        let (id, mut known) = self
            .known
            .remove_entry(&workload.id)
            .unwrap_or_else(|| (workload.id.clone(), Known::default()));
        known.follow(workload);
        known.by_policy.begin();
        let asked_for = known.asked_for(workload);
        let mut panics = 0;
        let wishes = &mut self.wishes;
        let rules = Rules {
            policies: &self.policies,
            standings,
            log: &self.decisions,
        };
        let by_policy = &mut known.by_policy;
        let triggers = known
            .triggers
            .iter_mut()
            .map(|trigger| {
                catch_unwind(AssertUnwindSafe(|| {
                    trigger.plan(workload, sources.findings, wishes);
                    trigger.evaluate(now, workload, asked_for, sources, by_policy, &rules)
                }))
                .unwrap_or_else(|_| {
                    panics += 1;
                    let reason =
                        "the evaluation failed inside Rheostat: a defect, please report it".to_owned();
                    TriggerState::error(
                        trigger.definition.index,
                        Arc::clone(&trigger.parsed),
                        ErrorKind::Unavailable,
                        reason,
                    )
                })
            })
            .collect();
        self.panics += panics;
        self.known.insert(id, known);
        WorkloadState {
            workload: Arc::clone(workload),
            triggers,
        }
    }
}

impl Known {
    /// Takes over what changed of the workload, and keeps the memory of what did not.
    fn follow(&mut self, workload: &Arc<Workload>) {
        let before = self.workload.replace(Arc::clone(workload));
        if before
            .as_ref()
            .is_some_and(|before| Arc::ptr_eq(before, workload))
        {
            return;
        }
        // Another UID: it was deleted and created again.
        if before.is_some_and(|before| before.uid != workload.uid) {
            self.triggers.clear();
            self.by_policy = ByPolicy::default();
            self.asked_for = AskedFor::default();
        }
        let unchanged = self.triggers.len() == workload.triggers.len()
            && self
                .triggers
                .iter()
                .zip(&workload.triggers)
                .all(|(known, trigger)| known.definition == *trigger);
        if unchanged {
            return;
        }
        let mut old: Vec<Option<KnownTrigger>> = self.triggers.drain(..).map(Some).collect();
        self.triggers = workload
            .triggers
            .iter()
            .map(|definition| {
                let parsed = Arc::new(Trigger::parse(&definition.metadata));
                let signal = |parsed: &Result<Parsed, TriggerError>| {
                    let parsed = parsed.as_ref().ok()?;
                    Some(parsed.trigger.subject().into_owned())
                };
                // A new target or grace is no reason to forget what was watched.
                let memory = old
                    .iter_mut()
                    .find_map(|known| {
                        known.take_if(|known| {
                            signal(&known.parsed).is_some() && signal(&known.parsed) == signal(&parsed)
                        })
                    })
                    .map_or_else(Memory::new, |known| known.memory);
                KnownTrigger {
                    definition: definition.clone(),
                    parsed,
                    memory,
                    plan: None,
                    makes: None,
                }
            })
            .collect();
        let named = self.triggers.iter().filter_map(|trigger| {
            let name = policy_reports::policy_named(&trigger.definition)?;
            Some((trigger.definition.index, name.to_owned()))
        });
        self.by_policy.follow(named.collect());
    }

    /// The replicas that are asked for, where it is known what is scaled.
    fn asked_for(&mut self, workload: &Workload) -> u32 {
        let Ok(target) = &workload.target else {
            return 0;
        };
        let answered = self.triggers.iter().filter_map(|trigger| trigger.makes).max();
        let tolerance = workload.tolerances.scale_down.unwrap_or(DEFAULT_TOLERANCE);
        self.asked_for
            .look(target.spec_replicas, target.status_replicas, answered, tolerance)
    }
}

impl KnownTrigger {
    fn evaluate(
        &mut self,
        now: Timestamp,
        workload: &Arc<Workload>,
        asked_for: u32,
        sources: &Sources<'_>,
        by_policy: &mut ByPolicy,
        rules: &Rules<'_>,
    ) -> TriggerState {
        let parsed = Arc::clone(&self.parsed);
        let index = self.definition.index;
        self.makes = None;
        match self.answer(now, workload, asked_for, sources, by_policy, rules) {
            Ok((evaluation, answer)) => {
                self.makes = makes(&evaluation, &answer);
                let at_zero = evaluation.replicas == 0;
                let policy = parsed
                    .as_ref()
                    .as_ref()
                    .ok()
                    .and_then(|parsed| parsed.trigger.policy());
                let policy = policy.map(|name| Arc::new(by_policy.state(workload, name)));
                TriggerState {
                    index,
                    parsed,
                    evaluation: Some(Arc::new(evaluation)),
                    policy,
                    answer,
                    at_zero,
                }
            }
            Err(Refusal { kind, reason }) => {
                self.memory.answered_error(now);
                TriggerState::error(index, parsed, kind, reason)
            }
        }
    }

    /// Sees to it that what the trigger needs is found out.
    fn plan(&mut self, workload: &Arc<Workload>, findings: &Findings, wishes: &mut Wishes) {
        let Ok(Parsed { trigger, .. }) = self.parsed.as_ref() else {
            return;
        };
        let needs = trigger.needs();
        if needs.engine.is_none() && needs.outside.is_empty() {
            return;
        }
        let plan = self
            .plan
            .take()
            .filter(|plan| plan.is_current(workload, findings));
        let plan = plan.unwrap_or_else(|| Plan::new(workload, needs, findings));
        plan.wish(needs, wishes);
        self.plan = Some(plan);
    }

    fn answer(
        &mut self,
        now: Timestamp,
        workload: &Workload,
        asked_for: u32,
        sources: &Sources<'_>,
        by_policy: &mut ByPolicy,
        rules: &Rules<'_>,
    ) -> Result<(Evaluation, Answer), Refusal> {
        let trigger = match self.parsed.as_ref() {
            Ok(parsed) => &parsed.trigger,
            Err(error) => return Err(Refusal::lasting(error)),
        };
        let metric_type = match &self.definition.metric_type {
            Ok(rheostat_cluster::MetricType::AverageValue) => MetricType::AverageValue,
            Ok(rheostat_cluster::MetricType::Value) => MetricType::Value,
            Err(error) => return Err(Refusal::lasting(error)),
        };
        if let Some(reason) = by_policy.refusal(workload, self.definition.index, metric_type) {
            return Err(Refusal::lasting(&reason));
        }
        let target = workload.target.as_ref().map_err(Refusal::of_target)?;
        // At zero there is nothing to lose, and an error would end KEDA's push stream.
        let manual = match manual_demand(trigger, workload) {
            Some(Err(error)) if target.spec_replicas > 0 => return Err(Refusal::lasting(&error)),
            asked => asked.and_then(Result::ok),
        };
        if target.spec_replicas > 0
            && let Some(reason) = outdated(now, workload, target, sources.cluster)
        {
            return Err(Refusal {
                kind: ErrorKind::Unavailable,
                reason,
            });
        }
        let mut pods = join::pods(workload, sources, self.plan.as_ref(), trigger.needs(), now);
        let outside = self
            .plan
            .as_ref()
            .map_or_else(Vec::new, |plan| plan.outside(sources.findings, now));
        if trigger.policy().is_some() {
            observe::mark_asleep(&mut pods, trigger.needs(), now);
        }
        let replicas = match metric_type {
            MetricType::AverageValue => asked_for,
            // The HPA holds a `Value` against what is in `spec`, and takes nothing else for the size.
            MetricType::Value => target.spec_replicas,
        };
        let input = Input {
            now,
            replicas,
            status_replicas: target.status_replicas,
            pods: &pods,
            manual,
            outside: &outside,
        };
        let decided = trigger.policy().map(|name| {
            let scene = Scene {
                now,
                workload,
                replicas,
                pods: &pods,
                queued_outside: observe::queued_outside(trigger, &input),
                needs: trigger.needs(),
            };
            by_policy.decide(name, &scene, sources, rules)
        });
        let evaluation = match &decided {
            Some(decided) => evaluate_decided(trigger, metric_type, &input, decided),
            None => evaluate(trigger, metric_type, &input),
        };
        let idle_period = match workload.id.kind {
            WorkloadKind::ScaledObject => workload.cooldown_period,
            // A ScaledJob has no cooldown: its Jobs end by themselves.
            WorkloadKind::ScaledJob => Duration::ZERO,
        };
        let settings = trigger.answer_settings(idle_period);
        let mut answer = self.memory.step(now, &evaluation, &settings);
        if let (Answer::Error { kind, .. }, Some(_)) = (&mut answer, &decided) {
            *kind = by_policy.error_kind();
        }
        Ok((evaluation, answer))
    }
}

/// The replicas that an answer makes under `AverageValue` where nothing is within the HPA's tolerance.
fn makes(evaluation: &Evaluation, answer: &Answer) -> Option<u32> {
    let value = answer.value()?;
    (evaluation.metric_type == MetricType::AverageValue)
        .then(|| hpa_desired(MetricType::AverageValue, value, evaluation.target, 0, 0, 0.0))
}

/// The demand that the annotation of `workload` states, where there is one and the trigger looks at it.
pub(crate) fn manual_demand(trigger: &Trigger, workload: &Workload) -> Option<Result<f64, TriggerError>> {
    let text = workload.annotations.get(MANUAL_DEMAND_ANNOTATION)?;
    trigger.needs().manual.then(|| parse_manual_demand(text))
}

/// An error that is answered before anything is evaluated.
struct Refusal {
    kind: ErrorKind,
    reason: String,
}

impl Refusal {
    /// Somebody has to change something.
    fn lasting(error: &impl ToString) -> Self {
        Self {
            kind: ErrorKind::FailedPrecondition,
            reason: error.to_string(),
        }
    }

    fn of_target(problem: &TargetProblem) -> Self {
        let kind = match problem {
            TargetProblem::NotYet { .. } | TargetProblem::NotFound { .. } | TargetProblem::Failed { .. } => {
                ErrorKind::Unavailable
            }
            TargetProblem::UnknownKind { .. }
            | TargetProblem::NotScalable { .. }
            | TargetProblem::Selector { .. }
            | TargetProblem::Reference(_) => ErrorKind::FailedPrecondition,
        };
        Self {
            kind,
            reason: problem.to_string(),
        }
    }
}

/// Why what the API server said of `workload` is too old to rest an answer on, where it is.
fn outdated(
    now: Timestamp,
    workload: &Workload,
    target: &ScaleTarget,
    cluster: &rheostat_cluster::Snapshot,
) -> Option<String> {
    let old = |stale: &Stale| now.since(stale.since) > CLUSTER_STALE_AFTER;
    if let Some(stale) = target.stale.as_ref().filter(|stale| old(stale)) {
        let age = now.since(stale.since);
        return Some(format!(
            "{} {} was last read {age:.0?} ago: {}",
            target.kind, target.name, stale.reason
        ));
    }
    let (watch, stale) = cluster
        .health
        .stale_for(workload)
        .filter(|(_, stale)| old(stale))?;
    Some(format!(
        "the watch of {watch} has been broken for {:.0?}: {}",
        now.since(stale.since),
        stale.reason
    ))
}
