//! Those that act through KEDA and the HPA, in a closed loop with both.

use rheostat_baselines::Settings;
use rheostat_kubescale::Workload;
use rheostat_kubescale::hpa::{Tolerances, per_pod_replicas, value_replicas};
use rheostat_reading::Count;
use rheostat_sizing::QueuedOutside;

use crate::support::{Cluster, Load, build, observation};
use rheostat_simulator::{Control, TriggerAnswer};

fn cluster(name: &str, settings: &Settings) -> Cluster {
    Cluster::new(build(name, settings))
}

fn values(name: &str, settings: &Settings, loads: &[Load]) -> Vec<TriggerAnswer> {
    let Control::Keda { mut scaler, .. } = build(name, settings) else {
        panic!("{name} does not act through KEDA");
    };
    scaler.observe(&observation(0.0, u32::try_from(loads.len()).unwrap(), loads));
    (0..scaler.targets().len())
        .map(|trigger| scaler.answer(trigger))
        .collect()
}

fn waiting(waiting: &[f64]) -> Vec<Load> {
    waiting
        .iter()
        .map(|waiting| Load {
            waiting: *waiting,
            running: 64.0,
            kv_cache: 0.12,
            ..Load::default()
        })
        .collect()
}

/// peer-and-users.md B1.6: vLLM takes its memory at the start, so the value says nothing of load, and
/// ceil(90/80) is 2 for ever.
#[test]
fn the_peers_memory_profile_stays_at_two() {
    let mut cluster = cluster("peer-vllm-inference", &Settings::new());
    cluster.run(3600, |second| if second < 1800 { 100.0 } else { 0.0 });
    assert_eq!(cluster.most(0, 3600), 2);
    assert_eq!(cluster.least(60, 3600), 2, "idle for half an hour");
}

/// peer-and-users.md B2: ten pods with 20 waiting each and a target of 5 become four, since one pod's
/// queue is taken for everyone's.
#[test]
fn the_peers_queue_profile_divides_one_pods_queue_by_all() {
    let answers = values("peer-vllm-queue-depth", &Settings::new(), &waiting(&[20.0; 10]));
    assert_eq!(
        answers,
        [TriggerAnswer::Value {
            value: 20.0,
            active: true
        }]
    );
    // One waiting request does not activate: strictly above 1.
    let one = values("peer-vllm-queue-depth", &Settings::new(), &waiting(&[1.0]));
    assert_eq!(
        one,
        [TriggerAnswer::Value {
            value: 1.0,
            active: false
        }]
    );
    assert!(matches!(
        values("peer-vllm-queue-depth", &Settings::new(), &[])[..],
        [TriggerAnswer::Error(_)]
    ));
}

/// The tutorial's query has one series a pod, and KEDA's Prometheus scaler wants one in all: as soon as two pods
/// report, nothing happens any more.
#[test]
fn production_stacks_bare_query_freezes_at_two_pods() {
    let bare = values("production-stack", &Settings::new(), &waiting(&[9.0, 9.0]));
    assert!(matches!(&bare[0], TriggerAnswer::Error(reason) if reason.contains("multiple elements")));
    let sum = values(
        "production-stack",
        &Settings::new().with("query", "sum"),
        &waiting(&[9.0, 9.0]),
    );
    assert_eq!(
        sum[0],
        TriggerAnswer::Value {
            value: 18.0,
            active: true
        }
    );
    let load = |_| 80.0;
    let mut stuck = cluster("production-stack", &Settings::new());
    stuck.run(1200, load);
    let mut summed = cluster("production-stack", &Settings::new().with("query", "sum"));
    summed.run(1200, load);
    assert!(
        stuck.most(0, 1200) < summed.most(0, 1200),
        "{} {}",
        stuck.most(0, 1200),
        summed.most(0, 1200)
    );
}

/// With `AverageValue` the fullest KV cache is taken for a total, of which 0.95 is one pod's: it can ask for two.
#[test]
fn llm_ds_kv_cache_trigger_asks_for_two_at_most() {
    let full = Load {
        running: 64.0,
        kv_cache: 1.0,
        ..Load::default()
    };
    for pods in 1..20_i32 {
        let loads = vec![full; usize::try_from(pods).unwrap()];
        let [_, TriggerAnswer::Value { value, .. }] = values("llm-d-blueprint", &Settings::new(), &loads)[..]
        else {
            panic!("two triggers");
        };
        let milli = (value * 1000.0) as i64;
        let tolerances = Tolerances { up: 0.1, down: 0.1 };
        let asked = per_pod_replicas(&[milli], 950, pods, tolerances);
        assert!(asked <= 2, "{asked} of {pods} that are full");
    }
}

/// No pods, no metrics: requests that wait in front are not seen.
#[test]
fn who_reads_only_engines_stays_at_zero() {
    for name in [
        "peer-vllm-inference",
        "peer-vllm-queue-depth",
        "llm-d-blueprint",
        "llm-d-queue-value",
        "gke-queue-size",
        "kaito",
    ] {
        let Control::Keda { mut scaler, .. } = build(name, &Settings::new()) else {
            panic!("{name} does not act through KEDA");
        };
        let mut empty = observation(0.0, 0, &[]);
        empty.queued_outside = QueuedOutside::Told(Count(1000.0));
        scaler.observe(&empty);
        for trigger in 0..scaler.targets().len() {
            let answer = scaler.answer(trigger);
            let active = matches!(answer, TriggerAnswer::Value { active: true, .. });
            assert!(!active, "{name}: {answer:?}");
        }
    }
}

