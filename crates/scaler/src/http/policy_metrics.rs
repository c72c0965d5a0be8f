//! What `/metrics` says of decisions by ScalingPolicies.

use rheostat_promtext::{EncodeError, Encoder, Kind};
use rheostat_sizing::{Decision, Figures};
use rheostat_steward::Leadership;

use crate::policy_explanation::outcome;
use crate::policy_state::PolicyState;
use crate::snapshot::Snapshot;
use crate::state::State;

/// A figure of a decision, where it is known.
type Figure = fn(&Decision) -> Option<f64>;

/// Name, unit, help and the figure.
const FIGURES: [(&str, &str, &str, Figure); 9] = [
    (
        "rheostat_policy_desired_replicas",
        "",
        "Replicas that this scaler has decided for, whoever leads.",
        |decision| Some(f64::from(decision.replicas)),
    ),
    (
        "rheostat_policy_demand_replicas",
        "",
        "Replicas that the present work keeps busy.",
        |Decision { figures, .. }| figures.demand.map(|count| count.0),
    ),
    (
        "rheostat_policy_expected_demand_replicas",
        "",
        "The same when a replica that is asked for now serves, at the quantile that is sized for.",
        |Decision { figures, .. }| figures.expected_demand.map(|count| count.0),
    ),
    (
        "rheostat_policy_arrivals_per_second",
        "",
        "Requests that arrive per second.",
        |Decision { figures, .. }| figures.arrival_rate.map(|rate| rate.0),
    ),
    (
        "rheostat_policy_capacity_per_second",
        "",
        "Requests per second that one replica serves within the objective.",
        |Decision { figures, .. }| figures.capacity.map(|rate| rate.0),
    ),
    (
        "rheostat_policy_confidence_ratio",
        "ratio",
        "How sure the learned capacity is, 0 to 1.",
        |Decision { figures, .. }| figures.confidence.map(|ratio| ratio.0),
    ),
    (
        "rheostat_policy_cold_start_seconds",
        "seconds",
        "From asking for a replica to its serving, 90th percentile.",
        |Decision { figures, .. }| figures.cold_start.map(|span| span.as_secs_f64()),
    ),
    (
        "rheostat_policy_attainment_ratio",
        "ratio",
        "Part of the requests that kept the objective of late.",
        |Decision { figures, .. }| figures.attainment.map(|ratio| ratio.0),
    ),
    (
        "rheostat_policy_budget_left_ratio",
        "ratio",
        "What is left of the tightest budget; below 0 where more was spent.",
        |Decision {
             figures: Figures { budget_left, .. },
             ..
         }| budget_left.map(|ratio| ratio.0),
    ),
];

pub(super) fn policies(encoder: &mut Encoder, state: &State) -> Result<(), EncodeError> {
    let snapshot = state.snapshots.latest();
    for (name, unit, help, figure) in FIGURES {
        let mut family = encoder.family(name, Kind::Gauge, unit, help)?;
        for (workload, policy) in all(&snapshot) {
            if let Some(number) = policy.decision.as_deref().and_then(figure) {
                family.sample(&labels(workload, policy), number)?;
            }
        }
    }
    let mut outcomes = encoder.family(
        "rheostat_policy_outcome",
        Kind::Gauge,
        "",
        "What the last decision rests on: 1 for the outcome in force; problem where the policy could not be decided by.",
    )?;
    for (workload, policy) in all(&snapshot) {
        let found = match (&policy.problem, &policy.decision) {
            (None, Some(decision)) => outcome(decision),
            _ => "problem",
        };
        let [namespace, name, policy] = labels(workload, policy);
        outcomes.sample(&[namespace, name, policy, ("outcome", found)], 1.0)?;
    }
    let mut following = encoder.family(
        "rheostat_policy_following",
        Kind::Gauge,
        "",
        "Whether the leader's decision is answered (1) or this scaler's own (0).",
    )?;
    for (workload, policy) in all(&snapshot) {
        let follows = matches!(policy.leadership, Leadership::Following { .. }) && policy.followed.is_some();
        following.sample(&labels(workload, policy), f64::from(u8::from(follows)))?;
    }
    let log = state.decisions.stats();
    let mut count = |name: &str, help: &str, number: u64| {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
        encoder
            .family(name, Kind::Counter, "", help)?
            .sample(&[], number as f64)
    };
    count(
        "rheostat_scaler_decision_log_written_total",
        "Decisions written to the log on disk.",
        log.written,
    )?;
    count(
        "rheostat_scaler_decision_log_lost_total",
        "Decisions that the log on disk could not take; they were made all the same.",
        log.lost,
    )
}

fn all(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &PolicyState)> {
    snapshot.workloads().iter().flat_map(|state| {
        let name = state.workload.id.name.as_str();
        let policies = state
            .triggers
            .iter()
            .filter_map(|trigger| trigger.policy.as_deref());
        policies.map(move |policy| (name, policy))
    })
}

fn labels<'a>(workload: &'a str, policy: &'a PolicyState) -> [(&'static str, &'a str); 3] {
    [
        ("namespace", &policy.policy.namespace),
        ("name", workload),
        ("policy", &policy.policy.name),
    ]
}
