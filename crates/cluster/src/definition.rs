use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::model::{
    HpaTolerances, MetricType, TargetProblem, TriggerDefinition, TriggerKind, UnsupportedMetricType,
    Workload, WorkloadId, WorkloadKind,
};
use crate::objects::KedaObject;
use crate::quantity;

/// What a ScaledObject or ScaledJob says by itself: a workload whose target was not looked up yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Definition {
    pub(crate) workload: Workload,
    pub(crate) target: Result<TargetReference, String>,
}

/// `scaleTargetRef`; for a ScaledJob its Jobs, by its own name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TargetReference {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
}

/// A field that is not what KEDA's CRD allows there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.{field} is {found}, not {wanted}")]
pub(crate) struct Malformed {
    field: &'static str,
    found: String,
    wanted: &'static str,
}

/// Reads `object`; `None` where no trigger is external, so that it is no business of ours.
///
/// Defaults are KEDA's (apis/keda/v1alpha1): polling 30 s, cooldown 300 s, 0 to 100 replicas.
pub(crate) fn read(kind: WorkloadKind, object: &KedaObject) -> Result<Option<Definition>, Malformed> {
    let KedaObject { metadata, spec } = object;
    let all = spec
        .get("triggers")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let triggers: Vec<_> = all
        .iter()
        .enumerate()
        .filter_map(|(index, value)| trigger(index, value))
        .collect();
    if triggers.is_empty() {
        return Ok(None);
    }
    let number = |field: &'static str, default: u32| -> Result<u32, Malformed> {
        Ok(whole_number(spec, field)?.unwrap_or(default))
    };
    let annotation = |name: &str| metadata.annotations.get(name);
    let is_ours = |(key, _): &(&String, &String)| key.starts_with("rheostat.dev/");
    let paused = annotation("autoscaling.keda.sh/paused").is_some_and(|value| !is_false(value))
        || annotation("autoscaling.keda.sh/paused-replicas").is_some();
    let workload = Workload {
        id: WorkloadId {
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            kind,
        },
        uid: metadata.uid.clone(),
        generation: metadata.generation,
        other_triggers: all.len() - triggers.len(),
        triggers,
        min_replicas: number("minReplicaCount", 0)?,
        max_replicas: number("maxReplicaCount", 100)?,
        idle_replicas: whole_number(spec, "idleReplicaCount")?,
        polling_interval: Duration::from_secs(number("pollingInterval", 30)?.into()),
        cooldown_period: Duration::from_secs(number("cooldownPeriod", 300)?.into()),
        paused,
        annotations: metadata
            .annotations
            .iter()
            .filter(is_ours)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        tolerances: tolerances(spec),
        scale_down_stabilization: spec
            .pointer("/advanced/horizontalPodAutoscalerConfig/behavior/scaleDown/stabilizationWindowSeconds")
            .and_then(Value::as_u64)
            .map(Duration::from_secs),
        target: Err(TargetProblem::NotYet {
            what: "the scale target",
        }),
        pods: Arc::new([]),
    };
    let target = match kind {
        WorkloadKind::ScaledObject => reference(spec),
        WorkloadKind::ScaledJob => Ok(TargetReference {
            api_version: "batch/v1".into(),
            kind: "Job".into(),
            name: metadata.name.clone(),
        }),
    };
    Ok(Some(Definition { workload, target }))
}

fn trigger(index: usize, value: &Value) -> Option<TriggerDefinition> {
    let kind = match value.get("type")?.as_str()? {
        "external" => TriggerKind::External,
        "external-push" => TriggerKind::ExternalPush,
        _ => return None,
    };
    let metric_type = match value.get("metricType").and_then(Value::as_str) {
        None | Some("" | "AverageValue") => Ok(MetricType::AverageValue),
        Some("Value") => Ok(MetricType::Value),
        Some(other) => Err(UnsupportedMetricType(other.to_owned())),
    };
    let metadata = value
        .get("metadata")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let metadata: BTreeMap<_, _> = metadata
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    Some(TriggerDefinition {
        index,
        name: value
            .get("name")
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
            .map(str::to_owned),
        kind,
        metadata,
        metric_type,
        use_cached_metrics: value
            .get("useCachedMetrics")
            .and_then(Value::as_bool)
            .unwrap_or(false),
    })
}

fn reference(spec: &Value) -> Result<TargetReference, String> {
    let reference = spec.get("scaleTargetRef").ok_or("missing")?;
    let text = |key: &str, default: &str| {
        let text = reference
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty());
        text.unwrap_or(default).to_owned()
    };
    let target = TargetReference {
        api_version: text("apiVersion", "apps/v1"),
        kind: text("kind", "Deployment"),
        name: text("name", ""),
    };
    if target.name.is_empty() {
        Err("name is missing".into())
    } else {
        Ok(target)
    }
}

