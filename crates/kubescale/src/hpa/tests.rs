use std::time::Duration;

use super::*;

const START: Timestamp = Timestamp::from_unix_nanos(1_000_000_000_000_000);

fn at(seconds: f64) -> Timestamp {
    START.plus(Duration::from_secs_f64(seconds))
}

fn metric(kind: MetricType, target: f64) -> HpaMetric {
    HpaMetric {
        name: "s0-x".into(),
        target: Target {
            kind,
            quantity: Quantity::from_float(target),
        },
    }
}

fn total(target: f64) -> HpaMetric {
    metric(MetricType::AverageValue, target)
}

fn settings(min: i32, max: i32, metrics: Vec<HpaMetric>, behavior: Option<&str>) -> HpaSettings {
    let behavior = behavior.map(|json| serde_json::from_str(json).unwrap());
    HpaSettings {
        min_replicas: min,
        max_replicas: max,
        metrics,
        behavior,
    }
}

fn hpa(settings: HpaSettings) -> Hpa {
    Hpa::new(settings, ControllerSettings::default()).unwrap()
}

/// A whole sync with one value per metric.
fn sync(hpa: &mut Hpa, now: f64, scale: Workload, values: &[Option<f64>]) -> Sync {
    let readings: Vec<Result<Vec<Quantity>, String>> = values
        .iter()
        .map(|value| {
            value
                .map(|value| vec![Quantity::from_float(value)])
                .ok_or_else(|| "failed".to_owned())
        })
        .collect();
    match hpa.start(at(now), &scale) {
        Start::Decided(sync) => *sync,
        Start::NeedsMetrics => hpa.finish(at(now), &scale, &readings),
    }
}

/// A first sync of a settled workload.
fn first(settings: HpaSettings, replicas: i32, value: f64) -> Sync {
    sync(
        &mut hpa(settings),
        0.0,
        Workload::settled(replicas),
        &[Some(value)],
    )
}

fn reason(condition: Option<Condition>) -> (bool, ConditionReason) {
    let condition = condition.unwrap();
    (condition.is_true, condition.reason)
}

const TOLERANCES: Tolerances = Tolerances { up: 0.1, down: 0.1 };

/// replica_calculator.go: GetExternalPerPodMetricReplicas.
#[test]
fn average_value_divides_the_total() {
    let replicas = |values: &[i64], target, status| per_pod_replicas(values, target, status, TOLERANCES);
    assert_eq!(
        replicas(&[380_000], 80_000, 4),
        5,
        "four replicas at 95 with target 80"
    );
    assert_eq!(
        replicas(&[95_000], 80_000, 4),
        2,
        "the mean in place of the total scales down at full load"
    );
    assert_eq!(
        replicas(&[190_000, 190_000], 80_000, 4),
        5,
        "several values are added up"
    );
    assert_eq!(replicas(&[352_000], 80_000, 4), 4, "1.1 is still within");
    assert_eq!(replicas(&[352_001], 80_000, 4), 5);
    assert_eq!(replicas(&[288_000], 80_000, 4), 4, "0.9 is still within");
    assert_eq!(replicas(&[240_000], 80_000, 4), 3);
    assert_eq!(replicas(&[0], 80_000, 4), 0);
    assert_eq!(
        replicas(&[200_000], 80_000, 0),
        3,
        "without pods nothing is within the tolerance"
    );
    assert_eq!(replicas(&[0], 80_000, 0), 0);
    assert_eq!(replicas(&[1], 80_000, 4), 1, "any rest is a replica");
    assert_eq!(replicas(&[i64::MAX], 1, 4), i32::MAX);
    assert_eq!(
        replicas(&[i64::MAX, 1], 1_000, 4),
        i32::MAX,
        "an overflow counts as the most there is"
    );
    assert_eq!(
        replicas(&[-1], 1_000, 4),
        i32::MAX,
        "and so does any negative sum"
    );
}

/// replica_calculator.go: GetExternalMetricReplicas, getUsageRatioReplicaCount, getReadyPodsCount.
#[test]
fn value_scales_the_ready_pods() {
    let scale = |spec, pods, ready| Workload {
        spec_replicas: spec,
        status_replicas: spec,
        pods,
        ready_pods: ready,
    };
    let replicas = |value, scale: Workload| value_replicas(&[value], 80_000, &scale, TOLERANCES);
    assert_eq!(replicas(95_000, scale(4, 4, 4)), Ok(5));
    assert_eq!(replicas(88_000, scale(4, 4, 4)), Ok(4));
    assert_eq!(
        replicas(160_000, scale(8, 8, 2)),
        Ok(4),
        "pods that are not ready do not count"
    );
    assert_eq!(
        replicas(84_000, scale(8, 8, 2)),
        Ok(8),
        "within the tolerance it stays with the spec"
    );
    assert_eq!(replicas(160_000, scale(8, 8, 0)), Ok(0));
    assert_eq!(
        replicas(200_000, scale(0, 0, 0)),
        Ok(3),
        "from zero only the ratio counts"
    );
    assert_eq!(replicas(0, scale(0, 0, 0)), Ok(0));
    assert!(replicas(160_000, scale(4, 0, 0)).is_err());
    assert_eq!(replicas(i64::MAX, scale(1000, 1000, 1000)), Ok(i32::MAX));
}

