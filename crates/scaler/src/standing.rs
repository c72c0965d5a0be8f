//! What workloads with policies want of each other: their parts of a pool, the other one of a pair.

use std::collections::{BTreeMap, HashMap};

use rheostat_cluster::WorkloadId;
use rheostat_sizing::{Claim, Decision, StepKind, share};

use crate::decider::Last;

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
    claims: Vec<(&'a WorkloadId, Claim)>,
}

impl Standings {
    /// Divides the pools among the workloads, which come ordered.
    pub(crate) fn new<'a>(workloads: impl Iterator<Item = (&'a WorkloadId, &'a Last)>) -> Self {
        let mut standings = Self::default();
        let mut pools: BTreeMap<(&str, &str), Members<'_>> = BTreeMap::new();
        for (id, last) in workloads {
            standings.needs.insert(id.clone(), need(&last.decision));
            let Some(pool) = &last.pool else { continue };
            let members = pools.entry((&id.namespace, &pool.name)).or_insert(Members {
                gpus: pool.gpus,
                claims: Vec::new(),
            });
            members.gpus = members.gpus.min(pool.gpus);
            let claim = Claim {
                priority: pool.priority,
                weight: pool.weight,
                gpus_per_replica: last.intent.replica.gpus,
                min: last.intent.min_replicas,
                wants: wants(&last.decision),
                max: last.intent.max_replicas,
            };
            members.claims.push((id, claim));
        }
        for members in pools.into_values() {
            let (ids, claims): (Vec<_>, Vec<_>) = members.claims.into_iter().unzip();
            let shares = share(members.gpus, &claims);
            let allotments = ids.into_iter().cloned().zip(shares);
            standings.allotments.extend(allotments);
        }
        standings
    }

    /// What its pool leaves to `workload`; `None` where it has none, or was not decided for yet.
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
