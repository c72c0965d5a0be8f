//! The rules of scoring, each seen on a load made for it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rheostat_backtest::{
    Case, Conditions, OURS, Options, Outcome, Policy, Store, TracePart, Watch, backtest, run,
};
use rheostat_reading::Ratio;
use rheostat_simulator::{EngineModel, Mode};
use rheostat_sizing::Slo;
use rheostat_trace::Request;

/// Requests until `until` whose rate swings between a quarter and seven quarters of `rate` each half hour.
fn waves(until: Duration, rate: f64) -> impl Iterator<Item = Request> {
    let mut at = 0.0;
    let mut number = 0_u32;
    std::iter::from_fn(move || {
        number += 1;
        let swing = 1.0 - 0.75 * f64::cos(at / 1800.0 * std::f64::consts::TAU);
        // The gaps differ, in a pattern whose mean is 1.
        at += [0.2, 1.8, 0.6, 1.4, 1.0][number as usize % 5] / (rate * swing);
        let at = Duration::from_secs_f64(at);
        (at < until).then_some(Request {
            at,
            prompt_tokens: 500 + 200 * (number % 7),
            output_tokens: 100 + 50 * (number % 4),
        })
    })
}

fn case(requests: impl Iterator<Item = Request>, until: Duration) -> Case {
    let conditions = Conditions {
        engine: EngineModel::named("llama2-70b-a100-tp4").unwrap(),
        slo: Slo {
            ttft: Some(Duration::from_secs(5)),
            itl: Some(Duration::from_millis(200)),
            e2e: None,
            attainment: Ratio(0.99),
        },
        cold_start: Duration::from_secs(60),
        min_replicas: 1,
        max_replicas: 8,
        mode: Mode::Fluid,
        seed: 1,
    };
    Case::new(
        Arc::new(TracePart::new("made", requests, until).unwrap()),
        conditions,
    )
    .unwrap()
}

fn hour() -> Case {
    let hour = Duration::from_secs(3600);
    case(waves(hour, 4.0), hour)
}

fn outcome(case: &Case, policy: &Policy) -> Outcome {
    run(case, &policy.name, policy.build(case).unwrap(), true, None).unwrap()
}

fn level(replicas: u32) -> Policy {
    let mut policy = Policy::defaults("static");
    policy.settings = policy.settings.with("replicas", replicas);
    policy
}

#[test]
fn the_halves_add_up_to_the_whole() {
    let case = hour();
    for name in [OURS, "keda-concurrency"] {
        let Outcome { whole, halves, .. } = outcome(&case, &Policy::defaults(name));
        let sum = halves[0].plus(&halves[1]);
        assert_eq!(
            (sum.requests, sum.kept, sum.waiting, sum.scaling_events),
            (whole.requests, whole.kept, whole.waiting, whole.scaling_events),
            "{name}"
        );
        assert!(whole.scaling_events > 0, "{name} never changed anything");
        assert!((sum.gpu_hours - whole.gpu_hours).abs() < 1e-9, "{name}");
        let starting = (sum.gpu_hours_starting, whole.gpu_hours_starting);
        assert!(
            starting.1 > 0.0 && (starting.0 - starting.1).abs() < 0.05 * starting.1,
            "{name}: samples of 10 s tell {starting:?}"
        );
        assert!(
            halves
                .iter()
                .all(|half| half.requests > 0 && half.gpu_hours > 0.0),
            "{name}"
        );
    }
}

#[test]
fn the_first_day_of_a_long_trace_is_neither_judged_nor_paid() {
    let days = 3 * TracePart::DAY;
    // The first day is far beyond two replicas, the others are not.
    let flood = (0..3600_u64).map(|number| Request {
        at: Duration::from_millis(number * 50),
        prompt_tokens: 1500,
        output_tokens: 200,
    });
    let calm = (TracePart::DAY.as_secs()..days.as_secs()).step_by(60);
    let calm = calm.map(|second| Request {
        at: Duration::from_secs(second),
        prompt_tokens: 500,
        output_tokens: 100,
    });
    let case = case(flood.chain(calm), days);
    let whole = outcome(&case, &level(2)).whole;
    let arrived = case.trace.scored_requests().count() as u64;
    assert_eq!(
        (whole.requests, whole.kept),
        (arrived, arrived),
        "the flood is not judged"
    );
    assert!(whole.ttft.count() <= arrived);
    let paid = 2.0 * 48.0 * f64::from(case.conditions.engine.gpus);
    assert!(
        (whole.gpu_hours - paid).abs() < 1e-6,
        "{} of {paid}",
        whole.gpu_hours
    );
}

#[test]
fn what_waits_at_the_end_is_late() {
    // Far more than one replica can do, until the end.
    let flood = (0..2000_u64).map(|number| Request {
        at: Duration::from_millis(number * 20),
        prompt_tokens: 1000,
        output_tokens: 200,
    });
    let whole = outcome(&case(flood, Duration::from_secs(60)), &level(1)).whole;
    assert!(whole.waiting > 1000, "{whole:?}");
    assert!(whole.requests >= whole.waiting && whole.requests - whole.kept >= whole.waiting);
    assert!(whole.attainment().0 < 0.5);
}

#[test]
fn everybody_begins_with_the_same_replicas_and_pays_for_starts() {
    let case = hour();
    for name in [OURS, "keda-concurrency", "knative-kpa"] {
        let Outcome { whole, record, .. } = outcome(&case, &Policy::defaults(name));
        let record = record.unwrap();
        let first = record.samples.first().unwrap();
        assert!(
            (first.ready.0 - f64::from(case.scenario.warm)).abs() < 1e-9,
            "{name} begins with {first:?}, not with {}",
            case.scenario.warm
        );
        // What is paid is at least what served and what started.
        let billed: f64 = record
            .samples
            .iter()
            .map(|sample| (sample.ready.0 + sample.starting.0) * sample.lasting.as_secs_f64())
            .sum();
        let billed = billed / 3600.0 * f64::from(case.conditions.engine.gpus);
        assert!(
            whole.gpu_hours > 0.97 * billed && whole.gpu_hours_starting > 0.0,
            "{name}: {} paid, {billed} seen",
            whole.gpu_hours
        );
    }
}

#[test]
fn the_report_is_the_same_on_any_number_of_threads() {
    struct Nobody;
    impl Watch for Nobody {
        fn ran(&self, _: u64) {}
        fn finished(&self, _: usize, _: usize, _: &str, _: &Case) {}
    }
    let cases = [hour()];
    let report = |threads: usize| {
        let options = Options {
            policies: [OURS, "static", "keda-concurrency"].map(str::to_owned).to_vec(),
            threads: NonZeroUsize::new(threads).unwrap(),
            evaluations: 4,
            clairvoyant: 0,
            build: "test".to_owned(),
        };
        let store = Store::in_memory();
        backtest(&cases, &options, &store, &Nobody, &AtomicBool::new(false)).unwrap()
    };
    let one = report(1);
    assert!(one.is_some());
    assert_eq!(report(3), one);
}