/// horizontal.go: computeStatusForExternalMetric uses the status for totals, the spec for intensities.
#[test]
fn each_target_type_has_its_own_current_count() {
    let starting = Workload {
        spec_replicas: 4,
        status_replicas: 2,
        pods: 2,
        ready_pods: 2,
    };
    let proposal = |metric, value| {
        let sync = sync(
            &mut hpa(settings(1, 9, vec![metric], None)),
            0.0,
            starting,
            &[Some(value)],
        );
        sync.proposals.into_iter().next().unwrap().replicas
    };
    assert_eq!(
        proposal(total(10.0), 20.0),
        Ok(2),
        "a total is compared with the pods that exist"
    );
    assert_eq!(proposal(metric(MetricType::Value, 10.0), 10.5), Ok(4));
}

/// horizontal.go: reconcileAutoscaler before metrics.
#[test]
fn outside_its_limits_it_does_not_look_at_metrics() {
    let one = |replicas| first(settings(2, 5, vec![total(10.0)], None), replicas, 30.0);
    let none = one(0);
    assert_eq!((none.to, none.cause), (0, None));
    assert_eq!(
        reason(none.conditions.scaling_active),
        (false, ConditionReason::ScalingDisabled)
    );
    assert_eq!((one(9).to, one(9).cause), (5, Some(RescaleCause::AboveMaximum)));
    assert_eq!((one(1).to, one(1).cause), (2, Some(RescaleCause::BelowMinimum)));
    assert!(one(1).proposals.is_empty());
    assert_eq!(
        reason(one(1).conditions.able_to_scale),
        (true, ConditionReason::SucceededRescale)
    );
    assert_eq!(one(3).to, 3);
}

/// horizontal.go: computeReplicasForMetrics.
#[test]
fn the_largest_proposal_wins_and_an_unknown_one_only_forbids_scaling_down() {
    let two = || {
        settings(
            1,
            20,
            vec![
                total(10.0),
                HpaMetric {
                    name: "s1-y".into(),
                    ..total(10.0)
                },
            ],
            None,
        )
    };
    let run = |values: &[Option<f64>]| {
        // A restart long ago: no window holds anything back.
        let mut hpa = hpa(two());
        sync(&mut hpa, 0.0, Workload::settled(4), &[Some(40.0), Some(40.0)]);
        sync(&mut hpa, 1000.0, Workload::settled(4), values)
    };
    assert_eq!(run(&[Some(60.0), Some(50.0)]).to, 6);
    assert_eq!(
        run(&[Some(60.0), Some(70.0)]).cause,
        Some(RescaleCause::AboveTarget {
            metric: "s1-y".into()
        })
    );
    assert_eq!(run(&[Some(20.0), Some(10.0)]).to, 2);
    assert_eq!(run(&[None, Some(70.0)]).to, 7, "up is possible with one of two");
    let frozen = run(&[None, Some(10.0)]);
    assert_eq!((frozen.to, frozen.recommendation), (4, None), "down is not");
    assert_eq!(
        reason(frozen.conditions.scaling_active),
        (false, ConditionReason::FailedGetExternalMetric)
    );
    assert_eq!(run(&[None, None]).to, 4);
    assert_eq!(run(&[None, Some(41.0)]).to, 4);
    assert_eq!(
        reason(run(&[None, Some(41.0)]).conditions.scaling_active).1,
        ConditionReason::ValidMetricFound
    );
}

/// horizontal.go: convertDesiredReplicasWithRules, calculateScaleUpLimit.
#[test]
fn without_behaviour_it_at_most_doubles_or_goes_to_four() {
    let run = |replicas, value| first(settings(1, 30, vec![total(1.0)], None), replicas, value);
    assert_eq!(run(1, 100.0).to, 4);
    assert_eq!(run(2, 100.0).to, 4);
    assert_eq!(run(3, 100.0).to, 6);
    assert_eq!(run(10, 100.0).to, 20);
    assert_eq!(
        reason(run(10, 100.0).conditions.scaling_limited),
        (true, ConditionReason::ScaleUpLimit)
    );
    assert_eq!(run(20, 100.0).to, 30);
    assert_eq!(
        reason(run(20, 100.0).conditions.scaling_limited),
        (true, ConditionReason::TooManyReplicas)
    );
    assert_eq!(
        reason(run(10, 12.0).conditions.scaling_limited),
        (false, ConditionReason::DesiredWithinRange)
    );
}

