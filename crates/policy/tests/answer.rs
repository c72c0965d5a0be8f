//! Over time: what stands in for a short blindness, and when a workload may be called idle.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    clippy::unnecessary_wraps,
    reason = "tests; the numbers are exact"
)]

mod common;

use std::time::Duration;

use common::*;
use proptest::prelude::*;
use rheostat_policy::{
    Answer, AnswerSettings, Basis, ErrorKind, Evaluation, Gap, Input, Memory, MetricType, PodInput, evaluate,
};
use rheostat_reading::{Absent, Timestamp};

const SETTINGS: AnswerSettings = AnswerSettings {
    grace: Duration::from_secs(20),
    idle_period: Duration::from_secs(60),
};

/// What a workload does for a second.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    Busy(f64),
    Idle,
    Blind,
    Zero,
    /// The process does not step at all.
    Paused,
}

fn moment(moment: Moment, metric_type: MetricType, size: usize) -> Evaluation {
    let replicas = u32::try_from(size).unwrap();
    match moment {
        Moment::Busy(load) => run(&utilization(), metric_type, replicas, &times(size, &busy(load))),
        Moment::Idle | Moment::Paused => run(&utilization(), metric_type, replicas, &times(size, &busy(0.0))),
        Moment::Blind => run(&utilization(), metric_type, replicas, &times(size, &unseen())),
        Moment::Zero => run(&utilization(), metric_type, 0, &[]),
    }
}

struct Watch {
    memory: Memory,
    second: f64,
    metric_type: MetricType,
}

impl Watch {
    fn new() -> Self {
        Self {
            memory: Memory::new(),
            second: 0.0,
            metric_type: MetricType::AverageValue,
        }
    }

    /// Of a workload that came from zero and has been busy since.
    fn running() -> Self {
        let mut watch = Self::new();
        watch.next(Moment::Zero);
        watch.next(Moment::Busy(95.0));
        watch
    }

    fn now(&self) -> Timestamp {
        at(self.second)
    }

    fn next(&mut self, what: Moment) -> Answer {
        self.sized(what, 4)
    }

    fn sized(&mut self, what: Moment, size: usize) -> Answer {
        self.second += 1.0;
        self.memory
            .step(self.now(), &moment(what, self.metric_type, size), &SETTINGS)
    }

    fn seconds(&mut self, count: usize, what: Moment) -> Vec<Answer> {
        (0..count).map(|_| self.next(what)).collect()
    }
}

fn inactive(answer: &Answer) -> bool {
    answer.active() == Some(false)
}

