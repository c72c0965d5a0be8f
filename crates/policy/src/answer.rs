use std::fmt;
use std::time::Duration;

use rheostat_reading::Timestamp;

use crate::evaluation::is_lasting;
use crate::hpa::{to_milli, value_for};
use crate::{Evaluation, MetricType, Outcome};

/// What KEDA is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A number.
    Value {
        /// For `GetMetrics`, in the unit of the trigger's target.
        value: f64,
        /// For `IsActive`.
        active: bool,
        /// What it rests on.
        basis: Basis,
    },
    /// The workload is at zero: inactive, 0, never an error.
    AtZero,
    /// Nothing that could be vouched for; KEDA and the HPA then leave the replicas as they are.
    Error {
        /// Which gRPC status it is.
        kind: ErrorKind,
        /// What is missing and why.
        reason: String,
    },
}

/// What an answered number rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Basis {
    /// The readings of this moment.
    Current,
    /// The last good answer, while nothing is known.
    Held {
        /// How old it is.
        age: Duration,
    },
    /// No change: the workload was first seen a moment ago, and too little is known of it yet.
    FirstLook {
        /// For how long it has been seen.
        seen: Duration,
    },
    /// The value is of this moment, but a workload that looks idle is called active, since it has
    /// not been watched idle for long enough after a gap.
    Watching {
        /// Why it must be watched.
        gap: Gap,
        /// For how long it has been watched idle.
        watched: Duration,
        /// For how long it must be.
        idle_period: Duration,
    },
}

/// Which gRPC status an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Data is missing that may come back by itself: `UNAVAILABLE`.
    Unavailable,
    /// Waiting will not help, somebody has to change something: `FAILED_PRECONDITION`.
    FailedPrecondition,
}

/// Why a workload has to be watched before it may be called idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// It was running when it was first seen: what came before is not known.
    FirstSeen,
    /// Errors were answered.
    Unknown,
    /// It was not evaluated for a while (the process was stopped or starved).
    NotEvaluated,
}

/// How long to hold and to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerSettings {
    /// How long the last good answer stands while nothing is known, and "no change" where there has
    /// been none yet.
    pub grace: Duration,
    /// How long a workload must be watched idle after a gap before it is called inactive.
    pub idle_period: Duration,
}

/// What must be remembered of one trigger between evaluations. Plain data, and deterministic.
///
/// Why a short blindness within the grace is no gap: KEDA went on getting answers, and none of
/// them was *inactive* (a held answer is always active: silence proves no idleness), so that its
/// own cooldown was renewed and did not run on unseen. An error does not renew it (KEDA counts
/// from the last *active* answer it got), which is why a gap must be made up for by watching.
///
/// Why a workload that was never known is not an error at once: KEDA first polls it, and the HPA
/// first reads it, in the moment in which its ScaledObject appears, and before anybody can have
/// read its pods or asked a Prometheus. Two errors that overlap KEDA takes for *inactive* (its
/// `ErrCacheClosed`), and one that was never active it takes to zero without any cooldown.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Memory {
    /// The last good answer.
    good: Option<Good>,
    /// Why *inactive* may not be said yet.
    gap: Option<Gap>,
    /// How long the workload has been watched idle without a break.
    watched: Duration,
    /// Nanoseconds since the epoch of the last step.
    stepped_at: Option<u64>,
    /// The same of the first evaluation, or the first one after it was at zero.
    seen_at: Option<u64>,
    /// Whether the last step found the workload known and idle.
    was_idle: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Good {
    at: u64,
    value: f64,
    replicas: u32,
    ready: u32,
}

