//! What kube-apiserver's audit log tells of one namespace: who read and set replica counts, and
//! when the HPA controller asked for a metric. To the microsecond, and unlike a watch it says who.

use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::recording::{By, What, micros};
use crate::control_plane::{CONTROLLERS, KEDA_OPERATOR};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    verb: String,
    user: User,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    response_object: Option<Value>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    resource: String,
    namespace: Option<String>,
    api_group: Option<String>,
    subresource: Option<String>,
}

#[derive(Deserialize)]
struct ResponseStatus {
    code: u16,
}

/// What the log holds of `namespace`, from `start` on.
pub(crate) fn read(log: &Path, namespace: &str, start: Timestamp) -> Result<Vec<(Timestamp, What)>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("reading {}", log.display()))?;
    // The last line may still be being written.
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let mut found = Vec::new();
    for line in complete.lines().filter(|line| line.contains(namespace)) {
        let record: Record =
            serde_json::from_str(line).with_context(|| format!("a line of {}", log.display()))?;
        let here = record
            .object_ref
            .as_ref()
            .and_then(|object| object.namespace.as_deref())
            == Some(namespace);
        if here && record.request_received_timestamp >= start {
            found.extend(entry(&record, start));
        }
    }
    Ok(found)
}

fn entry(record: &Record, start: Timestamp) -> Option<(Timestamp, What)> {
    let object = record.object_ref.as_ref()?;
    let status = record.response_status.as_ref().map_or(0, |status| status.code);
    let by = match record.user.username.as_str() {
        CONTROLLERS => By::Hpa,
        KEDA_OPERATOR => By::Keda,
        _ => By::Other,
    };
    let number = |pointer| -> Option<i32> {
        let value = record.response_object.as_ref()?.pointer(pointer)?;
        i32::try_from(value.as_i64()?).ok()
    };
    if object.api_group.as_deref() == Some("external.metrics.k8s.io") {
        let until_us = micros(start, record.stage_timestamp);
        let what = What::MetricRead {
            metric: object.resource.clone(),
            status,
            until_us,
        };
        return Some((record.request_received_timestamp, what));
    }
    if object.subresource.as_deref() != Some("scale") {
        return None;
    }
    // Zero is left out of the JSON of a scale.
    let wanted = number("/spec/replicas").unwrap_or(0);
    match record.verb.as_str() {
        "get" => {
            let existing = number("/status/replicas").unwrap_or(0);
            Some((
                record.request_received_timestamp,
                What::ScaleRead { by, wanted, existing },
            ))
        }
        "update" | "patch" => Some((
            record.stage_timestamp,
            What::ScaleWrite {
                by,
                replicas: wanted,
                status,
            },
        )),
        _ => None,
    }
}
