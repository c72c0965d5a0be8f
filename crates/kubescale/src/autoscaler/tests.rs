use super::*;
use crate::calls::MetricValue;
use crate::drive::{self, Step};
use crate::hpa::ConditionReason;
use crate::keda::ScaledObjectSpec;
use crate::workload::Writer;

const START: Timestamp = Timestamp::from_unix_nanos(1_000_000_000_000_000);

/// A workload with a scaler whose answers a test sets; pods follow the replica count at once.
struct World {
    autoscaler: Autoscaler,
    workload: Workload,
    now: Timestamp,
    /// Per trigger: value, activity.
    answers: Vec<Result<(f64, bool), ()>>,
    specs_fail: Vec<bool>,
    calls: Vec<(Caller, usize, Request)>,
    changes: Vec<(f64, Writer, i32)>,
    streams: Vec<(usize, CallId)>,
    cut: usize,
    dropped: usize,
}

impl World {
    fn new(spec: &str, replicas: i32) -> Self {
        let spec: ScaledObjectSpec = serde_json::from_str(spec).unwrap();
        let triggers = spec.triggers.len();
        let object = ScaledObject {
            spec,
            ..ScaledObject::default()
        };
        Self {
            autoscaler: Autoscaler::new(object, ControllerSettings::default(), START).unwrap(),
            workload: Workload::settled(replicas),
            now: START,
            answers: vec![Ok((0.0, false)); triggers],
            specs_fail: vec![false; triggers],
            calls: Vec::new(),
            changes: Vec::new(),
            streams: Vec::new(),
            cut: 0,
            dropped: 0,
        }
    }

    fn run_until(&mut self, seconds: f64) -> &mut Self {
        let end = START.plus(Duration::from_secs_f64(seconds));
        while let Some(due) = self.autoscaler.next_due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let World {
                autoscaler,
                workload,
                answers,
                specs_fail,
                calls,
                ..
            } = self;
            let step = drive::step(autoscaler, self.now, workload, &mut |_, call| {
                calls.push((call.caller, call.trigger, call.request.clone()));
                answer(call, answers, specs_fail)
            });
            self.note(step);
        }
        self.now = end;
        self
    }

    fn push(&mut self, message: Push) -> &mut Self {
        let stream = self.streams.last().unwrap().1;
        let World {
            autoscaler,
            workload,
            answers,
            specs_fail,
            ..
        } = self;
        let step = drive::push(autoscaler, self.now, stream, message, workload, &mut |_, call| {
            answer(call, answers, specs_fail)
        });
        self.note(step);
        self
    }

    fn note(&mut self, step: Step) {
        self.streams.extend(step.streams);
        for event in step.events {
            match event {
                Event::Scaled(decision) => {
                    let at = decision.at.since(START).as_secs_f64();
                    self.changes.push((at, decision.by(), decision.to));
                    self.workload = Workload::settled(self.workload.spec_replicas);
                }
                Event::PushCut { .. } => self.cut += 1,
                Event::PushDropped { .. } => self.dropped += 1,
                _ => {}
            }
        }
    }

    fn answer(&mut self, answer: Result<(f64, bool), ()>) -> &mut Self {
        self.answers.fill(answer);
        self
    }

    fn ready(&self) -> &'static str {
        self.autoscaler.conditions().ready.reason
    }

    fn count(&self, caller: Caller, wanted: &Request) -> usize {
        self.calls
            .iter()
            .filter(|(by, _, request)| *by == caller && request == wanted)
            .count()
    }
}

fn answer(call: &Call, answers: &[Result<(f64, bool), ()>], specs_fail: &[bool]) -> Answer {
    let error = || CallError("unavailable".to_owned());
    let values = answers[call.trigger].map_err(|()| error());
    match &call.request {
        Request::MetricSpec if specs_fail[call.trigger] => Answer::MetricSpec(Err(error())),
        Request::MetricSpec => {
            Answer::MetricSpec(Ok(vec![MetricSpec::new(format!("m{}", call.trigger), 10.0)]))
        }
        Request::Metrics { metric_name } => {
            assert_eq!(
                *metric_name,
                format!("m{}", call.trigger),
                "without KEDA's prefix"
            );
            Answer::Metrics(values.map(|(value, _)| vec![MetricValue::new(value)]))
        }
        _ => Answer::IsActive(values.map(|(_, active)| active)),
    }
}

