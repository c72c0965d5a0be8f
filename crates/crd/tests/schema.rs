//! Types and schema say the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use rheostat_crd::{
    Condition, ConditionKind, ConditionStatus, Policy, ScalingPolicySpec, ScalingPolicyStatus,
    WorkloadStatus, definition,
};
use serde_json::{Value, json};

/// Every field of the spec. Not a policy: it has all three objectives.
fn every_field() -> Value {
    json!({
        "slo": {"ttft": "2s", "itl": "100ms", "e2e": "30s", "attainment": "99.5%"},
        "concurrency": 32.5,
        "utilization": "70%",
        "replicas": {"min": 0, "max": 16, "headroom": 1, "scaleToZeroAfter": "10m"},
        "coldStart": "slow",
        "schedule": ["floor 2 from 0 8 * * mon-fri to 0 20 * * mon-fri", "blackout from 0 0 1 1 * to 0 6 1 1 *"],
        "timeZone": "Europe/Zurich",
        "limits": {
            "up": [{"replicas": 2, "percent": "50%", "within": "1m"}],
            "down": [{"replicas": 2, "percent": "50%", "within": "1m"}],
            "maxUnready": 3,
            "budgets": [{"gpuHours": 100.5, "money": 10.5, "per": "day", "whenReached": "fall", "fallTo": 1}],
            "power": "3kW"
        },
        "gpu": {"perReplica": 2.5, "pricePerHour": 3.5},
        "model": {"parameters": "8B"},
        "pool": {"name": "main", "gpus": 16.5, "priority": 10, "weight": 2.5},
        "role": {"part": "prefill", "partner": "decode", "prefillPerDecode": 0.5}
    })
}

fn schema(part: &str) -> Value {
    definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part].clone()
}

/// The paths of all fields of an object; lists count as their items.
fn fields_of(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                found.insert(format!("{path}.{key}"));
                fields_of(value, &format!("{path}.{key}"), found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields_of(item, path, found)),
        _ => {}
    }
}

fn fields_of_schema(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        found.insert(format!("{path}.{key}"));
        fields_of_schema(schema, &format!("{path}.{key}"), found);
    }
    if schema["items"].is_object() {
        fields_of_schema(&schema["items"], path, found);
    }
}

fn same_fields(part: &str, value: &Value) {
    let (mut types, mut written) = (BTreeSet::new(), BTreeSet::new());
    fields_of(value, part, &mut types);
    fields_of_schema(&schema(part), part, &mut written);
    assert_eq!(types, written);
}

/// What the API server checks of a structural schema, as far as ours uses it, except CEL.
fn check(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    let fail = |what: &str| Err(format!("{path}: {value} {what}"));
    let number = |key: &str| schema[key].as_f64();
    match schema["type"].as_str().unwrap() {
        "object" => {
            let Some(map) = value.as_object() else {
                return fail("is no object");
            };
            for name in schema["required"].as_array().into_iter().flatten() {
                if !map.contains_key(name.as_str().unwrap()) {
                    return fail(&format!("lacks {name}"));
                }
            }
            for (key, value) in map {
                match &schema["properties"][key] {
                    Value::Null => return fail(&format!("has {key}, which there is not")),
                    schema => check(schema, value, &format!("{path}.{key}"))?,
                }
            }
        }
        "array" => {
            let Some(items) = value.as_array() else {
                return fail("is no list");
            };
            if schema["maxItems"]
                .as_u64()
                .is_some_and(|most| items.len() as u64 > most)
            {
                return fail("is too long");
            }
            items
                .iter()
                .try_for_each(|item| check(&schema["items"], item, path))?;
        }
        "string" => {
            let Some(text) = value.as_str() else {
                return fail("is no text");
            };
            if schema["maxLength"]
                .as_u64()
                .is_some_and(|most| text.len() as u64 > most)
            {
                return fail("is too long");
            }
            if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
                return fail("is not one of the values");
            }
        }
        "integer" | "number" => {
            let Some(found) = value.as_f64() else {
                return fail("is no number");
            };
            if schema["type"] == "integer" && value.as_i64().is_none() {
                return fail("is not whole");
            }
            if number("minimum").is_some_and(|least| found < least)
                || number("maximum").is_some_and(|most| found > most)
            {
                return fail("is out of range");
            }
        }
        "boolean" if value.is_boolean() => {}
        "boolean" => return fail("is neither true nor false"),
        other => panic!("{path}: {other} is not checked"),
    }
    Ok(())
}

#[test]
fn the_spec_has_the_fields_of_its_schema() {
    let value = every_field();
    let spec: ScalingPolicySpec = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(
        serde_json::to_value(&spec).unwrap(),
        value,
        "every field is read and written"
    );
    same_fields("spec", &value);
    assert_eq!(check(&schema("spec"), &value, "spec"), Ok(()));
}