/// horizontal.go: stabilizeRecommendation, recordInitialRecommendation.
#[test]
fn without_behaviour_the_largest_recent_recommendation_holds() {
    let mut hpa = hpa(settings(1, 30, vec![total(1.0)], None));
    let mut run = |now, replicas, value| sync(&mut hpa, now, Workload::settled(replicas), &[Some(value)]);
    let held = run(0.0, 8, 2.0);
    assert_eq!(
        (held.to, held.recommendation, held.stabilized),
        (8, Some(2), Some(8)),
        "what was there counts"
    );
    assert_eq!(held.stabilization, Some(ConditionReason::ScaleDownStabilized));
    assert_eq!(
        reason(held.conditions.able_to_scale),
        (true, ConditionReason::ScaleDownStabilized)
    );
    assert_eq!(run(300.0, 8, 3.0).to, 8, "at the very end of the window");
    let free = run(300.1, 8, 2.0);
    assert_eq!(
        (free.to, free.cause),
        (3, Some(RescaleCause::BelowTarget)),
        "to the largest that is left"
    );
    assert_eq!(run(301.0, 3, 9.0).to, 6, "up is not held back");
}

/// horizontal.go: stabilizeRecommendationWithBehaviors.
#[test]
fn windows_in_both_directions() {
    let behavior = r#"{"scaleUp": {"stabilizationWindowSeconds": 60}, "scaleDown": {"stabilizationWindowSeconds": 100}}"#;
    let mut hpa = hpa(settings(1, 30, vec![total(1.0)], Some(behavior)));
    let mut run = |now, replicas, value| sync(&mut hpa, now, Workload::settled(replicas), &[Some(value)]);
    let held = run(0.0, 4, 9.0);
    assert_eq!(
        (held.to, held.stabilization),
        (4, Some(ConditionReason::ScaleUpStabilized))
    );
    assert_eq!(run(30.0, 4, 6.0).to, 4);
    assert_eq!(run(59.9, 4, 8.0).to, 4);
    assert_eq!(run(60.0, 4, 9.0).to, 6, "the lowest of the last minute");
    assert_eq!(run(61.0, 6, 1.0).to, 6, "down by the other window");
    let later = run(160.0, 6, 1.0);
    assert_eq!(later.to, 1, "the 9 of second 60 is just too old");
}

/// defaults.go: GenerateHPAScaleUpRules, GenerateHPAScaleDownRules; horizontal.go:
/// maybeInitScaleDownStabilizationWindow. An empty behaviour is not the same as none.
#[test]
fn an_empty_behaviour_is_filled_in() {
    let run = |replicas, value| first(settings(1, 100, vec![total(1.0)], Some("{}")), replicas, value);
    assert_eq!(
        run(1, 100.0).to,
        5,
        "four more, where no behaviour would allow four in all"
    );
    assert_eq!(run(10, 100.0).to, 20);
    assert_eq!(run(10, 2.0).to, 10, "the controller's window");
    let policies = r#"{"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}]}}"#;
    let only = first(settings(1, 100, vec![total(1.0)], Some(policies)), 10, 100.0);
    assert_eq!(only.to, 11, "own policies replace all default ones");
}

/// horizontal.go: calculateScaleUpLimitWithScalingRules, calculateScaleDownLimitWithBehaviors,
/// getReplicasChangePerPeriod, storeScaleEvent.
#[test]
fn policies_count_what_was_done_within_their_period() {
    let behavior = r#"{
        "scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]},
        "scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Min", "policies": [
            {"type": "Pods", "value": 3, "periodSeconds": 30}, {"type": "Percent", "value": 50, "periodSeconds": 30}
        ]}
    }"#;
    let mut hpa = hpa(settings(1, 50, vec![total(1.0)], Some(behavior)));
    let mut run = |now, replicas, value| {
        let sync = sync(&mut hpa, now, Workload::settled(replicas), &[Some(value)]);
        (sync.to, reason(sync.conditions.scaling_limited).1)
    };
    assert_eq!(run(0.0, 4, 20.0), (6, ConditionReason::ScaleUpLimit));
    assert_eq!(
        run(15.0, 6, 20.0),
        (6, ConditionReason::ScaleUpLimit),
        "the minute's two are used up"
    );
    assert_eq!(run(59.9, 6, 20.0), (6, ConditionReason::ScaleUpLimit));
    assert_eq!(run(60.0, 6, 20.0), (8, ConditionReason::ScaleUpLimit));
    assert_eq!(run(120.0, 8, 20.0).0, 10);
    // Down: 50 % of 10 is 5, three pods is less, and Min takes the smaller change.
    assert_eq!(run(200.0, 10, 1.0), (7, ConditionReason::ScaleDownLimit));
    assert_eq!(run(210.0, 7, 1.0).0, 7);
    assert_eq!(run(230.0, 7, 1.0).0, 4);
    assert_eq!(run(260.0, 4, 1.0).0, 2, "50 % of 4 is the smaller change now");
    assert_eq!(run(290.0, 2, 1.0).0, 1);
}