fn metrics(trigger: usize) -> Request {
    Request::Metrics {
        metric_name: format!("m{trigger}"),
    }
}

const ZERO: &str = r#"{"pollingInterval": 10, "cooldownPeriod": 60, "maxReplicaCount": 20, "triggers": [{"type": "external-push"}]}"#;
const ONE: &str = r#"{"pollingInterval": 10, "minReplicaCount": 1, "maxReplicaCount": 20,
    "fallback": {"failureThreshold": 3, "replicas": 6}, "triggers": [{"type": "external"}]}"#;
const TWO: &str = r#"{"pollingInterval": 10, "maxReplicaCount": 20, "triggers": [{}, {}]}"#;

#[test]
fn from_zero_up_and_back_down_to_zero() {
    let mut world = World::new(ZERO, 0);
    world.run_until(9.0).answer(Ok((45.0, true))).run_until(100.0);
    // KEDA polls at 10; the HPA, created at 0, looks every 15 s and may at first go to 4.
    assert_eq!(
        world.changes,
        [
            (10.0, Writer::Keda, 1),
            (15.0, Writer::Hpa, 4),
            (30.0, Writer::Hpa, 5)
        ]
    );
    world.answer(Ok((0.0, false))).run_until(155.0);
    assert_eq!(
        world.changes.len(),
        3,
        "the HPA's window holds, and so does the cooldown"
    );
    assert_eq!(world.autoscaler.conditions().active.reason, "ScalerCooldown");
    world.run_until(165.0);
    // Active at 100 for the last time: more than 60 s later is 170.
    assert_eq!(world.changes.len(), 3);
    world.run_until(200.0);
    assert_eq!(
        world.changes[3..],
        [(170.0, Writer::Keda, 0)],
        "from 5 to 0 at once"
    );
    let scaling = world
        .autoscaler
        .hpa()
        .unwrap()
        .conditions()
        .scaling_active
        .unwrap();
    assert_eq!(
        (scaling.is_true, scaling.reason),
        (false, ConditionReason::ScalingDisabled)
    );
    assert!(
        world.autoscaler.conditions().hpa_active.is_true(),
        "zero by KEDA is healthy"
    );
}

/// scale_handler.go: startPushScalers.
#[test]
fn a_push_activates_at_once_and_never_deactivates() {
    let mut world = World::new(ZERO, 0);
    world.run_until(3.0).push(Push::Message(false));
    assert_eq!(world.changes, []);
    world.push(Push::Message(true));
    assert_eq!(world.changes, [(3.0, Writer::Keda, 1)]);
    world.push(Push::Message(false)).run_until(30.0);
    assert_eq!(world.workload.spec_replicas, 1);
}

/// scale_handler.go: metricNameForTriggerIndex (kedacore/keda#8168).
#[test]
fn a_push_is_dropped_while_its_metric_is_not_known() {
    let spec = r#"{"pollingInterval": 30, "triggers": [{"type": "external"}, {"type": "external-push"}]}"#;
    let mut world = World::new(spec, 0);
    world.specs_fail[1] = true;
    world.run_until(0.0);
    assert_eq!(
        world.autoscaler.hpa().unwrap().settings().metrics.len(),
        1,
        "an HPA without it"
    );
    // The first poll failed and cut the stream; it comes back after the poll that builds new scalers.
    world.specs_fail[1] = false;
    world.run_until(31.0);
    world.specs_fail[1] = true;
    assert!(
        world.autoscaler.hpa().unwrap().settings().metrics.len() == 2,
        "Ready again reconciles"
    );
    let mut world = World::new(spec, 0);
    world.specs_fail[1] = true;
    world.autoscaler = world.autoscaler.with_shared_connection();
    world.run_until(1.0).push(Push::Message(true));
    assert_eq!((world.dropped, world.changes.len()), (1, 0));
    // Streamed specs cure it.
    world
        .autoscaler
        .specs_streamed(world.now, 1, vec![MetricSpec::new("m1", 10.0)]);
    world.run_until(1.1).push(Push::Message(true));
    assert_eq!((world.dropped, world.changes.len()), (1, 1));
}

