//! ScalingPolicies, and what the scalers write of them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::Api;
use kube::core::DynamicObject;
use serde_json::{Value, json};

use crate::cluster::{Case, PATIENCE, api};
use crate::wait::{Seen, eventually};

const VERSION: &str = "rheostat.dev/v1alpha1";
const KIND: &str = "ScalingPolicy";

/// How long the definition of a kind may take to be served.
const SERVED: Duration = Duration::from_secs(60);

/// Where nothing but figures changes, the status is written no more often.
const WRITTEN_EACH: Duration = Duration::from_secs(60);

/// Applies `deploy/crd.yaml` and waits until ScalingPolicies are served. Tests do so at the same time; it changes
/// nothing for those that come later.
pub(crate) async fn define(case: &Case) -> Result<()> {
    case.apply(include_str!("../../../deploy/crd.yaml"))
        .await
        .context("applying deploy/crd.yaml")?;
    eventually("ScalingPolicies to be served", SERVED, async || {
        api::of_kind(&case.client(), VERSION, KIND, None).await?;
        Ok(Seen::Yes(()))
    })
    .await
}

/// A policy of the test's namespace.
pub(crate) struct Policy {
    case: Case,
    name: String,
    api: Api<DynamicObject>,
}

impl Policy {
    /// Applies it.
    pub(crate) async fn apply(case: &Case, name: &str, spec: &Value) -> Result<Self> {
        let object = json!({"apiVersion": VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec});
        case.apply(&object.to_string()).await?;
        Ok(Self {
            case: case.clone(),
            name: name.to_owned(),
            api: api::of_kind(&case.client(), VERSION, KIND, Some(&case.namespace)).await?,
        })
    }

    /// Its status now; null where none was written.
    pub(crate) async fn status(&self) -> Result<Value> {
        let object = self.api.get(&self.name).await;
        let object = object.with_context(|| format!("reading the {KIND} {}", self.name))?;
        Ok(object.data.get("status").cloned().unwrap_or_default())
    }

    /// Waits until its status is as wanted, and returns it.
    pub(crate) async fn says(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let what = format!(
            "the {KIND} {}/{} to say that {what}",
            self.case.namespace, self.name
        );
        eventually(&what, PATIENCE + WRITTEN_EACH, async || {
            let status = self.status().await?;
            Ok(match holds(&status) {
                true => Seen::Yes(status),
                false => Seen::NotYet(status.to_string()),
            })
        })
        .await
    }

    /// The columns that `kubectl get` prints of it, with their names.
    pub(crate) async fn columns(&self) -> Result<Vec<(String, Value)>> {
        let (namespace, name) = (&self.case.namespace, &self.name);
        let path = format!("/apis/{VERSION}/namespaces/{namespace}/scalingpolicies/{name}");
        let request = http::Request::get(path)
            .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
            .body(Vec::new())
            .context("a request for a table")?;
        let table: Value = self
            .case
            .client()
            .request(request)
            .await
            .context("asking for a table")?;
        let list = |path: &str| table.pointer(path).and_then(Value::as_array).cloned();
        let names = list("/columnDefinitions").context("a table without columns")?;
        let cells = list("/rows/0/cells").context("a table without a row")?;
        let name = |column: &Value| column["name"].as_str().unwrap_or_default().to_owned();
        Ok(names.iter().map(name).zip(cells).collect())
    }
}

/// The status of a condition in the status of a policy, and its reason.
pub(crate) fn condition(status: &Value, kind: &str) -> (String, String) {
    let mut all = status["conditions"].as_array().into_iter().flatten();
    let found = all.find(|condition| condition["type"] == kind);
    let text = |key: &str| {
        let text = found.and_then(|found| found[key].as_str());
        text.unwrap_or_default().to_owned()
    };
    (text("status"), text("reason"))
}