#[test]
fn the_status_has_the_fields_of_its_schema() {
    let text = || Some("x".to_owned());
    let status = ScalingPolicyStatus {
        observed_generation: 1,
        leader: text(),
        desired: Some(2),
        why: text(),
        attainment: text(),
        workloads: vec![WorkloadStatus {
            name: "chat".into(),
            desired: Some(2),
            active: Some(true),
            unknown: text(),
            why: text(),
            capacity: text(),
            confidence: text(),
            cold_start: text(),
            gpus: Some(8.0),
            attainment: text(),
            budget_left: text(),
            learned: text(),
        }],
        conditions: vec![Condition {
            kind: ConditionKind::Ready,
            status: ConditionStatus::True,
            reason: "Decided".into(),
            message: "x".into(),
            last_transition_time: "1970-01-01T00:00:00Z".into(),
            observed_generation: 1,
        }],
    };
    let value = serde_json::to_value(&status).unwrap();
    same_fields("status", &value);
    assert_eq!(check(&schema("status"), &value, "status"), Ok(()));
    assert_eq!(
        serde_json::from_value::<ScalingPolicyStatus>(value).unwrap(),
        status
    );
}

/// What a structural schema must be (KEP-1693, apiextensions `structural`): a type everywhere, and at the root
/// nothing but types for `metadata`.
#[test]
fn the_schema_is_structural() {
    fn walk(schema: &Value, path: &str) {
        let kind = schema["type"]
            .as_str()
            .unwrap_or_else(|| panic!("{path} has no type"));
        assert!(
            !schema["description"].is_null() || matches!(path, ".apiVersion" | ".kind" | ".metadata"),
            "{path}"
        );
        for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
            walk(schema, &format!("{path}.{key}"));
        }
        if kind == "array" {
            walk(&schema["items"], path);
        }
    }
    walk(
        &definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
        "",
    );
}

#[test]
fn the_manifest_is_the_definition() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crd.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let written: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(written, definition(), "run `cargo xtask crd`");
}

/// Specs that are mostly allowed and sometimes not.
fn specs() -> impl Strategy<Value = Value> {
    let part = |value: Value| prop::option::weighted(0.4, Just(value));
    let all = every_field();
    let values: Vec<(String, Value)> = all.as_object().unwrap().clone().into_iter().collect();
    let chosen: Vec<_> = values.iter().map(|(_, value)| part(value.clone())).collect();
    let numbers = (
        prop::num::f64::ANY.prop_filter("JSON has no other", |number| number.is_finite()),
        0u32..200_000,
        -2000i32..2000,
    );
    (chosen, numbers).prop_map(move |(chosen, (number, count, priority))| {
        let mut spec = serde_json::Map::new();
        for ((key, _), value) in values.iter().zip(chosen) {
            if let Some(value) = value {
                spec.insert(key.clone(), value);
            }
        }
        let mut spec = Value::Object(spec);
        for (pointer, value) in [
            ("/concurrency", json!(number)),
            ("/replicas/headroom", json!(count)),
            ("/pool/priority", json!(priority)),
            ("/limits/maxUnready", json!(count)),
        ] {
            if let Some(place) = spec.pointer_mut(pointer) {
                *place = value;
            }
        }
        spec
    })
}

proptest! {
    /// What the types take the schema takes: a policy that means something is never refused by the API server
    /// for its types or ranges.
    #[test]
    fn what_means_something_fits_the_schema(mut spec in specs(), alone in 0usize..3) {
        let objectives = ["slo", "concurrency", "utilization"];
        for (place, key) in objectives.iter().enumerate() {
            if place != alone {
                spec.as_object_mut().unwrap().remove(*key);
            }
        }
        // Each of these is either one thing or another.
        for pointer in ["/limits/up/0", "/limits/down/0"] {
            if let Some(rate) = spec.pointer_mut(pointer) {
                rate.as_object_mut().unwrap().remove("percent");
            }
        }
        if let Some(budget) = spec.pointer_mut("/limits/budgets/0") {
            budget.as_object_mut().unwrap().remove("money");
        }
        let fits = check(&schema("spec"), &spec, "spec");
        match Policy::read(&spec) {
            Ok(_) => prop_assert_eq!(fits, Ok(())),
            Err(error) => {
                let text = error.to_string();
                prop_assert!(
                    fits.is_err() || text.contains("missing") || text.contains("contradict"),
                    "{} {}", text, spec
                );
            }
        }
    }

    #[test]
    fn nothing_is_too_odd(text in ".{0,64}", number in prop::num::f64::ANY) {
        for spec in [
            json!({"utilization": text}),
            json!({"slo": {"ttft": text}}),
            json!({"concurrency": number}),
            json!({"concurrency": 1, "coldStart": text, "limits": {"power": text}}),
            json!({"concurrency": 1, "schedule": [text]}),
            json!(text),
        ] {
            let _ = Policy::read(&spec);
        }
    }
}