/// scale_scaledobjects.go: an error freezes; external_scaler.go: and cuts the stream where this is
/// the only user of the connection.
#[test]
fn an_error_freezes_and_kills_push_until_the_next_poll() {
    let mut world = World::new(ZERO, 0);
    world.run_until(1.0);
    assert_eq!(world.streams.len(), 1);
    world.answer(Err(())).run_until(10.0);
    assert_eq!((world.cut, world.ready()), (1, "TriggerError"));
    // It recovers at once, but tries of the stream at 12 and 16 find no connection; the poll at 20
    // builds one, and the try at 24 succeeds.
    world.answer(Ok((20.0, true))).run_until(19.9);
    assert_eq!((world.streams.len(), world.changes.len()), (1, 0));
    world.run_until(23.9);
    assert_eq!(world.changes, [(20.0, Writer::Keda, 1)]);
    assert_eq!(world.streams.len(), 1);
    world.run_until(24.0);
    assert_eq!(world.streams.len(), 2);

    let mut shared = World::new(ZERO, 0);
    shared.autoscaler = shared.autoscaler.with_shared_connection();
    shared.run_until(1.0).answer(Err(())).run_until(60.0);
    assert_eq!((shared.cut, shared.streams.len()), (0, 1));
}

#[test]
fn a_long_outage_uses_up_the_cooldown() {
    let mut world = World::new(ZERO, 7);
    world
        .answer(Ok((70.0, true)))
        .run_until(20.0)
        .answer(Err(()))
        .run_until(500.0);
    assert_eq!(world.changes, [], "frozen");
    world.answer(Ok((0.0, false))).run_until(600.0);
    assert_eq!(world.changes, [(510.0, Writer::Keda, 0)]);
}

/// scalers_cache.go: GetMetricsAndActivityForScaler, GetMetricSpecForScalingForScaler.
#[test]
fn each_call_is_tried_twice() {
    let mut world = World::new(ZERO, 0);
    world.answer(Err(())).run_until(0.0);
    assert_eq!(world.count(Caller::Poll, &metrics(0)), 2);
    assert_eq!(world.count(Caller::Poll, &Request::IsActive), 0);
    let mut world = World::new(ZERO, 0);
    world.run_until(0.0).specs_fail.fill(true);
    world.calls.clear();
    world.run_until(10.0);
    assert_eq!(world.count(Caller::Poll, &Request::MetricSpec), 2);
    assert_eq!(world.count(Caller::Poll, &metrics(0)), 0);
}

/// scale_handler.go: hpaObservedRecord, UsesHPAObservations: the loop leaves the reading to the HPA.
#[test]
fn with_a_minimum_the_loop_asks_only_for_specs() {
    let mut world = World::new(ONE, 1);
    world.answer(Ok((25.0, true))).run_until(16.0);
    // Before the HPA's first read the loop asks by itself.
    assert_eq!(world.count(Caller::Poll, &metrics(0)), 2);
    assert_eq!(world.changes, [(15.0, Writer::Hpa, 3)]);
    world.calls.clear();
    world.run_until(75.0);
    assert_eq!(world.count(Caller::Poll, &metrics(0)), 0);
    assert_eq!(world.count(Caller::Poll, &Request::MetricSpec), 6);
    assert_eq!(world.count(Caller::Hpa, &metrics(0)), 4);
    assert!(world.autoscaler.conditions().active.is_true());
    // What the HPA was told decides about activity too.
    world.answer(Ok((25.0, false))).run_until(100.0);
    assert!(!world.autoscaler.conditions().active.is_true());
    assert_eq!(world.workload.spec_replicas, 3);
}

#[test]
fn with_a_minimum_a_manual_zero_is_undone() {
    let mut world = World::new(ONE, 3);
    world.answer(Ok((30.0, false))).run_until(29.0);
    world.workload = Workload::settled(0);
    world.run_until(31.0);
    assert_eq!(world.changes, [(30.0, Writer::Keda, 1), (30.0, Writer::Hpa, 3)]);
}