/// horizontal.go: the Disabled policy, as KEDA's paused-scale-in and paused-scale-out use it.
#[test]
fn a_disabled_direction_stands_still() {
    let down = r#"{"scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}}"#;
    let held = first(settings(1, 50, vec![total(1.0)], Some(down)), 10, 1.0);
    assert_eq!(
        (held.to, reason(held.conditions.scaling_limited)),
        (10, (true, ConditionReason::ScaleDownLimit))
    );
    let up = r#"{"scaleUp": {"selectPolicy": "Disabled"}}"#;
    let held = first(settings(1, 50, vec![total(1.0)], Some(up)), 10, 30.0);
    assert_eq!(
        (held.to, reason(held.conditions.scaling_limited)),
        (10, (true, ConditionReason::ScaleUpLimit))
    );
}

/// horizontal.go: percentages round up upwards and are cut off downwards.
#[test]
fn percentages_are_rounded_as_the_original_does() {
    let percent = |value: u32| {
        format!(
            r#"{{
        "scaleUp": {{"policies": [{{"type": "Percent", "value": {value}, "periodSeconds": 60}}]}},
        "scaleDown": {{"stabilizationWindowSeconds": 0, "policies": [{{"type": "Percent", "value": {value}, "periodSeconds": 60}}]}}
    }}"#
        )
    };
    let run = |value, replicas, wanted| {
        first(
            settings(1, 100, vec![total(1.0)], Some(&percent(value))),
            replicas,
            wanted,
        )
        .to
    };
    assert_eq!(run(10, 3, 90.0), 4);
    assert_eq!(run(10, 20, 90.0), 22);
    assert_eq!(run(10, 15, 1.0), 13);
    assert_eq!(run(10, 1, 90.0), 2);
}

/// horizontal.go: tolerancesForHpa. With the default, 15 replicas never become 16; with 0 they do.
#[test]
fn tolerance_swallows_single_steps_of_large_workloads() {
    let run = |behavior: Option<&str>, replicas, value| {
        let mut hpa = hpa(settings(1, 30, vec![total(1.0)], behavior));
        sync(
            &mut hpa,
            0.0,
            Workload::settled(replicas),
            &[Some(f64::from(replicas))],
        );
        sync(&mut hpa, 1000.0, Workload::settled(replicas), &[Some(value)]).to
    };
    assert_eq!(run(None, 15, 16.0), 15);
    assert_eq!(run(None, 16, 15.0), 16);
    assert_eq!(run(None, 9, 10.0), 10, "one of nine is more than 10 %");
    let zero = r#"{"scaleUp": {"tolerance": "0"}, "scaleDown": {"tolerance": "0"}}"#;
    assert_eq!(run(Some(zero), 15, 16.0), 16);
    assert_eq!(run(Some(zero), 16, 15.0), 15);
    assert_eq!(run(Some(zero), 15, 15.001), 16);
    let up_only = r#"{"scaleUp": {"tolerance": 0}}"#;
    assert_eq!(run(Some(up_only), 15, 16.0), 16);
    assert_eq!(
        run(Some(up_only), 16, 15.0),
        16,
        "the other direction keeps the controller's"
    );
}

#[test]
fn what_the_api_server_refuses_is_refused() {
    let refuse = |settings: HpaSettings| {
        Hpa::new(settings, ControllerSettings::default())
            .unwrap_err()
            .to_string()
    };
    let good = || settings(1, 5, vec![total(1.0)], None);
    assert!(
        refuse(HpaSettings {
            min_replicas: 0,
            ..good()
        })
        .contains("minReplicas is 0")
    );
    assert!(
        refuse(HpaSettings {
            max_replicas: 0,
            ..good()
        })
        .contains("maxReplicas is 0")
    );
    assert!(refuse(settings(1, 5, vec![total(0.0001)], None)).contains("s0-x is 0"));
    assert!(refuse(settings(1, 5, vec![], None)).contains("metrics"));
    let policies = |json: &str| refuse(settings(1, 5, vec![total(1.0)], Some(json)));
    assert!(policies(r#"{"scaleUp": {"policies": []}}"#).contains("behavior.scaleUp.policies"));
    assert!(
        policies(r#"{"scaleDown": {"tolerance": "-0.1"}}"#).contains("behavior.scaleDown.tolerance is -0.1")
    );
    assert!(policies(r#"{"scaleDown": {"stabilizationWindowSeconds": 3601}}"#).contains("3601"));
}