fn tolerances(spec: &Value) -> HpaTolerances {
    let tolerance = |direction: &str| {
        let path = format!("/advanced/horizontalPodAutoscalerConfig/behavior/{direction}/tolerance");
        match spec.pointer(&path)? {
            Value::String(text) => quantity::parse(text),
            other => other.as_f64(),
        }
    };
    HpaTolerances {
        scale_up: tolerance("scaleUp"),
        scale_down: tolerance("scaleDown"),
    }
}

fn whole_number(spec: &Value, field: &'static str) -> Result<Option<u32>, Malformed> {
    match spec.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(Malformed {
                field,
                found: value.to_string(),
                wanted: "a whole number from 0",
            }),
        },
    }
}

/// What Go's `strconv.ParseBool` takes for false; KEDA takes everything else for "pause".
fn is_false(value: &str) -> bool {
    matches!(value, "0" | "f" | "F" | "false" | "FALSE" | "False")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scaled_object(spec: &Value) -> Result<Option<Definition>, Malformed> {
        let object = json!({"metadata": {"name": "llm", "namespace": "a", "uid": "u", "generation": 3,
            "annotations": {"rheostat.dev/note": "x", "other": "y", "autoscaling.keda.sh/paused": "yes"}},
            "spec": spec});
        read(
            WorkloadKind::ScaledObject,
            &serde_json::from_value(object).unwrap(),
        )
    }

    #[test]
    fn defaults_are_kedas() {
        let found = scaled_object(&json!({
            "scaleTargetRef": {"name": "llm"},
            "triggers": [
                {"type": "cpu", "metadata": {"value": "50"}},
                {"type": "external-push", "metadata": {"scalerAddress": "x:6000", "signal": "gpu.utilization"}},
            ],
        }))
        .unwrap()
        .unwrap();
        let target = TargetReference {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            name: "llm".into(),
        };
        assert_eq!(found.target, Ok(target));
        let workload = found.workload;
        assert_eq!(
            (
                workload.min_replicas,
                workload.max_replicas,
                workload.idle_replicas
            ),
            (0, 100, None)
        );
        assert_eq!(
            (
                workload.polling_interval.as_secs(),
                workload.cooldown_period.as_secs()
            ),
            (30, 300)
        );
        assert_eq!((workload.other_triggers, workload.triggers.len()), (1, 1));
        assert_eq!(workload.triggers[0].index, 1);
        assert_eq!(workload.triggers[0].kind, TriggerKind::ExternalPush);
        assert_eq!(workload.triggers[0].metric_type, Ok(MetricType::AverageValue));
        assert!(workload.paused, "KEDA takes a value that is no boolean for true");
        assert_eq!(
            workload.annotations.keys().collect::<Vec<_>>(),
            ["rheostat.dev/note"]
        );
        assert_eq!(workload.tolerances, HpaTolerances::default());
    }

    #[test]
    fn what_is_set_is_taken() {
        let found = scaled_object(&json!({
            "scaleTargetRef": {"apiVersion": "serving.example/v1", "kind": "Server", "name": "llm"},
            "minReplicaCount": 2, "maxReplicaCount": 8, "idleReplicaCount": 0, "pollingInterval": 5,
            "cooldownPeriod": 60,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {
                "scaleUp": {"tolerance": "0"}, "scaleDown": {"tolerance": "50m"}}}},
            "triggers": [
                {"type": "external", "name": "gpu", "metricType": "Value", "useCachedMetrics": true, "metadata": {}},
                {"type": "external", "metricType": "Utilization", "metadata": {}},
            ],
        }))
        .unwrap()
        .unwrap();
        let workload = found.workload;
        assert_eq!(
            (
                workload.min_replicas,
                workload.max_replicas,
                workload.idle_replicas
            ),
            (2, 8, Some(0))
        );
        assert_eq!(workload.tolerances.scale_up, Some(0.0));
        assert_eq!(workload.tolerances.scale_down, Some(0.05));
        assert_eq!(workload.triggers[0].name.as_deref(), Some("gpu"));
        assert_eq!(workload.triggers[0].metric_type, Ok(MetricType::Value));
        assert!(workload.triggers[0].use_cached_metrics);
        assert_eq!(
            workload.triggers[1].metric_type.as_ref().unwrap_err().to_string(),
            "metricType is \"Utilization\"; an external trigger takes AverageValue or Value"
        );
    }

    #[test]
    fn what_is_not_ours_or_makes_no_sense_is_told_apart() {
        let external = json!([{"type": "external", "metadata": {}}]);
        assert_eq!(
            scaled_object(&json!({"triggers": [{"type": "cron", "metadata": {}}]})),
            Ok(None)
        );
        assert_eq!(scaled_object(&Value::Null), Ok(None));
        let error = scaled_object(&json!({"minReplicaCount": -1, "triggers": external})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "spec.minReplicaCount is -1, not a whole number from 0"
        );
        let found = scaled_object(&json!({"triggers": external})).unwrap().unwrap();
        assert_eq!(found.target, Err("missing".into()));
    }
}