/// llm-d-router 39142fb, utilization/detector.go: the larger of queue over 5 and KV cache over 0.8, mean over pods;
/// full where a pod does not say.
#[test]
fn the_endpoint_picker_averages_how_full_pods_are() {
    let pod = |waiting, kv_cache| Load {
        waiting,
        running: 6.0,
        kv_cache,
        ..Load::default()
    };
    let saturation = |loads: &[Load]| match values("llm-d-endpoint-picker", &Settings::new(), loads)[..] {
        [TriggerAnswer::Value { value, .. }, _] => Some((value * 1000.0).round()),
        _ => None,
    };
    assert_eq!(
        saturation(&[pod(0.0, 0.4), pod(10.0, 0.1)]),
        Some(1250.0),
        "0.5 and 2"
    );
    assert_eq!(saturation(&[]), Some(1000.0));
}

/// llm-d-autoscaling 3c06c88: one pod per 180 s.
#[test]
fn llm_ds_blueprint_adds_one_pod_in_three_minutes() {
    let mut cluster = cluster("llm-d-blueprint", &Settings::new());
    cluster.run(900, |_| 200.0);
    assert!(cluster.last().replicas <= 1 + 900 / 180, "{:?}", cluster.last());
    assert!(cluster.last().replicas >= 4, "{:?}", cluster.last());
}

/// llm-d-autoscaling PR 1019, docs/design/hpa-overshoot.md: the queue grows by 90 a second, the target is 250, and
/// each sync multiplies by the replicas: 6, 65, 1053, 22,745. That takes pods that start for ready ones; the HPA
/// multiplies by the ready ones (`GetExternalMetricReplicas`), of which there is one until the first start ends.
#[test]
fn the_demonstrated_runaway_takes_starting_pods_for_ready_ones() {
    let replicas = |ready: fn(i32) -> i32| {
        let mut replicas = 1;
        [15, 30, 45, 60].map(|second| {
            let scale = Workload {
                ready_pods: ready(replicas),
                ..Workload::settled(replicas)
            };
            let queue = second * 90 * 1000;
            replicas = value_replicas(&[queue], 250_000, &scale, Tolerances { up: 0.1, down: 0.1 }).unwrap();
            replicas
        })
    };
    assert_eq!(replicas(|replicas| replicas), [6, 65, 1053, 22_745]);
    assert_eq!(replicas(|_| 1), [6, 11, 17, 22]);
}

/// The same load in a closed loop with the real arithmetic: 100 requests a second come, a pod does 10 and takes 60 s
/// to start. Once the first of them are ready, `Value` multiplies by them, far beyond the ten that are needed.
#[test]
fn value_on_a_queue_runs_away_where_average_value_overshoots() {
    let peak = |name, target| {
        let context = rheostat_baselines::Context {
            max_replicas: 50_000,
            ..crate::support::context()
        };
        let settings = Settings::new().with(target, 250.0);
        let baseline = rheostat_baselines::find(name, &context).unwrap();
        let mut cluster = Cluster::new(baseline.build(&settings, &context).unwrap());
        cluster.slots = 10.0;
        cluster.service_seconds = 1.0;
        cluster.run(900, |_| 100.0);
        cluster.most(0, 900)
    };
    let by_value = peak("llm-d-queue-value", "target_waiting");
    let by_average = peak("keda-concurrency", "target_requests");
    println!("Value {by_value}, AverageValue {by_average}");
    assert!(by_value > 100, "ten are needed, {by_value} are there");
    assert!(by_average <= 30, "{by_average}");
}

/// policies.md 0.4 and A11: a busy GPU is at 100 % with one request as with many, so the HPA goes to its
/// limit for a load that two replicas carry.
#[test]
fn gpu_utilisation_says_busy_not_how_busy() {
    let mut cluster = cluster("hpa-gpu-utilization", &Settings::new());
    cluster.run(3600, |_| 20.0);
    assert_eq!(cluster.last().replicas, 50, "two would do: {:?}", cluster.last());
}

/// GKE's samples: `num_requests_waiting` against an AverageValue of 5.
#[test]
fn gkes_queue_goes_up_under_load_and_down_after() {
    let mut cluster = cluster("gke-queue-size", &Settings::new());
    cluster.run(2400, |second| if second < 1200 { 60.0 } else { 1.0 });
    assert!(cluster.most(0, 1200) >= 4, "{}", cluster.most(0, 1200));
    assert_eq!(cluster.last().replicas, 1);
}

#[test]
fn concurrency_settles_at_what_the_target_says() {
    let mut cluster = cluster("keda-concurrency", &Settings::new());
    cluster.run(1500, |_| 40.0);
    // 40 a second for 4 s are 160 in flight: ten replicas at 16. Coming down from what had piled up during
    // the start, it stays at eleven: 160 / (11 * 16) is 0.909, within the HPA's tolerance.
    assert!(cluster.most(0, 600) > 11, "{}", cluster.most(0, 600));
    assert_eq!(cluster.last().replicas, 11, "{:?}", cluster.last());
    cluster.run(2400, |_| 0.0);
    assert_eq!(cluster.last().replicas, 1);
}
