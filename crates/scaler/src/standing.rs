//! What workloads with policies want of each other: their parts of a pool, the other one of a pair.

use std::collections::{BTreeMap, HashMap};

use rheostat_cluster::{Snapshot, TargetProblem, Workload, WorkloadId, WorkloadKind};
use rheostat_crd::Policy;
use rheostat_sizing::{Claim, Decision, StepKind, share};

use crate::decider::Last;
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
    /// `None` of a workload that nobody has decided for.
    claims: Vec<(Option<&'a WorkloadId>, Claim)>,
    /// What somebody has is not known, so that nothing can be divided.
    unclear: bool,
}

/// A workload that a policy names a pool for, and that was not decided for: the scaler has just started, or its
/// target or its policy cannot be read.
#[derive(Debug)]
pub(crate) struct Undecided<'a> {
    namespace: &'a str,
    pool: String,
    gpus: f64,
    /// Its replicas and the GPUs of each; `None` while that is not known.
    has: Option<(u32, f64)>,
}

impl Standings {
    /// Divides the pools among the workloads, which come ordered; nobody is given what one has that was not decided
    /// for.
    pub(crate) fn new<'a>(
        decided: impl Iterator<Item = (&'a WorkloadId, &'a Last)>,
        undecided: &[Undecided<'a>],
    ) -> Self {
        let mut standings = Self::default();
        let mut pools: BTreeMap<(&str, &str), Members<'_>> = BTreeMap::new();
        for one in undecided {
            let members = pools.entry((one.namespace, &one.pool)).or_default();
            members.gpus = members.gpus.min(one.gpus);
            match one.has {
                Some((replicas, gpus)) => members.claims.push((None, holding(replicas, gpus))),
                None => members.unclear = true,
            }
        }
        for (id, last) in decided {
            standings.needs.insert(id.clone(), need(&last.decision));
            let Some(pool) = &last.pool else { continue };
            let members = pools.entry((&id.namespace, &pool.name)).or_default();
            members.gpus = members.gpus.min(pool.gpus);
            let least = match last.decision.replicas {
                0 => last.intent.min_replicas,
                _ => last.intent.min_replicas.max(last.kept),
            };
            let claim = Claim {
                priority: pool.priority,
                weight: pool.weight,
                gpus_per_replica: last.intent.replica.gpus,
                min: least,
                wants: wants(&last.decision).max(least),
                max: last.intent.max_replicas,
            };
            members.claims.push((Some(id), claim));
        }
        for members in pools.into_values().filter(|members| !members.unclear) {
            let (ids, claims): (Vec<_>, Vec<_>) = members.claims.into_iter().unzip();
            let shares = ids.into_iter().zip(share(members.gpus, &claims));
            let allotments = shares.filter_map(|(id, share)| Some((id?.clone(), share)));
            standings.allotments.extend(allotments);
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
            claims: Vec::new(),
            unclear: false,
        }
    }
}

impl<'a> Undecided<'a> {
    /// `None` where the workload is in no pool, as far as can be read, or can have no replicas.
    pub(crate) fn of(workload: &'a Workload, policies: &Policies, cluster: &Snapshot) -> Option<Self> {
        let id = &workload.id;
        if id.kind != WorkloadKind::ScaledObject {
            return None;
        }
        let name = workload.triggers.iter().find_map(policy_named)?;
        let found = policies.find(&id.namespace, name, cluster).ok()?;
        let policy = found.meaning.as_ref().as_ref().ok();
        let (pool, gpus) = match policy {
            Some(policy) => policy.pool().map(|pool| (pool.name.clone(), pool.gpus))?,
            // One that means nothing may still say where its workload's GPUs are.
            None => {
                let name = found.object.spec.pointer("/pool/name")?;
                (name.as_str()?.to_owned(), f64::INFINITY)
            }
        };
        let asked = workload.pods.iter().map(|pod| pod.gpus_requested).max();
        let asked = asked.filter(|gpus| *gpus > 0).map(f64::from);
        let each = policy.and_then(Policy::gpus_per_replica).or(asked);
        let has = match &workload.target {
            Ok(target) => Some((target.spec_replicas, each.unwrap_or(1.0))),
            Err(TargetProblem::NotYet { .. } | TargetProblem::Failed { .. }) => None,
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

/// What nobody decides about stays, whatever others want.
fn holding(replicas: u32, gpus_per_replica: f64) -> Claim {
    Claim {
        priority: i32::MAX,
        weight: 1.0,
        gpus_per_replica,
        min: replicas,
        wants: replicas,
        max: replicas,
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