/// fallback.go: in regime B only the HPA's reads count, until its metrics fail.
#[test]
fn fallback_replaces_a_failing_metric() {
    let mut world = World::new(ONE, 2);
    world
        .answer(Ok((20.0, true)))
        .run_until(40.0)
        .answer(Err(()))
        .run_until(44.9);
    assert_eq!(world.ready(), "ScaledObjectReady");
    // HPA read at 45 (1), own polls at 50 (2) and 60 (3), HPA read at 60 (4, over the threshold).
    world.run_until(59.9);
    assert_eq!(world.changes, []);
    world.run_until(75.0);
    assert_eq!(world.changes, [(60.0, Writer::Hpa, 4), (75.0, Writer::Hpa, 6)]);
    assert!(world.autoscaler.conditions().fallback.is_true());
    world.answer(Ok((60.0, true))).run_until(100.0);
    assert!(!world.autoscaler.conditions().fallback.is_true());
}

/// kedacore/keda#8056: the loop over specs is never entered.
#[test]
fn fallback_does_not_help_where_the_spec_fails() {
    let mut world = World::new(ONE, 2);
    world
        .answer(Ok((20.0, true)))
        .run_until(40.0)
        .specs_fail
        .fill(true);
    world.run_until(600.0);
    assert_eq!(world.changes, []);
    assert!(!world.autoscaler.conditions().fallback.is_true());
}

/// fallback.go, #7411: fallback activates from zero.
#[test]
fn fallback_counts_as_activity() {
    let spec =
        r#"{"pollingInterval": 10, "fallback": {"failureThreshold": 2, "replicas": 4}, "triggers": [{}]}"#;
    let mut world = World::new(spec, 0);
    world.answer(Err(())).run_until(19.9);
    assert_eq!(world.changes, []);
    world.run_until(20.0);
    assert_eq!(world.changes, [(20.0, Writer::Keda, 1)]);
}

/// scale_handler.go: one trigger's failing spec fails the reads of its siblings (#5914); its failing
/// metric does not.
#[test]
fn a_failing_sibling() {
    let mut world = World::new(TWO, 2);
    world.answer(Ok((50.0, true)));
    world.answers[1] = Err(());
    world.run_until(16.0);
    assert_eq!(
        world.changes,
        [(15.0, Writer::Hpa, 4)],
        "the other metric still scales up"
    );
    assert_eq!(world.ready(), "PartialTriggerError");

    let mut world = World::new(TWO, 2);
    world.run_until(0.0).answer(Ok((50.0, true)));
    world.specs_fail[1] = true;
    world.run_until(100.0);
    assert_eq!(world.changes, []);
}

/// hpa.go: getScaledObjectMetricSpecs.
#[test]
fn there_is_no_hpa_until_a_spec_is_there() {
    let mut world = World::new(ZERO, 3);
    world.specs_fail.fill(true);
    world.run_until(1.0);
    assert!(world.autoscaler.hpa().is_none());
    assert_eq!(world.ready(), "ScaledObjectCheckFailed");
    // 5 ms, doubled each time: eight tries in the first second.
    assert_eq!(world.count(Caller::Reconcile, &Request::MetricSpec), 8);
    world.specs_fail.fill(false);
    world.run_until(2.0);
    assert!(world.autoscaler.hpa().is_some());
}

#[test]
fn cached_metrics_serve_the_hpa_until_the_next_poll() {
    let spec = r#"{"pollingInterval": 40, "minReplicaCount": 1, "triggers": [{"useCachedMetrics": true}]}"#;
    let mut world = World::new(spec, 1);
    world
        .answer(Ok((30.0, true)))
        .run_until(1.0)
        .answer(Ok((50.0, true)))
        .run_until(39.0);
    assert_eq!(world.changes, [(15.0, Writer::Hpa, 3)]);
    assert_eq!(world.count(Caller::Hpa, &metrics(0)), 0);
    world.run_until(46.0);
    assert_eq!(world.changes[1..], [(45.0, Writer::Hpa, 5)]);
}