/// A longer pause between steps than this (or than the grace, where that is longer) is a gap.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Memory {
    /// Of a workload that has not been seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            good: None,
            gap: Some(Gap::FirstSeen),
            watched: Duration::ZERO,
            stepped_at: None,
            seen_at: None,
            was_idle: false,
        }
    }

    /// What to answer at `now`, given the evaluation of that moment.
    pub fn step(&mut self, now: Timestamp, evaluation: &Evaluation, settings: &AnswerSettings) -> Answer {
        let since_last = self
            .stepped_at
            .map(|at| now.since(Timestamp::from_unix_nanos(at)));
        self.stepped_at = Some(now.unix_nanos());
        if since_last.is_some_and(|pause| pause > settings.grace.max(LONGEST_PAUSE)) {
            self.lose(Gap::NotEvaluated);
        }
        let seen_at = *self.seen_at.get_or_insert_with(|| now.unix_nanos());
        match evaluation.outcome {
            // Nothing can be lost at zero, and what comes from zero begins anew.
            Outcome::AtZero => {
                *self = Self {
                    gap: None,
                    stepped_at: self.stepped_at,
                    ..Self::new()
                };
                Answer::AtZero
            }
            Outcome::Known { value, active } => {
                if evaluation.replicas == 0 {
                    // Demand at zero: there is nothing yet that could be torn down.
                    self.gap = None;
                }
                self.good = Some(Good {
                    at: now.unix_nanos(),
                    value,
                    replicas: evaluation.replicas,
                    ready: evaluation.coverage.ready_for_hpa(),
                });
                let basis = self.watch(active, since_last.unwrap_or_default(), settings);
                Answer::Value {
                    value,
                    active: active || basis != Basis::Current,
                    basis,
                }
            }
            Outcome::Unknown => {
                // The time without sight does not count as watched, but does not undo it either.
                self.was_idle = false;
                if let Some(good) = self.good {
                    let age = now.since(Timestamp::from_unix_nanos(good.at));
                    if age <= settings.grace {
                        let value = held_value(good, evaluation);
                        return Answer::Value {
                            value,
                            active: true,
                            basis: Basis::Held { age },
                        };
                    }
                }
                let kind = kind_of(evaluation);
                let seen = now.since(Timestamp::from_unix_nanos(seen_at));
                if self.good.is_none() && kind == ErrorKind::Unavailable && seen < settings.grace {
                    return Answer::Value {
                        value: no_change(evaluation),
                        active: true,
                        basis: Basis::FirstLook { seen },
                    };
                }
                self.lose(Gap::Unknown);
                Answer::Error {
                    kind,
                    reason: evaluation.unknown_reason(),
                }
            }
        }
    }

    /// To be called where an error was answered in place of a step, for a reason outside of any
    /// evaluation (the cluster's state is too old, the scale target is not known).
    pub fn answered_error(&mut self, now: Timestamp) {
        self.stepped_at = Some(now.unix_nanos());
        self.lose(Gap::Unknown);
    }

    /// Keeps the watch after a gap: whether *inactive* may be said.
    fn watch(&mut self, active: bool, since_last: Duration, settings: &AnswerSettings) -> Basis {
        if active {
            self.watched = Duration::ZERO;
        } else if self.was_idle {
            self.watched = self.watched.saturating_add(since_last);
        }
        self.was_idle = !active;
        match self.gap {
            Some(gap) if !active && self.watched < settings.idle_period => Basis::Watching {
                gap,
                watched: self.watched,
                idle_period: settings.idle_period,
            },
            Some(_) if !active => {
                self.gap = None;
                Basis::Current
            }
            _ => Basis::Current,
        }
    }

    fn lose(&mut self, gap: Gap) {
        // A workload whose past was never known stays that.
        self.gap = Some(self.gap.filter(|gap| *gap == Gap::FirstSeen).unwrap_or(gap));
        self.good = None;
        self.watched = Duration::ZERO;
        self.was_idle = false;
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// The last good value, or "no change" where it would be acted on twice: an intensity is true
/// for the size at which it was measured, and the HPA multiplies it by the size it finds.
fn held_value(good: Good, evaluation: &Evaluation) -> f64 {
    let same_size = good.replicas == evaluation.replicas && good.ready == evaluation.coverage.ready_for_hpa();
    match evaluation.metric_type {
        MetricType::Value if !same_size => no_change(evaluation),
        _ => good.value,
    }
}

/// The value of which the HPA makes as many replicas as are asked for now.
fn no_change(evaluation: &Evaluation) -> f64 {
    match evaluation.metric_type {
        MetricType::AverageValue => value_for(
            MetricType::AverageValue,
            evaluation.replicas,
            evaluation.target,
            evaluation.replicas_for_hpa,
            evaluation.coverage.ready_for_hpa(),
        ),
        MetricType::Value => to_milli(evaluation.target),
    }
}

/// Whether somebody has to act: all that is missing is missing for a reason that stays.
fn kind_of(evaluation: &Evaluation) -> ErrorKind {
    let mut unknown = evaluation
        .unread()
        .map(|(_, unknown)| unknown.is_lasting())
        .chain(evaluation.missing().map(|(_, reason)| is_lasting(reason)))
        .peekable();
    match unknown.peek().is_some() && unknown.all(|lasting| lasting) {
        true => ErrorKind::FailedPrecondition,
        false => ErrorKind::Unavailable,
    }
}

impl Answer {
    /// The value for `GetMetrics`; `None` where that is an error.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Value { value, .. } => Some(*value),
            Self::AtZero => Some(0.0),
            Self::Error { .. } => None,
        }
    }

    /// The result for `IsActive`; `None` where that is an error.
    #[must_use]
    pub fn active(&self) -> Option<bool> {
        match self {
            Self::Value { active, .. } => Some(*active),
            Self::AtZero => Some(false),
            Self::Error { .. } => None,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { value, active, basis } => {
                write!(out, "{value}, {}", if *active { "active" } else { "inactive" })?;
                match basis {
                    Basis::Current => Ok(()),
                    Basis::Held { age } => write!(
                        out,
                        ": the last good value, {age:.1?} old, stands in while too little is known; silence is no proof of idleness"
                    ),
                    Basis::FirstLook { seen } => write!(
                        out,
                        ": as many as now, since it was first seen {seen:.1?} ago and too little is known yet"
                    ),
                    Basis::Watching {
                        gap,
                        watched,
                        idle_period,
                    } => write!(
                        out,
                        ": it looks idle, but {gap}, and it has been watched idle for only {watched:.0?} of {idle_period:.0?}"
                    ),
                }
            }
            Self::AtZero => out.write_str("0, inactive: there are no replicas and no demand"),
            Self::Error { kind, reason } => write!(out, "error {kind}: {reason}"),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Unavailable => "UNAVAILABLE",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
        })
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::FirstSeen => "it was already running when it was first seen",
            Self::Unknown => "nothing was known of it for a while",
            Self::NotEvaluated => "it was not evaluated for a while",
        })
    }
}