#[test]
fn the_last_good_answer_stands_for_the_grace_and_then_it_is_an_error() {
    let mut watch = Watch::running();
    for (second, answer) in watch.seconds(20, Moment::Blind).into_iter().enumerate() {
        let age = Duration::from_secs(second as u64 + 1);
        assert_eq!(
            answer,
            Answer::Value {
                value: 380.0,
                active: true,
                basis: Basis::Held { age }
            }
        );
    }
    for answer in watch.seconds(100, Moment::Blind) {
        match answer {
            Answer::Error {
                kind: ErrorKind::Unavailable,
                reason,
            } => {
                assert!(
                    reason.contains("0 of 4 ready pods could be read") && reason.contains("gpu-7"),
                    "{reason}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    // Back again: the true value at once.
    let back = watch.next(Moment::Busy(50.0));
    assert_eq!(
        back,
        Answer::Value {
            value: 200.0,
            active: true,
            basis: Basis::Current
        }
    );
}

#[test]
fn what_was_never_known_stays_as_it_is_for_the_grace_and_then_it_is_an_error() {
    for metric_type in BOTH {
        let mut watch = Watch {
            metric_type,
            ..Watch::new()
        };
        for (second, answer) in watch.seconds(20, Moment::Blind).into_iter().enumerate() {
            assert_eq!(
                answer,
                Answer::Value {
                    value: if metric_type == MetricType::Value {
                        80.0
                    } else {
                        320.0
                    },
                    active: true,
                    basis: Basis::FirstLook {
                        seen: Duration::from_secs(second as u64)
                    }
                },
                "{metric_type:?}: four replicas with target 80 stay four"
            );
        }
        assert!(matches!(watch.next(Moment::Blind), Answer::Error { .. }));
        // Back, and lost again: it is no first look any more.
        watch.next(Moment::Busy(50.0));
        watch.seconds(20, Moment::Blind);
        assert!(matches!(watch.next(Moment::Blind), Answer::Error { .. }));
    }
}

#[test]
fn a_first_look_proves_no_idleness_and_ends_with_the_first_reading() {
    let mut watch = Watch::new();
    watch.seconds(5, Moment::Blind);
    let known = watch.next(Moment::Busy(50.0));
    assert_eq!(
        known,
        Answer::Value {
            value: 200.0,
            active: true,
            basis: Basis::Current
        }
    );
    let mut watch = Watch::new();
    watch.seconds(5, Moment::Blind);
    assert!(!watch.seconds(60, Moment::Idle).iter().any(inactive));
    assert!(inactive(&watch.next(Moment::Idle)));
}

#[test]
fn what_comes_from_zero_is_looked_at_for_the_first_time_again() {
    let mut watch = Watch::running();
    watch.seconds(100, Moment::Busy(50.0));
    watch.next(Moment::Zero);
    assert!(matches!(
        watch.next(Moment::Blind),
        Answer::Value {
            basis: Basis::FirstLook { .. },
            active: true,
            ..
        }
    ));
}

#[test]
fn after_an_outage_idle_is_believed_only_after_the_idle_period() {
    let mut watch = Watch::running();
    watch.seconds(200, Moment::Blind);
    let answers = watch.seconds(60, Moment::Idle);
    assert!(!answers.iter().any(inactive));
    assert!(
        answers.iter().all(|answer| answer.value() == Some(0.0)),
        "the value is the true one"
    );
    match answers[30] {
        Answer::Value {
            basis:
                Basis::Watching {
                    gap: Gap::Unknown,
                    watched,
                    idle_period,
                },
            ..
        } => {
            assert_eq!(
                (watched, idle_period),
                (Duration::from_secs(30), SETTINGS.idle_period)
            );
        }
        ref other => panic!("{other:?}"),
    }
    assert!(
        answers[30]
            .to_string()
            .contains("watched idle for only 30s of 60s"),
        "{}",
        answers[30]
    );
    assert!(inactive(&watch.next(Moment::Idle)));
    // The gap is over: the next idleness is believed at once, KEDA's cooldown counts it.
    watch.next(Moment::Busy(50.0));
    assert!(inactive(&watch.next(Moment::Idle)));
}

#[test]
fn load_on_the_way_starts_the_watch_anew() {
    let mut watch = Watch::running();
    watch.seconds(30, Moment::Blind);
    watch.seconds(50, Moment::Idle);
    watch.next(Moment::Busy(30.0));
    assert!(!watch.seconds(60, Moment::Idle).iter().any(inactive));
    assert!(inactive(&watch.next(Moment::Idle)));
}

#[test]
fn a_new_process_watches_first() {
    let mut watch = Watch::new();
    let answers = watch.seconds(60, Moment::Idle);
    assert!(!answers.iter().any(inactive));
    assert!(matches!(
        answers[0],
        Answer::Value {
            basis: Basis::Watching {
                gap: Gap::FirstSeen,
                ..
            },
            ..
        }
    ));
    assert!(inactive(&watch.next(Moment::Idle)));
}

#[test]
fn a_blip_is_no_gap_but_does_not_count_as_watched() {
    // Not a gap: idleness after it is believed at once.
    let mut watch = Watch::running();
    watch.seconds(19, Moment::Blind);
    assert!(inactive(&watch.next(Moment::Idle)));
    // While a gap is being watched, the blip's time does not count.
    let mut watch = Watch::new();
    watch.seconds(31, Moment::Idle);
    watch.seconds(10, Moment::Blind);
    assert!(!watch.seconds(30, Moment::Idle).iter().any(inactive));
    assert!(inactive(&watch.next(Moment::Idle)));
}

#[test]
fn blindness_is_never_idleness() {
    let mut watch = Watch::running();
    assert!(inactive(&watch.next(Moment::Idle)));
    let held = watch.next(Moment::Blind);
    assert!(matches!(
        held,
        Answer::Value {
            active: true,
            basis: Basis::Held { .. },
            ..
        }
    ));
}

#[test]
fn at_zero_the_past_is_forgotten() {
    let mut watch = Watch::running();
    watch.seconds(100, Moment::Blind);
    assert_eq!(watch.next(Moment::Zero), Answer::AtZero);
    assert_eq!(
        (Answer::AtZero.value(), Answer::AtZero.active()),
        (Some(0.0), Some(false))
    );
    watch.next(Moment::Busy(10.0));
    assert!(inactive(&watch.next(Moment::Idle)), "nothing to make up for");
}

#[test]
fn a_process_that_slept_has_seen_nothing_meanwhile() {
    let mut watch = Watch::running();
    watch.second += 100.0;
    assert!(matches!(
        watch.next(Moment::Idle),
        Answer::Value {
            active: true,
            basis: Basis::Watching {
                gap: Gap::NotEvaluated,
                ..
            },
            ..
        }
    ));
    let mut watch = Watch::running();
    watch.second += 100.0;
    assert!(
        matches!(watch.next(Moment::Blind), Answer::Error { .. }),
        "nothing that old is held"
    );
}

#[test]
fn an_error_of_the_callers_is_a_gap_too() {
    let mut watch = Watch::running();
    watch.memory.answered_error(watch.now());
    assert!(!inactive(&watch.next(Moment::Idle)));
    assert!(matches!(watch.memory, ref memory if *memory != Memory::new()));
}

#[test]
fn a_held_intensity_is_not_acted_on_twice() {
    let mut watch = Watch {
        metric_type: MetricType::Value,
        ..Watch::running()
    };
    watch.next(Moment::Busy(95.0));
    let value = |answer: Answer| answer.value().unwrap();
    assert_eq!(value(watch.sized(Moment::Blind, 4)), 95.0);
    // The HPA went from 4 to 5 because of it; 95 again would make 6 of the same load.
    assert_eq!(value(watch.sized(Moment::Blind, 5)), 80.0);
    // A total says the same at any size.
    let mut watch = Watch::running();
    assert_eq!(value(watch.sized(Moment::Blind, 5)), 380.0);
}

#[test]
fn an_error_that_waiting_does_not_cure_says_so() {
    let no_grace = AnswerSettings {
        grace: Duration::ZERO,
        ..SETTINGS
    };
    let first = |pod: PodInput, settings| {
        let evaluation = run(&utilization(), MetricType::Value, 1, &[pod]);
        match Memory::new().step(at(1.0), &evaluation, settings) {
            Answer::Error { kind, .. } => Some(kind),
            _ => None,
        }
    };
    let lasting = [ready(vec![]), ready(vec![Err(Absent::NotSupported)])];
    let passing = [ready(vec![Err(Absent::DeviceLost)]), unseen()];
    for settings in [&no_grace, &SETTINGS] {
        for pod in &lasting {
            assert_eq!(
                first(pod.clone(), settings),
                Some(ErrorKind::FailedPrecondition),
                "at once, whatever the grace"
            );
        }
    }
    for pod in &passing {
        assert_eq!(first(pod.clone(), &no_grace), Some(ErrorKind::Unavailable));
        assert_eq!(
            first(pod.clone(), &SETTINGS),
            None,
            "it may come within the grace"
        );
    }
}

#[test]
fn demand_at_zero_is_followed_by_believed_idleness() {
    let manual = trigger(&[("signal", "manual")]);
    let step = |memory: &mut Memory, second, replicas, demand| {
        let pods = times(replicas as usize, &ready(vec![]));
        let input = Input {
            now: at(second),
            replicas,
            status_replicas: replicas,
            pods: &pods,
            manual: demand,
            outside: &[],
        };
        memory.step(
            at(second),
            &evaluate(&manual, MetricType::AverageValue, &input),
            &SETTINGS,
        )
    };
    let mut memory = Memory::new();
    assert_eq!(
        step(&mut memory, 1.0, 0, Some(3.0)),
        Answer::Value {
            value: 3.0,
            active: true,
            basis: Basis::Current
        }
    );
    assert_eq!(step(&mut memory, 2.0, 3, Some(3.0)).active(), Some(true));
    assert_eq!(step(&mut memory, 3.0, 3, None).active(), Some(false));
}

#[test]
fn memory_is_plain_data() {
    fn plain<T: serde::Serialize + serde::de::DeserializeOwned + Clone + PartialEq + Send + Sync>() {}
    plain::<Memory>();
}

fn any_moments() -> impl Strategy<Value = Vec<(Moment, usize)>> {
    let one = prop_oneof![
        3 => (1.0..100.0f64).prop_map(Moment::Busy),
        4 => Just(Moment::Idle),
        3 => Just(Moment::Blind),
        1 => Just(Moment::Zero),
        1 => Just(Moment::Paused),
    ];
    proptest::collection::vec((one, 1usize..90), 1..14)
}

proptest! {
    #[test]
    fn no_history_makes_blindness_or_a_gap_look_idle(story in any_moments()) {
        for metric_type in BOTH {
            let mut memory = Memory::new();
            let mut second = 0.0;
            // Seconds since the workload was last not known to be idle; only steps count.
            let mut idle_for: f64 = 0.0;
            let mut last_idle = None;
            let mut last_good: Option<(f64, f64)> = None;
            let mut first_seen: Option<f64> = None;
            let mut gap = true;
            let mut last_step: Option<f64> = None;
            for (what, seconds) in &story {
                for _ in 0..*seconds {
                    second += 1.0;
                    if *what == Moment::Paused {
                        continue;
                    }
                    if last_step.is_some_and(|last| second - last > 30.0) {
                        (gap, idle_for, last_idle, last_good) = (true, 0.0, None, None);
                    }
                    last_step = Some(second);
                    let seen = second - *first_seen.get_or_insert(second);
                    let answer = memory.step(at(second), &moment(*what, metric_type, 4), &SETTINGS);
                    prop_assert!(answer.value().is_none_or(|value| value.is_finite() && value >= 0.0));
                    match what {
                        Moment::Busy(load) => {
                            let expected = if metric_type == MetricType::Value { *load } else { load * 4.0 };
                            prop_assert!((answer.value().unwrap() - expected).abs() < 0.002);
                            prop_assert_eq!(answer.active(), Some(true));
                            (last_idle, idle_for) = (None, 0.0);
                            last_good = Some((second, answer.value().unwrap()));
                        }
                        Moment::Idle => {
                            idle_for += last_idle.map_or(0.0, |last| second - last);
                            last_idle = Some(second);
                            prop_assert_eq!(answer.value(), Some(0.0));
                            prop_assert_eq!(inactive(&answer), !gap || idle_for >= 60.0, "idle for {} s", idle_for);
                            gap &= idle_for < 60.0;
                            last_good = Some((second, 0.0));
                        }
                        Moment::Blind => {
                            prop_assert!(!inactive(&answer), "blindness is not idleness");
                            last_idle = None;
                            match last_good.filter(|(since, _)| second - since <= 20.0) {
                                Some((_, value)) => prop_assert_eq!(answer.value(), Some(value)),
                                None if last_good.is_none() && seen < 20.0 => {
                                    let unchanged = if metric_type == MetricType::Value { 80.0 } else { 320.0 };
                                    prop_assert_eq!(answer.value(), Some(unchanged));
                                }
                                None => {
                                    let is_error = matches!(answer, Answer::Error { .. });
                                    prop_assert!(is_error);
                                    (gap, idle_for, last_good) = (true, 0.0, None);
                                }
                            }
                        }
                        Moment::Zero => {
                            prop_assert_eq!(answer, Answer::AtZero);
                            (gap, idle_for, last_idle, last_good) = (false, 0.0, None, None);
                            first_seen = None;
                        }
                        Moment::Paused => {}
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_history_gives_the_same_answers(story in any_moments()) {
        let tell = || {
            let mut watch = Watch::new();
            story.iter().flat_map(|(what, seconds)| watch.seconds(*seconds, *what)).collect::<Vec<_>>()
        };
        prop_assert_eq!(tell(), tell());
    }
}