#[test]
fn annotations_pause_and_resume() {
    let mut world = World::new(ZERO, 0);
    world.answer(Ok((30.0, true))).run_until(16.0);
    assert_eq!(world.workload.spec_replicas, 3);
    let mut object = world.autoscaler.scaled_object().clone();
    object.annotations.paused_replicas = Some(7);
    world.autoscaler.edit(world.now, object.clone()).unwrap();
    world.calls.clear();
    world.run_until(300.0);
    assert_eq!(world.changes.last(), Some(&(16.0, Writer::Keda, 7)));
    assert!(world.autoscaler.hpa().is_none() && world.calls.is_empty());
    assert!(world.autoscaler.conditions().paused.is_true());
    object.annotations.paused_replicas = None;
    world.autoscaler.edit(world.now, object).unwrap();
    world.run_until(700.0);
    assert_eq!(
        world.workload.spec_replicas, 3,
        "after the window that starts with what was there"
    );
    assert!(!world.autoscaler.conditions().paused.is_true());
}

/// scalers_cache.go: ErrCacheClosed. An HPA read that fails while a poll is under way closes the
/// poll's scalers; the poll's own failure is then taken for "inactive, no error", which after a long
/// outage scales to zero.
#[test]
fn overlapping_failures_can_look_like_inactivity() {
    let mut world = World::new(ZERO, 5);
    world
        .answer(Ok((50.0, true)))
        .run_until(14.0)
        .answer(Err(()))
        .run_until(119.9);
    assert_eq!(world.changes, []);
    let error = || Answer::Metrics(Err(CallError("unavailable".to_owned())));
    let World {
        autoscaler, workload, ..
    } = &mut world;
    let now = START.plus(Duration::from_secs(120));
    let (mut calls, mut events) = (VecDeque::new(), Vec::new());
    while autoscaler.next_due().is_some_and(|due| due <= now) {
        calls.extend(autoscaler.poll(now, workload).calls);
    }
    // Both paths begin at 120 s. The poll's first attempt stays open until the HPA's read has failed.
    let mut held = Vec::new();
    while let Some(call) = calls.pop_front() {
        let answer = match call.request {
            Request::MetricSpec => Answer::MetricSpec(Ok(vec![MetricSpec::new("m0", 10.0)])),
            _ if call.caller == Caller::Poll => {
                held.push(call);
                continue;
            }
            _ => error(),
        };
        let out = autoscaler.answer(now, call.id, answer, workload);
        calls.extend(out.calls);
        events.extend(out.events);
    }
    assert_eq!((held.len(), workload.spec_replicas), (1, 5));
    let out = autoscaler.answer(now, held[0].id, error(), workload);
    assert!(
        out.events
            .iter()
            .any(|event| matches!(event, Event::Polled { errors, .. } if errors.is_empty()))
    );
    assert_eq!(workload.spec_replicas, 0);
}

#[test]
fn answers_that_come_late_or_do_not_fit_do_no_harm() {
    let mut world = World::new(ZERO, 0);
    let World {
        autoscaler, workload, ..
    } = &mut world;
    let first = autoscaler.poll(START, workload).calls.remove(0);
    let wrong = autoscaler.answer(START, first.id, Answer::IsActive(Ok(true)), workload);
    assert!(matches!(
        wrong.events.last(),
        Some(Event::Reconciled { error: Some(_), .. })
    ));
    assert_eq!(
        autoscaler.answer(START, first.id, Answer::IsActive(Ok(true)), workload),
        Output::default()
    );
    assert_eq!(workload.spec_replicas, 0);
}

#[test]
fn what_is_not_modelled_or_not_valid_is_refused() {
    let refuse = |spec: &str| {
        let spec = serde_json::from_str(spec).unwrap();
        let object = ScaledObject {
            spec,
            ..ScaledObject::default()
        };
        Autoscaler::new(object, ControllerSettings::default(), START)
            .unwrap_err()
            .to_string()
    };
    assert!(refuse(r#"{"triggers": []}"#).contains("triggers"));
    assert!(refuse(r#"{"pollingInterval": 0, "triggers": [{}]}"#).contains("pollingInterval"));
    assert!(
        refuse(r#"{"minReplicaCount": 9, "maxReplicaCount": 3, "triggers": [{}]}"#)
            .contains("minReplicaCount is 9")
    );
    assert!(
        refuse(r#"{"idleReplicaCount": 1, "minReplicaCount": 1, "triggers": [{}]}"#)
            .contains("idleReplicaCount")
    );
    let modifiers = r#"{"advanced": {"scalingModifiers": {"formula": "a"}}, "triggers": [{}]}"#;
    assert!(refuse(modifiers).contains("scalingModifiers"));
}
