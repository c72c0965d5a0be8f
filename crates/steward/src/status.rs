use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rheostat_crd::{ConditionStatus, ScalingPolicyStatus, WorkloadStatus};
use rheostat_reading::{Ratio, Timestamp};
use rheostat_sizing::{Decision, Outcome};
use serde_json::{Value, json};

use crate::conditions::conditions;
use crate::reason::{bounded, deciding_reason};
use crate::report::{PolicyReport, WorkloadReport};

/// Longest line on why, over all workloads of a policy.
const LONGEST_LINE: usize = 512;

/// What is to stand in the status of a policy. `before` tells since when its conditions hold, and what is not seen
/// now of its workloads; `learned` is what
/// was learned of each workload, as text, and `leader` is who writes.
pub(crate) fn status(
    report: &PolicyReport,
    before: &ScalingPolicyStatus,
    learned: &BTreeMap<Arc<str>, String>,
    leader: &str,
    now: Timestamp,
) -> ScalingPolicyStatus {
    let decisions = || {
        report
            .workloads
            .iter()
            .filter_map(|workload| workload.decision.as_ref().ok())
    };
    let desired = decisions()
        .map(|decision| decision.replicas)
        .reduce(u32::saturating_add);
    let worst = decisions()
        .filter_map(|decision| decision.figures.attainment)
        .reduce(|least, found| Ratio(least.0.min(found.0)));
    ScalingPolicyStatus {
        observed_generation: report.policy.generation,
        leader: Some(leader.to_owned()),
        desired,
        why: why(report),
        attainment: worst.map(exact_percent),
        workloads: workloads(report, before, learned),
        conditions: conditions(report, &before.conditions, now),
    }
}

/// Whether `next` holds something that others act on or wait for, so that it is to be written at once.
pub(crate) fn is_urgent(before: &ScalingPolicyStatus, next: &ScalingPolicyStatus) -> bool {
    let answers = |status: &ScalingPolicyStatus| -> Vec<(String, Option<u32>, Option<bool>, bool)> {
        let of = |workload: &WorkloadStatus| {
            let name = workload.name.clone();
            // What is missing changes from one look to the next; whether something is, others answer with.
            (
                name,
                workload.desired,
                workload.active,
                workload.unknown.is_some(),
            )
        };
        status.workloads.iter().map(of).collect()
    };
    let conditions = |status: &ScalingPolicyStatus| -> Vec<(_, ConditionStatus, String)> {
        let all = status.conditions.iter();
        all.map(|found| (found.kind, found.status, found.reason.clone()))
            .collect()
    };
    before.observed_generation != next.observed_generation
        || before.leader != next.leader
        || before.desired != next.desired
        || answers(before) != answers(next)
        || conditions(before) != conditions(next)
}

/// `status` as a merge patch of the status subresource: what it does not hold is taken away. The UID makes sure
/// that no other object of the same name gets it.
pub(crate) fn patch(status: &ScalingPolicyStatus, uid: &str) -> Result<Value, serde_json::Error> {
    let mut fields = serde_json::to_value(status)?;
    for key in [
        "leader",
        "desired",
        "why",
        "attainment",
        "workloads",
        "conditions",
    ] {
        if fields.get(key).is_none() {
            fields[key] = Value::Null;
        }
    }
    Ok(json!({"metadata": {"uid": uid}, "status": fields}))
}

fn why(report: &PolicyReport) -> Option<String> {
    if let Some(problem) = &report.problem {
        return Some(bounded(problem, LONGEST_LINE));
    }
    let of = |workload: &WorkloadReport| match &workload.decision {
        Ok(decision) => (Some(decision.replicas), deciding_reason(decision)),
        Err(problem) => (None, problem.to_string()),
    };
    let line = match report.workloads.as_slice() {
        [] => return None,
        [one] => of(one).1,
        many => {
            let each = many.iter().map(|workload| match of(workload) {
                (Some(count), why) => format!("{} {count}: {why}", workload.name),
                (None, why) => format!("{}: {why}", workload.name),
            });
            each.collect::<Vec<_>>().join("; ")
        }
    };
    Some(bounded(&line, LONGEST_LINE))
}

/// One for each name: the list is keyed by it, and a ScaledJob that has a ScaledObject's name cannot be decided
/// for anyway.
fn workloads(
    report: &PolicyReport,
    before: &ScalingPolicyStatus,
    learned: &BTreeMap<Arc<str>, String>,
) -> Vec<WorkloadStatus> {
    let gpus = |workload: &WorkloadReport| {
        let known = before.workloads.iter().find(|known| known.name == *workload.name);
        workload.gpus.or_else(|| known?.gpus)
    };
    let mut named = BTreeSet::new();
    let all = report.workloads.iter();
    all.filter(|workload| named.insert(&workload.name))
        .map(|workload| WorkloadStatus {
            gpus: gpus(workload),
            learned: learned.get(&workload.name).cloned(),
            ..workload_status(workload)
        })
        .collect()
}

fn workload_status(report: &WorkloadReport) -> WorkloadStatus {
    let name = report.name.to_string();
    match &report.decision {
        Ok(decision) => {
            let figures = &decision.figures;
            WorkloadStatus {
                name,
                desired: Some(decision.replicas),
                active: Some(decision.active),
                unknown: match &decision.outcome {
                    Outcome::Unknown { reason } => Some(bounded(reason, LONGEST_LINE)),
                    Outcome::Known | Outcome::AtZero => None,
                },
                why: Some(deciding_reason(decision)),
                capacity: capacity(decision),
                confidence: figures.confidence.map(percent),
                cold_start: figures.cold_start.map(span),
                attainment: figures.attainment.map(exact_percent),
                budget_left: figures.budget_left.map(percent),
                ..WorkloadStatus::default()
            }
        }
        Err(problem) => WorkloadStatus {
            name,
            why: Some(bounded(problem, LONGEST_LINE)),
            ..WorkloadStatus::default()
        },
    }
}

fn capacity(decision: &Decision) -> Option<String> {
    let rate = decision.figures.capacity?;
    Some(match rate.0 {
        many if many >= 100.0 => format!("{many:.0} requests/s"),
        some if some >= 1.0 => format!("{some:.1} requests/s"),
        few => format!("{few:.3} requests/s"),
    })
}

fn percent(ratio: Ratio) -> String {
    format!("{:.0}%", ratio.0 * 100.0)
}

/// Between 99 and 100 % lies what matters of an objective.
fn exact_percent(ratio: Ratio) -> String {
    format!("{:.2}%", ratio.0 * 100.0)
}

/// Whole seconds, in the form that specs take.
fn span(span: Duration) -> String {
    let seconds = span.as_secs_f64().round();
    let (minutes, rest) = ((seconds / 60.0).floor(), seconds % 60.0);
    match minutes > 0.0 {
        true => format!("{minutes:.0}m{rest:.0}s"),
        false => format!("{rest:.0}s"),
    }
}
