//! What KEDA itself does to the replica count (`executor/scale_scaledobjects.go`).

use std::time::Duration;

use rheostat_reading::Timestamp;
use serde::{Deserialize, Serialize};

use super::conditions::{Condition, Conditions, Status};
use super::settings::ScaledObject;

/// Why KEDA changed a replica count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ScaleCause {
    /// A trigger became active at zero or idle replicas.
    Activated,
    /// A push message did that.
    Pushed,
    /// Inactive for the whole cooldown.
    CooledDown,
    /// Fewer than `minReplicaCount`, though inactive.
    BelowMinimum,
    /// The annotation `paused-replicas`.
    Paused,
}

impl std::fmt::Display for ScaleCause {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Activated => "a trigger is active",
            Self::Pushed => "the scaler pushed activity",
            Self::CooledDown => "no trigger was active for the cooldown period",
            Self::BelowMinimum => "fewer replicas than the minimum",
            Self::Paused => "paused at this count",
        })
    }
}

/// What a poll or a push found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Activity {
    pub(crate) active: bool,
    pub(crate) error: bool,
    pub(crate) pushed: bool,
}

/// The parts of the status that later decisions depend on.
#[derive(Clone, Debug)]
pub(crate) struct ScaleState {
    pub(crate) created: Timestamp,
    pub(crate) last_active: Option<Timestamp>,
    pub(crate) conditions: Conditions,
}

impl ScaleState {
    pub(crate) fn new(created: Timestamp) -> Self {
        let paused = Condition::new(Status::False, "");
        Self {
            created: whole_seconds(created),
            last_active: None,
            conditions: Conditions {
                paused,
                ..Conditions::default()
            },
        }
    }

    /// `RequestScale`: the new replica count, if it is to change.
    pub(crate) fn request(
        &mut self,
        now: Timestamp,
        object: &ScaledObject,
        current: i32,
        found: Activity,
    ) -> Option<(i32, ScaleCause)> {
        self.conditions.ready = Condition::new(Status::True, "ScaledObjectReady");
        if object.is_paused() {
            self.conditions.paused = Condition::new(Status::True, "ScaledObjectPaused");
            return None;
        }
        let change = if found.active || object.annotations.force_activation {
            self.conditions.active = Condition::new(Status::True, "ScalerActive");
            self.active(now, object, current, found)
        } else {
            self.conditions.active = Condition::new(Status::False, "ScalerNotActive");
            self.inactive(now, object, current, found)
        };
        // Writing the count that is already there is an update without effect.
        change.filter(|(to, _)| *to != current)
    }

    fn active(
        &mut self,
        now: Timestamp,
        object: &ScaledObject,
        current: i32,
        found: Activity,
    ) -> Option<(i32, ScaleCause)> {
        let idle = object.spec.idle_replica_count.is_some() && current < object.min_replicas();
        if idle || current == 0 {
            if object.annotations.paused_scale_out {
                return None;
            }
            self.last_active = Some(whole_seconds(now));
            let cause = if found.pushed {
                ScaleCause::Pushed
            } else {
                ScaleCause::Activated
            };
            return Some((object.hpa_min_replicas(), cause));
        }
        if found.error {
            self.conditions.ready = Condition::new(Status::Unknown, "PartialTriggerError");
        } else {
            self.last_active = Some(whole_seconds(now));
        }
        None
    }

    fn inactive(
        &mut self,
        now: Timestamp,
        object: &ScaledObject,
        current: i32,
        found: Activity,
    ) -> Option<(i32, ScaleCause)> {
        let min = object.min_replicas();
        let idle = object.spec.idle_replica_count;
        match object.spec.fallback {
            // Zero would switch the HPA off, and with it the fallback that is coming.
            Some(fallback) if found.error && fallback.replicas != 0 => return None,
            None if found.error => {
                self.conditions.ready = Condition::new(Status::False, "TriggerError");
                return None;
            }
            _ => {}
        }
        if idle.is_some_and(|idle| current > idle) || (current > 0 && min == 0) {
            return self.deactivate(now, object);
        }
        (idle.is_none() && current < min).then_some((min, ScaleCause::BelowMinimum))
    }

