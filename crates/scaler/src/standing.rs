//! What workloads with policies want of each other: their parts of a pool, the other one of a pair.

use std::collections::{BTreeMap, HashMap};

use rheostat_cluster::{TargetProblem, Workload, WorkloadId, WorkloadKind};
use rheostat_sizing::{Claim, Decision, Outcome, StepKind, share};

use crate::by_policy::ByPolicy;
use crate::evaluator::Sources;
use crate::join;
use crate::policies::Policies;
use crate::policy_reports::policy_named;

/// What was decided last for every workload with a policy, as far as others look at it.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    needs: HashMap<WorkloadId, u32>,
    allotments: HashMap<WorkloadId, u32>,
}

/// A pool, by namespace and name, and who wants how much of it.
#[derive(Debug)]
struct Members<'a> {
    /// The least that one of its policies says it has: what only some allow is not allowed.
    gpus: f64,
    /// GPUs that workloads have that are not decided for: these stay, whatever others want.
    held: f64,
    claims: Vec<(&'a WorkloadId, Claim)>,
    /// What somebody has is not known, so that nothing can be divided.
    unclear: bool,
}

/// A workload that is in a pool and was not decided for at the last look: the scaler has just started, or its target,
/// its policy or what stands beside that cannot be read.
#[derive(Debug)]
pub(crate) struct Undecided<'a> {
    namespace: &'a str,
    pool: String,
    /// The pool's, as far as the policy says it.
    gpus: f64,
    /// GPUs of all its replicas; `None` while that is not known.
    has: Option<f64>,
}

impl Standings {
    /// Divides the pools among the workloads, which come ordered; nobody is given what one has that was not decided
    /// for.
    pub(crate) fn new<'a>(
        known: impl Iterator<Item = (&'a WorkloadId, &'a ByPolicy)>,
        undecided: &[Undecided<'a>],
    ) -> Self {
        let mut standings = Self::default();
        let mut pools: BTreeMap<(&str, &str), Members<'_>> = BTreeMap::new();
        for one in undecided {
            let members = pools.entry((one.namespace, &one.pool)).or_default();
            members.gpus = members.gpus.min(one.gpus);
            match one.has {
                Some(gpus) => members.held += gpus,
                None => members.unclear = true,
            }
        }
        for (id, by_policy) in known {
            let Some(last) = by_policy.last() else { continue };
            // The other one of a pair goes by the last need that was known.
            standings.needs.insert(id.clone(), need(&last.decision));
            let Some(pool) = last.pool.as_ref().filter(|_| by_policy.decides()) else {
                continue;
            };
            let members = pools.entry((&id.namespace, &pool.name)).or_default();
            members.gpus = members.gpus.min(pool.gpus);
            let least = match last.decision.replicas {
                0 => last.intent.min_replicas,
                _ => last.intent.min_replicas.max(last.kept),
            };
            let least = match last.decision.outcome {
                // Fewer are not answered, so that it keeps what it has.
                Outcome::Unknown { .. } => least.max(last.replicas),
                Outcome::Known | Outcome::AtZero => least,
            };
            let claim = Claim {
                priority: pool.priority,
                weight: pool.weight,
                gpus_per_replica: last.intent.replica.gpus,
                min: least,
                wants: wants(&last.decision).max(least),
                max: last.intent.max_replicas,
            };
            members.claims.push((id, claim));
        }
        for members in pools.into_values().filter(|members| !members.unclear) {
            let (ids, claims): (Vec<_>, Vec<_>) = members.claims.into_iter().unzip();
            let shares = share(members.gpus - members.held, &claims);
            standings.allotments.extend(ids.into_iter().cloned().zip(shares));
        }
        standings
    }

    /// What its pool leaves to `workload`; `None` where it has none, was not decided for yet, or what others have is
    /// not known.
    pub(crate) fn allotment(&self, workload: &WorkloadId) -> Option<u32> {
        self.allotments.get(workload).copied()
    }

    /// What the ScaledObject `name`, beside `workload`, needs by itself.
    pub(crate) fn partner(&self, workload: &WorkloadId, name: &str) -> Option<u32> {
        let partner = WorkloadId {
            name: name.to_owned(),
            ..workload.clone()
        };
        self.needs.get(&partner).copied()
    }
}

impl Default for Members<'_> {
    fn default() -> Self {
        Self {
            gpus: f64::INFINITY,
            held: 0.0,
            claims: Vec::new(),
            unclear: false,
        }
    }
}

impl<'a> Undecided<'a> {
    /// `None` where the workload is in no pool, as far as can be read or is remembered, or can have no replicas.
    pub(crate) fn of(
        workload: &'a Workload,
        by_policy: Option<&ByPolicy>,
        policies: &Policies,
        sources: &Sources<'_>,
    ) -> Option<Self> {
        let id = &workload.id;
        if id.kind != WorkloadKind::ScaledObject {
            return None;
        }
        let name = workload.triggers.iter().find_map(policy_named)?;
        let found = policies.find(&id.namespace, name, sources.cluster).ok();
        let policy = found
            .as_ref()
            .and_then(|found| found.meaning.as_ref().as_ref().ok());
        // One that means nothing may still say where its workload's GPUs are, and how many.
        let says = |key: &str| found.as_ref()?.object.spec.pointer(key);
        let (pool, gpus) = match policy {
            Some(policy) => policy.pool().map(|pool| (pool.name.clone(), pool.gpus))?,
            None => {
                let said = || says("/pool/name")?.as_str();
                let last = || Some(by_policy?.last()?.pool.as_ref()?.name.as_str());
                (said().or_else(last)?.to_owned(), f64::INFINITY)
            }
        };
        let said = || says("/gpu/perReplica")?.as_f64().filter(|gpus| *gpus > 0.0);
        let per_replica = match policy {
            Some(policy) => policy.gpus_per_replica(),
            None => said(),
        };
        let each = per_replica
            .or_else(|| join::gpus_each(workload, sources.fleet))
            .or_else(|| by_policy?.gpus_per_pod())
            .or_else(|| found.as_ref()?.gpus_seen(&id.name));
        let has = match &workload.target {
            Ok(target) if target.spec_replicas == 0 => Some(0.0),
            Ok(target) => each.map(|each| f64::from(target.spec_replicas) * each),
            // It is there, but how many replicas it has was not read.
            Err(
                TargetProblem::NotYet { .. } | TargetProblem::Failed { .. } | TargetProblem::Selector { .. },
            ) => None,
            Err(_) => return None,
        };
        Some(Self {
            namespace: &id.namespace,
            pool,
            gpus,
            has,
        })
    }
}

/// Replicas that the workload would have if its pool were large enough.
pub(crate) fn wants(decision: &Decision) -> u32 {
    before(decision, |step| step == StepKind::Pool, 1)
}

/// Replicas that the workload needs by itself. What it has for its partner's sake does not count: each would
/// keep the other one up for ever.
fn need(decision: &Decision) -> u32 {
    before(decision, |step| step == StepKind::Size, 2)
}

/// Replicas before the step of this kind that comes as number `place`; all that was decided without one.
fn before(decision: &Decision, is: impl Fn(StepKind) -> bool, place: usize) -> u32 {
    let steps = &decision.steps;
    let mut found = (0..steps.len()).filter(|&step| is(steps[step].kind));
    match found.nth(place - 1) {
        Some(step) if step > 0 => steps[step - 1].replicas,
        _ => decision.replicas,
    }
}
