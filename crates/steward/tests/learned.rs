//! What a sizer has learned, written down and read back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::Write;
use std::time::Duration;

use base64::Engine;
use rheostat_reading::{Count, PerSecond, Ratio, Seconds, Timestamp};
use rheostat_sizing::{
    Intent, Latency, Learned, Limits, Milestones, Objective, Observation, QueuedOutside, Replica,
    ReplicaShape, Schedule, Serving, Sizer, Slo, Stage,
};
use rheostat_steward::{decode_learned, encode_learned};
use serde_json::json;

const START: Timestamp = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
/// The longest step that is no gap.
const STEP: Duration = Duration::from_secs(30);
const WEEK: u64 = 7 * 24 * 3600;

fn intent() -> Intent {
    Intent {
        objective: Objective::Slo(Slo {
            ttft: Some(Duration::from_secs(5)),
            itl: Some(Duration::from_millis(200)),
            e2e: None,
            // As it is read from `99.9%`: no number of nine digits.
            attainment: Ratio(99.9 / 100.0),
        }),
        min_replicas: 1,
        max_replicas: 64,
        cold_start: Duration::from_secs(120),
        scale_to_zero_after: None,
        headroom: 0,
        limits: Limits::default(),
        replica: ReplicaShape {
            gpus: 4.0,
            price_per_gpu_hour: Some(2.0),
            parameters: Some(70e9),
        },
        role: None,
    }
}

/// A load that follows the day, never twice the same; pods that are replaced each hour and start for a minute.
fn observation(at: u64) -> Observation {
    let now = START.plus(Duration::from_secs(at));
    let day = (at as f64 / 86_400.0 * std::f64::consts::TAU).sin();
    let rate = 6.0 + 5.0 * day + (at * 7919 % 1000) as f64 / 400.0;
    let each = rate / 8.0;
    let latency = |seconds: f64| {
        let [mean, p50, p90, p95, p99] = [1.0, 0.9, 1.4, 1.6, 2.0].map(|factor| Seconds(seconds * factor));
        Some(Latency {
            mean,
            p50,
            p90,
            p95,
            p99,
        })
    };
    let serving = Serving {
        taken_at: now,
        window: Duration::from_secs(60),
        waiting: Some(Count(0.0)),
        running: Some(Count(each * 10.0)),
        kv_cache_usage: None,
        kv_tokens: None,
        max_sequences: Some(Count(256.0)),
        request_rate: Some(PerSecond(each)),
        prompt_token_rate: Some(PerSecond(each * 1000.0)),
        generation_token_rate: Some(PerSecond(each * 200.0)),
        prompt_tokens_mean: Some(Count(1000.0)),
        generation_tokens_mean: Some(Count(200.0)),
        preemption_rate: None,
        ttft: latency(0.5),
        itl: latency(0.05),
        tpot: latency(0.05),
        e2e: latency(11.0),
    };
    let created = START.plus(Duration::from_secs(at / 3600 * 3600));
    let pods = (0..8).map(|number| Replica {
        name: format!("chat-7f9c6d5b8-{number}-{}", at / 3600).into(),
        hardware: "NVIDIA A100-SXM4-80GB".into(),
        created,
        stage: if at % 3600 < 60 {
            Stage::Starting
        } else {
            Stage::Ready
        },
        milestones: Milestones {
            scheduled: Some(created),
            started: Some(created.plus(Duration::from_secs(20))),
            ready: (at % 3600 >= 60).then(|| created.plus(Duration::from_millis(50_000 + at % 9973))),
        },
        serving: Some(serving),
        gpu_utilization: None,
        power: None,
    });
    Observation {
        now,
        replicas: 8,
        pods: pods.collect(),
        queued_outside: QueuedOutside::Untold,
        schedule: Schedule::default(),
        pool: None,
        partner: None,
    }
}

#[test]
fn a_week_fits_a_status_and_reading_it_back_loses_nothing_that_counts() {
    let intent = intent();
    let mut teacher = Sizer::new();
    let mut at = 0;
    while at < WEEK {
        teacher.decide(&intent, &observation(at));
        at += STEP.as_secs();
    }
    let learned = teacher.learned();
    let text = encode_learned(&learned).unwrap();
    assert!(text.len() < 32 * 1024, "{} characters", text.len());
    let read = decode_learned(&text).unwrap();
    assert_eq!(
        encode_learned(&read).unwrap(),
        text,
        "written again, it is the same"
    );
    let mut pupils = [learned, read].map(|learned| {
        let mut pupil = Sizer::new();
        pupil.adopt(learned);
        pupil
    });
    for _ in 0..200 {
        at += STEP.as_secs();
        let seen = observation(at);
        let [exact, rounded] = pupils.each_mut().map(|pupil| pupil.decide(&intent, &seen));
        assert_eq!(
            exact.replicas, rounded.replicas,
            "at {at}: {exact:?} and {rounded:?}"
        );
        let sure = [&exact, &rounded].map(|decision| decision.figures.confidence.unwrap().0);
        assert!(sure[0] > 0.5 && (sure[0] - sure[1]).abs() < 1e-6, "{sure:?}");
        let kept = [&exact, &rounded].map(|decision| decision.figures.attainment.unwrap().0);
        assert!((kept[0] - kept[1]).abs() < 1e-6, "{kept:?} of the day");
    }
}

#[test]
fn tables_of_another_shape_do_no_harm() {
    let strange = json!({
        "season": {"day": [], "week": [1.0], "slot": null, "sum": 0.0, "samples": 0},
        "residuals": vec![vec![1.0, -9.0]; 18],
        "lateness": [[1.0, 2.0]],
        "rules": {"kept": [], "shadows": []},
    });
    let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(strange.to_string().as_bytes()).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(packer.finish().unwrap());
    let learned: Learned = decode_learned(&format!("v1:{text}")).unwrap();
    let (mut sizer, mut fresh) = (Sizer::new(), Sizer::new());
    sizer.adopt(learned);
    for step in 0..100 {
        let seen = observation(step * 30);
        assert_eq!(sizer.decide(&intent(), &seen), fresh.decide(&intent(), &seen));
    }
}
