//! How fast the replica count may change, and between which limits.

use std::time::Duration;

use rheostat_reading::Timestamp;

use super::ConditionReason;
use super::settings::{PolicyType, ResolvedRules, SelectPolicy};

/// Past changes in one direction; slots older than every policy's period are used again.
#[derive(Clone, Debug, Default)]
pub(super) struct ScaleEvents(Vec<ScaleEvent>);

#[derive(Clone, Copy, Debug)]
struct ScaleEvent {
    change: i32,
    at: Timestamp,
    outdated: bool,
}

impl ScaleEvents {
    /// `storeScaleEvent`.
    pub(super) fn store(&mut self, now: Timestamp, change: i32, rules: &ResolvedRules) {
        let longest = rules
            .policies
            .iter()
            .map(|policy| policy.period_seconds)
            .max()
            .unwrap_or(0);
        let longest = Duration::from_secs(u64::from(longest));
        for event in &mut self.0 {
            event.outdated |= now.since(event.at) > longest;
        }
        let newest = ScaleEvent {
            change,
            at: now,
            outdated: false,
        };
        match self.0.iter_mut().rev().find(|event| event.outdated) {
            Some(slot) => *slot = newest,
            None => self.0.push(newest),
        }
    }

    /// Replicas changed within the last `period` (`getReplicasChangePerPeriod`).
    fn within(&self, now: Timestamp, period: Duration) -> i32 {
        self.0
            .iter()
            .filter(|event| now.since(event.at) < period)
            .map(|event| event.change)
            .sum()
    }
}

/// A change that is asked for, with what happened before it.
pub(super) struct Change<'a> {
    pub(super) now: Timestamp,
    pub(super) current: i32,
    pub(super) wanted: i32,
    pub(super) ups: &'a ScaleEvents,
    pub(super) downs: &'a ScaleEvents,
}

/// Without behaviour (`convertDesiredReplicasWithRules`): at most double, or 4 where that is more,
/// upwards; downwards only the minimum counts.
pub(super) fn limit_by_default(current: i32, wanted: i32, min: i32, max: i32) -> (i32, ConditionReason) {
    let rate = (2.0 * f64::from(current)).max(4.0) as i32;
    let (most, reason) = if max > rate {
        (rate, ConditionReason::ScaleUpLimit)
    } else {
        (max, ConditionReason::TooManyReplicas)
    };
    if wanted < min {
        (min, ConditionReason::TooFewReplicas)
    } else if wanted > most {
        (most, reason)
    } else {
        (wanted, ConditionReason::DesiredWithinRange)
    }
}

/// With behaviour (`convertDesiredReplicasWithBehaviorRate`).
pub(super) fn limit_by_behavior(
    change: &Change<'_>,
    up: &ResolvedRules,
    down: &ResolvedRules,
    min: i32,
    max: i32,
) -> (i32, ConditionReason) {
    let &Change { current, wanted, .. } = change;
    if wanted > current {
        let rate = scale_up_limit(change, up).max(current);
        let (most, reason) = if max > rate {
            (rate, ConditionReason::ScaleUpLimit)
        } else {
            (max, ConditionReason::TooManyReplicas)
        };
        if wanted > most {
            return (most, reason);
        }
    } else if wanted < current {
        let rate = scale_down_limit(change, down).min(current);
        let (least, reason) = if min < rate {
            (rate, ConditionReason::ScaleDownLimit)
        } else {
            (min, ConditionReason::TooFewReplicas)
        };
        if wanted < least {
            return (least, reason);
        }
    }
    (wanted, ConditionReason::DesiredWithinRange)
}

/// The most that policies let it grow to (`calculateScaleUpLimitWithScalingRules`).
fn scale_up_limit(change: &Change<'_>, rules: &ResolvedRules) -> i32 {
    let proposals = rules.policies.iter().map(|policy| {
        let start = period_start(change, policy.period_seconds);
        match policy.kind {
            PolicyType::Pods => start.saturating_add(policy.value),
            // Rounded up: otherwise a small percentage of few replicas would never grow.
            PolicyType::Percent => (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
        }
    });
    match rules.select {
        SelectPolicy::Disabled => change.current,
        SelectPolicy::Min => proposals.min().unwrap_or(i32::MAX),
        SelectPolicy::Max => proposals.max().unwrap_or(i32::MIN),
    }
}

/// The least that policies let it shrink to (`calculateScaleDownLimitWithBehaviors`).
fn scale_down_limit(change: &Change<'_>, rules: &ResolvedRules) -> i32 {
    let proposals = rules.policies.iter().map(|policy| {
        let start = period_start(change, policy.period_seconds);
        match policy.kind {
            PolicyType::Pods => start.saturating_sub(policy.value),
            // Cut off, so towards zero.
            PolicyType::Percent => (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
        }
    });
    match rules.select {
        SelectPolicy::Disabled => change.current,
        // The smallest change leaves the most replicas.
        SelectPolicy::Min => proposals.max().unwrap_or(i32::MIN),
        SelectPolicy::Max => proposals.min().unwrap_or(i32::MAX),
    }
}

/// The count at the start of a policy's period, reckoned back from the changes since.
fn period_start(change: &Change<'_>, period_seconds: u32) -> i32 {
    let period = Duration::from_secs(u64::from(period_seconds));
    change.current - change.ups.within(change.now, period) + change.downs.within(change.now, period)
}
