use rheostat_baselines::Settings;
use rheostat_simulator::{Control, TriggerAnswer};

use crate::support::{Cluster, Load, build, observation};

fn formula(replicas: u32, waiting: &[f64]) -> TriggerAnswer {
    let Control::Keda { mut scaler, .. } = build("kaito", &Settings::new()) else {
        panic!("KAITO acts through KEDA");
    };
    let loads: Vec<Load> = waiting
        .iter()
        .map(|waiting| Load {
            waiting: *waiting,
            ..Load::default()
        })
        .collect();
    scaler.observe(&observation(0.0, replicas, &loads));
    scaler.answer(0)
}

fn value(answer: &TriggerAnswer) -> Option<f64> {
    match answer {
        TriggerAnswer::Value { value, .. } => Some(*value),
        TriggerAnswer::Error(_) => None,
    }
}

/// README.md: `(readiness_gate == 1 && waiting > 10) ? 2.0 : ((waiting < 1) ? 0.5 : 1.0)`.
#[test]
fn the_formula_gives_one_of_three_numbers() {
    assert_eq!(value(&formula(2, &[12.0, 9.0])), Some(2.0));
    assert_eq!(value(&formula(2, &[10.0, 10.0])), Some(1.0), "not above");
    assert_eq!(value(&formula(2, &[0.9, 0.9])), Some(0.5));
    assert_eq!(
        value(&formula(3, &[50.0, 50.0])),
        Some(1.0),
        "one is not ready yet"
    );
    assert!(
        matches!(formula(2, &[]), TriggerAnswer::Error(_)),
        "nothing known: the HPA holds"
    );
}

/// provisioner.go: one pod in 300 s, whatever the load.
#[test]
fn one_pod_in_five_minutes() {
    let mut cluster = Cluster::new(build("kaito", &Settings::new()));
    cluster.run(3600, |_| 200.0);
    for minute in (0..60).step_by(5) {
        let from = minute * 60;
        let (least, most) = (cluster.least(from, from + 295), cluster.most(from, from + 295));
        assert!(
            most - least <= 1,
            "{least} to {most} in the five minutes from {minute}"
        );
    }
    assert!(
        (10..=13).contains(&cluster.last().replicas),
        "{:?}",
        cluster.last()
    );
}