    /// `scaleToZeroOrIdle`.
    fn deactivate(&mut self, now: Timestamp, object: &ScaledObject) -> Option<(i32, ScaleCause)> {
        if object.annotations.paused_scale_in {
            return None;
        }
        let over = |since: Timestamp, period: Duration| since.plus(period) < now;
        let cooled = match self.last_active {
            // Scaled by somebody else, or never active.
            None => over(self.created, object.initial_cooldown()),
            Some(last) => over(last, object.cooldown()),
        };
        if !cooled {
            self.conditions.active = Condition::new(Status::False, "ScalerCooldown");
            return None;
        }
        Some((
            object
                .spec
                .idle_replica_count
                .unwrap_or_else(|| object.min_replicas()),
            ScaleCause::CooledDown,
        ))
    }
}

/// Times in a status are stored in whole seconds (`metav1.Time`).
const fn whole_seconds(time: Timestamp) -> Timestamp {
    const SECOND: u64 = 1_000_000_000;
    Timestamp::from_unix_nanos(time.unix_nanos() / SECOND * SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keda::settings::{Fallback, FallbackBehavior, ScaledObjectSpec};

    const FOUND: Activity = Activity {
        active: false,
        error: false,
        pushed: false,
    };
    const ACTIVE: Activity = Activity {
        active: true,
        ..FOUND
    };
    const ERROR: Activity = Activity { error: true, ..FOUND };
    const PARTIAL: Activity = Activity {
        active: true,
        error: true,
        pushed: false,
    };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_nanos((1_000_000 + seconds) * 1_000_000_000)
    }

    fn object(min: i32, idle: Option<i32>, fallback: Option<i32>) -> ScaledObject {
        let fallback = fallback.map(|replicas| Fallback {
            failure_threshold: 3,
            replicas,
            behavior: FallbackBehavior::Static,
        });
        let spec = ScaledObjectSpec {
            min_replica_count: Some(min),
            idle_replica_count: idle,
            cooldown_period: Some(60),
            fallback,
            ..ScaledObjectSpec::default()
        };
        ScaledObject {
            spec,
            ..ScaledObject::default()
        }
    }

    /// The change, and the Ready and Active reasons, of one request made `idle_for` after activity.
    fn request(
        object: &ScaledObject,
        current: i32,
        found: Activity,
        idle_for: u64,
    ) -> (Option<i32>, &'static str, &'static str) {
        let mut state = ScaleState::new(at(0));
        state.last_active = Some(at(0));
        let change = state.request(at(idle_for), object, current, found);
        (
            change.map(|(to, _)| to),
            state.conditions.ready.reason,
            state.conditions.active.reason,
        )
    }

    /// scale_scaledobjects.go: RequestScale, row by row.
    #[test]
    fn the_table_of_request_scale() {
        let zero = object(0, None, None);
        let ok = "ScaledObjectReady";
        assert_eq!(request(&zero, 0, ACTIVE, 1), (Some(1), ok, "ScalerActive"));
        assert_eq!(
            request(&object(3, None, None), 0, ACTIVE, 1),
            (Some(3), ok, "ScalerActive")
        );
        assert_eq!(request(&zero, 4, ACTIVE, 1), (None, ok, "ScalerActive"));
        assert_eq!(
            request(&zero, 4, PARTIAL, 1),
            (None, "PartialTriggerError", "ScalerActive")
        );
        assert_eq!(request(&zero, 0, PARTIAL, 1), (Some(1), ok, "ScalerActive"));
        assert_eq!(
            request(&zero, 7, FOUND, 60),
            (None, ok, "ScalerCooldown"),
            "not before it is over"
        );
        assert_eq!(request(&zero, 7, FOUND, 61), (Some(0), ok, "ScalerNotActive"));
        assert_eq!(request(&zero, 0, FOUND, 61), (None, ok, "ScalerNotActive"));
        assert_eq!(
            request(&zero, 7, ERROR, 9999),
            (None, "TriggerError", "ScalerNotActive")
        );
        assert_eq!(
            request(&object(0, None, Some(2)), 7, ERROR, 9999),
            (None, ok, "ScalerNotActive")
        );
        assert_eq!(
            request(&object(0, None, Some(0)), 7, ERROR, 9999),
            (Some(0), ok, "ScalerNotActive")
        );
        assert_eq!(
            request(&object(2, None, None), 7, FOUND, 9999),
            (None, ok, "ScalerNotActive")
        );
        assert_eq!(
            request(&object(2, None, None), 0, FOUND, 1),
            (Some(2), ok, "ScalerNotActive")
        );
    }

    /// scale_scaledobjects.go: the idle cases of RequestScale, getIdleOrMinimumReplicaCount.
    #[test]
    fn idle_replicas_replace_zero() {
        let idle = object(3, Some(1), None);
        assert_eq!(request(&idle, 1, ACTIVE, 1).0, Some(3));
        assert_eq!(request(&idle, 5, ACTIVE, 1).0, None);
        assert_eq!(request(&idle, 5, FOUND, 61).0, Some(1));
        assert_eq!(request(&idle, 5, FOUND, 60).0, None);
        assert_eq!(request(&idle, 1, FOUND, 61).0, None);
        assert_eq!(
            request(&idle, 0, FOUND, 61).0,
            None,
            "fewer than idle is left alone"
        );
    }

    /// scale_scaledobjects.go: scaleToZeroOrIdle.
    #[test]
    fn the_initial_cooldown_counts_only_until_the_first_activity() {
        let mut never = object(0, None, None);
        never.spec.initial_cooldown_period = Some(100);
        let mut state = ScaleState::new(at(0));
        assert_eq!(state.request(at(100), &never, 2, FOUND), None);
        assert_eq!(
            state.request(at(101), &never, 2, FOUND),
            Some((0, ScaleCause::CooledDown))
        );
        assert_eq!(state.request(at(110), &never, 2, ACTIVE), None);
        assert_eq!(state.request(at(170), &never, 2, FOUND), None);
        assert_eq!(
            state.request(at(171), &never, 2, FOUND),
            Some((0, ScaleCause::CooledDown))
        );
    }

    /// metav1.Time is stored in whole seconds, so a cooldown may be up to a second short.
    #[test]
    fn activity_is_remembered_to_the_second() {
        let mut state = ScaleState::new(at(0));
        let late = at(5).plus(Duration::from_millis(900));
        state.request(late, &object(0, None, None), 2, ACTIVE);
        let after = at(65).plus(Duration::from_millis(1));
        assert_eq!(
            state.request(after, &object(0, None, None), 2, FOUND),
            Some((0, ScaleCause::CooledDown))
        );
    }

    /// scale_scaledobjects.go: handlePaused, NeedToPauseScaleIn, NeedToPauseScaleOut,
    /// NeedToForceActivation.
    #[test]
    fn annotations_hold_and_force() {
        let with = |change: &dyn Fn(&mut ScaledObject)| {
            let mut object = object(0, None, None);
            change(&mut object);
            object
        };
        let hold_in = with(&|o| o.annotations.paused_scale_in = true);
        assert_eq!(request(&hold_in, 7, FOUND, 9999).0, None);
        let hold_out = with(&|o| o.annotations.paused_scale_out = true);
        assert_eq!(request(&hold_out, 0, ACTIVE, 1).0, None);
        assert_eq!(request(&hold_out, 7, FOUND, 61).0, Some(0));
        let forced = with(&|o| o.annotations.force_activation = true);
        assert_eq!(request(&forced, 0, FOUND, 1).0, Some(1));
        assert_eq!(request(&forced, 0, ERROR, 1).0, Some(1));
        let paused = with(&|o| o.annotations.paused = true);
        assert_eq!(request(&paused, 0, ACTIVE, 1).0, None);
        assert_eq!(request(&paused, 7, FOUND, 9999).0, None);
    }

    /// Seen on a real cluster: the cooldown counts through an outage, so the first healthy
    /// "inactive" after a long one takes everything away at once.
    #[test]
    fn the_cooldown_counts_through_an_outage() {
        let zero = object(0, None, None);
        let mut state = ScaleState::new(at(0));
        state.request(at(10), &zero, 7, ACTIVE);
        for second in (20..120).step_by(10) {
            assert_eq!(
                state.request(at(second), &zero, 7, ERROR),
                None,
                "an error changes nothing"
            );
        }
        assert_eq!(
            state.request(at(120), &zero, 7, FOUND),
            Some((0, ScaleCause::CooledDown))
        );
    }
}
