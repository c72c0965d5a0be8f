use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::{PolicyId, WorkloadKind};
use rheostat_crd::{ConditionKind, ConditionStatus, GROUP, KIND, ScalingPolicyStatus, VERSION};
use rheostat_sizing::{Decision, Outcome};
use tokio::time::Instant;

use crate::reason::{bounded, deciding_reason};
use crate::report::{PolicyReport, WorkloadReport};

/// Something that a person should know of, as a Kubernetes Event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Notice {
    pub(crate) about: Subject,
    pub(crate) warning: bool,
    /// What happened, in one word.
    pub(crate) reason: &'static str,
    /// What happened, for a person.
    pub(crate) note: String,
}

/// What an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject {
    pub(crate) api_version: String,
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// Finds in the reports what is news. Pure: time is an argument.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    policies: BTreeMap<PolicyId, KnownPolicy>,
}

#[derive(Debug)]
struct KnownPolicy {
    uid: String,
    problem: Option<Arc<str>>,
    workloads: BTreeMap<Arc<str>, KnownWorkload>,
}

#[derive(Debug)]
struct KnownWorkload {
    uid: Arc<str>,
    desired: Option<u32>,
    over_budget: bool,
    unknown_since: Option<Instant>,
    unknown_told: bool,
}

/// A workload is worth a warning when it was not known for so long. Pods come and go, and most gaps close by
/// themselves sooner.
const LONG_UNKNOWN: Duration = Duration::from_secs(300);

/// Longest note; Kubernetes refuses more than 1024 bytes.
const LONGEST_NOTE: usize = 1000;

impl Notices {
    /// Forgets all: another one tells.
    pub(crate) fn clear(&mut self) {
        self.policies.clear();
    }

    /// What is news in `reports` at `now`. What was news to whoever led before, as the statuses tell, is none.
    pub(crate) fn find(&mut self, reports: &[PolicyReport], now: Instant) -> Vec<Notice> {
        let present: BTreeSet<_> = reports.iter().map(|report| &report.policy.id).collect();
        self.policies.retain(|id, _| present.contains(id));
        let mut found = Vec::new();
        for report in reports {
            let known = self
                .policies
                .entry(report.policy.id.clone())
                .or_insert_with(|| KnownPolicy::new(report));
            if known.uid != report.policy.uid {
                *known = KnownPolicy::new(report);
            }
            known.find(report, now, &mut found);
        }
        found
    }
}

impl KnownPolicy {
    fn new(report: &PolicyReport) -> Self {
        let status = ScalingPolicyStatus::read(&report.policy.status).unwrap_or_default();
        let told_invalid = status.observed_generation == report.policy.generation
            && status.conditions.iter().any(|condition| {
                condition.kind == ConditionKind::Ready
                    && condition.status == ConditionStatus::False
                    && condition.reason == "Invalid"
            });
        let over_budget = status.conditions.iter().any(|condition| {
            condition.kind == ConditionKind::BudgetExceeded && condition.status == ConditionStatus::True
        });
        let workload = |workload: &WorkloadReport| {
            let before = status.workloads.iter().find(|known| known.name == *workload.name);
            let known = KnownWorkload {
                uid: Arc::clone(&workload.uid),
                desired: before.and_then(|known| known.desired),
                over_budget: before.is_some() && over_budget,
                unknown_since: None,
                unknown_told: false,
            };
            (Arc::clone(&workload.name), known)
        };
        Self {
            uid: report.policy.uid.clone(),
            problem: report.problem.clone().filter(|_| told_invalid),
            workloads: report.workloads.iter().map(workload).collect(),
        }
    }

    fn find(&mut self, report: &PolicyReport, now: Instant, found: &mut Vec<Notice>) {
        if self.problem != report.problem {
            self.problem.clone_from(&report.problem);
            if let Some(problem) = &report.problem {
                found.push(Notice {
                    about: policy(report),
                    warning: true,
                    reason: "PolicyInvalid",
                    note: bounded(problem, LONGEST_NOTE),
                });
            }
        }
        let present: BTreeSet<_> = report.workloads.iter().map(|workload| &workload.name).collect();
        self.workloads.retain(|name, _| present.contains(name));
        for workload in &report.workloads {
            let name = Arc::clone(&workload.name);
            let known = self
                .workloads
                .entry(name)
                .or_insert_with(|| KnownWorkload::new(workload));
            if known.uid != workload.uid {
                *known = KnownWorkload::new(workload);
            }
            let mut tell = |warning, reason, note: &str| {
                found.push(Notice {
                    about: subject(report, workload),
                    warning,
                    reason,
                    note: bounded(note, LONGEST_NOTE),
                });
            };
            if let Ok(decision) = &workload.decision {
                known.count(decision, &mut tell);
                known.budget(decision, &mut tell);
            }
            known.unknown(workload, now, &mut tell);
        }
    }
}

impl KnownWorkload {
    fn new(workload: &WorkloadReport) -> Self {
        Self {
            uid: Arc::clone(&workload.uid),
            desired: None,
            over_budget: false,
            unknown_since: None,
            unknown_told: false,
        }
    }

    fn count(&mut self, decision: &Decision, tell: &mut impl FnMut(bool, &'static str, &str)) {
        let count = decision.replicas;
        if let Some(before) = self.desired.replace(count)
            && before != count
        {
            let what = if count == 1 { "replica" } else { "replicas" };
            let note = format!("{count} {what} (was {before}): {}", deciding_reason(decision));
            tell(false, "ReplicasDecided", &note);
        }
    }

    fn budget(&mut self, decision: &Decision, tell: &mut impl FnMut(bool, &'static str, &str)) {
        let over = decision.figures.budget_left.is_some_and(|left| left.0 <= 0.0);
        if over && !self.over_budget {
            // The limit says which one, and what it does.
            let step = decision.steps.iter().find(|step| step.why.contains("budget"));
            tell(
                true,
                "BudgetExceeded",
                step.map_or("a budget is used up", |step| &step.why),
            );
        }
        self.over_budget = over;
    }

    fn unknown(
        &mut self,
        workload: &WorkloadReport,
        now: Instant,
        tell: &mut impl FnMut(bool, &'static str, &str),
    ) {
        let why = match &workload.decision {
            Ok(decision) => match &decision.outcome {
                Outcome::Unknown { reason } => Some(reason.as_str()),
                Outcome::Known | Outcome::AtZero => None,
            },
            Err(problem) => Some(&**problem),
        };
        let Some(why) = why else {
            self.unknown_since = None;
            self.unknown_told = false;
            return;
        };
        let since = *self.unknown_since.get_or_insert(now);
        if !self.unknown_told && now.saturating_duration_since(since) >= LONG_UNKNOWN {
            self.unknown_told = true;
            let minutes = LONG_UNKNOWN.as_secs() / 60;
            let note = format!("not known for {minutes} minutes, and never scaled down for that: {why}");
            tell(true, "WorkloadUnknown", &note);
        }
    }
}

fn policy(report: &PolicyReport) -> Subject {
    Subject {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: KIND,
        namespace: report.policy.id.namespace.clone(),
        name: report.policy.id.name.clone(),
        uid: report.policy.uid.clone(),
    }
}

fn subject(report: &PolicyReport, workload: &WorkloadReport) -> Subject {
    Subject {
        api_version: "keda.sh/v1alpha1".to_owned(),
        kind: match workload.kind {
            WorkloadKind::ScaledObject => "ScaledObject",
            WorkloadKind::ScaledJob => "ScaledJob",
        },
        namespace: report.policy.id.namespace.clone(),
        name: workload.name.to_string(),
        uid: workload.uid.to_string(),
    }
}
