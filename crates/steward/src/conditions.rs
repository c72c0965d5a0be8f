use rheostat_crd::{Condition, ConditionKind, ConditionStatus};
use rheostat_reading::Timestamp;
use rheostat_sizing::{Outcome, StartStage};

use crate::lease::wall_time;
use crate::reason::{bounded, limit};
use crate::report::{PolicyReport, WorkloadReport};

/// From this on a capacity counts as learned: the fit then rests more on what was seen than on a data sheet.
const SURE: f64 = 0.5;

/// A capacity that was learned stays so down to here, so that the condition does not flicker.
const STILL_SURE: f64 = 0.4;

/// Longest message; what Kubernetes allows is 32 KiB, what a person reads less.
const LONGEST_MESSAGE: usize = 1024;

/// How a policy fares at `now`; `before` tells since when.
pub(crate) fn conditions(report: &PolicyReport, before: &[Condition], now: Timestamp) -> Vec<Condition> {
    let of = |kind| before.iter().find(|condition| condition.kind == kind);
    let found = match &report.problem {
        Some(problem) => [
            (ConditionKind::Ready, Finding::no("Invalid", problem.to_string())),
            (ConditionKind::Learned, Finding::unknown("Invalid")),
            (ConditionKind::BudgetExceeded, Finding::unknown("Invalid")),
            (ConditionKind::Limited, Finding::unknown("Invalid")),
        ],
        None => {
            let was = |kind| of(kind).is_some_and(|known| known.status == ConditionStatus::True);
            [
                (ConditionKind::Ready, ready(report)),
                (
                    ConditionKind::Learned,
                    learned(report, was(ConditionKind::Learned)),
                ),
                (ConditionKind::BudgetExceeded, budget(report)),
                (ConditionKind::Limited, limited(report)),
            ]
        }
    };
    found
        .into_iter()
        .map(|(kind, finding)| Condition {
            kind,
            status: finding.status,
            reason: finding.reason.to_owned(),
            message: bounded(&finding.message, LONGEST_MESSAGE),
            last_transition_time: match of(kind) {
                Some(known) if known.status == finding.status => known.last_transition_time.clone(),
                // Whole seconds, as Kubernetes has them.
                _ => format!("{:.0}", wall_time(now)),
            },
            observed_generation: report.policy.generation,
        })
        .collect()
}

struct Finding {
    status: ConditionStatus,
    reason: &'static str,
    message: String,
}

impl Finding {
    const fn new(status: ConditionStatus, reason: &'static str, message: String) -> Self {
        Self {
            status,
            reason,
            message,
        }
    }

    const fn yes(reason: &'static str, message: String) -> Self {
        Self::new(ConditionStatus::True, reason, message)
    }

    const fn no(reason: &'static str, message: String) -> Self {
        Self::new(ConditionStatus::False, reason, message)
    }

    const fn unknown(reason: &'static str) -> Self {
        Self::new(ConditionStatus::Unknown, reason, String::new())
    }
}

fn ready(report: &PolicyReport) -> Finding {
    let problem = |workload: &WorkloadReport| {
        let problem = workload.decision.as_ref().err()?;
        Some(format!("{}: {problem}", workload.name))
    };
    let unknown = |workload: &WorkloadReport| match &workload.decision.as_ref().ok()?.outcome {
        Outcome::Unknown { reason } => Some(format!("{}: {reason}", workload.name)),
        Outcome::Known | Outcome::AtZero => None,
    };
    let all = |of: &dyn Fn(&WorkloadReport) -> Option<String>| {
        let all: Vec<_> = report.workloads.iter().filter_map(of).collect();
        (!all.is_empty()).then(|| all.join("; "))
    };
    if let Some(problems) = all(&problem) {
        return Finding::no("Undecided", problems);
    }
    if let Some(unknown) = all(&unknown) {
        return Finding::no("WorkloadUnknown", unknown);
    }
    match report.workloads.len() {
        0 => Finding::yes("Unused", "no trigger names it".to_owned()),
        1 => Finding::yes("Decided", "1 workload is decided for".to_owned()),
        many => Finding::yes("Decided", format!("{many} workloads are decided for")),
    }
}

fn learned(report: &PolicyReport, was: bool) -> Finding {
    if report.workloads.is_empty() {
        return Finding::unknown("Unused");
    }
    let missing = |workload: &WorkloadReport| {
        let sure = workload
            .decision
            .as_ref()
            .ok()
            .and_then(|decision| decision.figures.confidence)
            .map(|confidence| confidence.0);
        let starts = workload.learned.as_ref().map_or(0, |learned| {
            let all = learned.cold_start().learned();
            all.filter(|(_, time)| time.stage == StartStage::Total)
                .map(|(_, time)| time.samples)
                .sum()
        });
        // Where no latency is to be kept, no capacity is learned.
        let unsure = sure.filter(|sure| *sure < if was { STILL_SURE } else { SURE });
        let parts = [
            unsure.map(|sure| format!("its capacity is {:.0}% sure", sure * 100.0)),
            (starts == 0).then(|| "no start of a replica was seen yet".to_owned()),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| format!("{}: {}", workload.name, parts.join(", ")))
    };
    let missing: Vec<_> = report.workloads.iter().filter_map(missing).collect();
    match missing.is_empty() {
        true => Finding::yes("Learned", String::new()),
        false => Finding::no("Learning", missing.join("; ")),
    }
}

fn budget(report: &PolicyReport) -> Finding {
    let left = |workload: &WorkloadReport| {
        let left = workload.decision.as_ref().ok()?.figures.budget_left?;
        Some((workload.name.clone(), left.0))
    };
    let left: Vec<_> = report.workloads.iter().filter_map(left).collect();
    if left.is_empty() {
        return Finding::no("NoBudget", String::new());
    }
    let over: Vec<_> = left
        .iter()
        .filter(|(_, left)| *left <= 0.0)
        .map(|(name, _)| name.as_ref())
        .collect();
    match over.is_empty() {
        true => Finding::no("WithinBudget", String::new()),
        false => Finding::yes(
            "BudgetUsedUp",
            format!("the budget is used up of {}", over.join(", ")),
        ),
    }
}

fn limited(report: &PolicyReport) -> Finding {
    let bound = |workload: &WorkloadReport| {
        let step = limit(workload.decision.as_ref().ok()?)?;
        Some(format!("{}: {}", workload.name, step.why))
    };
    let bound: Vec<_> = report.workloads.iter().filter_map(bound).collect();
    match bound.is_empty() {
        true => Finding::no("NotLimited", String::new()),
        false => Finding::yes("Limited", bound.join("; ")),
    }
}
