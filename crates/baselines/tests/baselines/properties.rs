//! Whatever is seen: nothing leaves its bounds, and nothing that is no number reaches KEDA.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rheostat_baselines::{Context, Foresight, Settings, catalogue};
use rheostat_reading::{Count, Ratio};
use rheostat_simulator::{Control, TriggerAnswer};
use rheostat_sizing::{Observation, Stage};
use rheostat_trace::Request;

use crate::support::{Load, START, context, observation};

const FLOOR: u32 = 2;
const CAP: u32 = 9;

/// One look: how long after the last, replicas asked for, what each of those that are ready says, if it says
/// anything, and what waits in front.
type Look = (u32, u32, Vec<Option<(f64, f64, f64, f64)>>, Option<f64>);

fn look() -> impl Strategy<Value = Look> {
    let load = prop_oneof![
        3 => (0.0..5000.0, 0.0..64.0, 0.0..=1.0, 0.0..40.0).prop_map(Some),
        1 => Just(None),
        1 => Just(Some((0.0, 0.0, 0.0, 0.0))),
    ];
    (
        1_u32..400,
        0_u32..15,
        prop::collection::vec(load, 0..12),
        prop::option::of(0.0..10_000.0),
    )
}

fn observe(
    seconds: u32,
    replicas: u32,
    loads: &[Option<(f64, f64, f64, f64)>],
    outside: Option<f64>,
) -> Observation {
    let ready: Vec<Load> = loads
        .iter()
        .map(|load| {
            let (waiting, running, kv_cache, finished) = load.unwrap_or_default();
            Load {
                waiting,
                running,
                kv_cache,
                finished,
                busy: kv_cache,
            }
        })
        .collect();
    let count = replicas.max(u32::try_from(ready.len()).unwrap());
    let mut seen = observation(f64::from(seconds), count, &ready);
    seen.replicas = replicas;
    seen.queued_outside = outside.map(Count).into();
    for (pod, load) in seen.pods.iter_mut().zip(loads) {
        if load.is_none() {
            pod.serving = None;
            pod.gpu_utilization = None;
        }
    }
    if let Some(pod) = seen.pods.last_mut().filter(|_| seconds.is_multiple_of(3)) {
        pod.stage = Stage::Terminating;
        pod.gpu_utilization = Some(Ratio(1.0));
    }
    seen
}

fn workload() -> Context {
    let requests = (0..2000_u64).map(|index| Request {
        at: Duration::from_millis(index * 700),
        prompt_tokens: 100 + (index % 900) as u32,
        output_tokens: 1 + (index % 400) as u32,
    });
    let foresight = Foresight::new(START, Duration::from_secs(10), requests).unwrap();
    Context {
        foresight: Some(Arc::new(foresight)),
        ..context()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_leaves_its_bounds(looks in prop::collection::vec(look(), 1..60)) {
        let context = workload();
        for baseline in catalogue(&context) {
            if baseline.parameter("floor").is_none() {
                continue;
            }
            let settings = Settings::new().with("floor", FLOOR).with("cap", CAP);
            let mut control = baseline.build(&settings, &context).unwrap();
            let mut now = 0;
            for (after, replicas, loads, outside) in &looks {
                now += after;
                let seen = observe(now, *replicas, loads, *outside);
                match &mut control {
                    Control::Direct(controller) => {
                        if let Some(wanted) = controller.decide(&seen) {
                            prop_assert!((FLOOR..=CAP).contains(&wanted), "{}: {wanted}", baseline.name);
                        }
                    }
                    Control::Keda { object, scaler } => {
                        prop_assert_eq!(object.spec.max_replica_count, Some(9));
                        prop_assert_eq!(object.spec.min_replica_count, Some(2));
                        scaler.observe(&seen);
                        for (trigger, (_, target)) in scaler.targets().iter().enumerate() {
                            prop_assert!(*target > 0.0);
                            if let TriggerAnswer::Value { value, .. } = scaler.answer(trigger) {
                                prop_assert!(value.is_finite() && value >= 0.0, "{}: {value}", baseline.name);
                            }
                        }
                    }
                    Control::Static(_) => {}
                }
            }
        }
    }
}
