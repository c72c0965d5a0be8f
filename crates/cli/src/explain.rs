use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use http::header::ACCEPT;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::output::print;
use crate::replay;

/// `rheostat explain`.
#[derive(Args)]
pub(crate) struct ExplainArguments {
    /// The ScaledObject or ScaledJob. With `--replay` the only one that is looked at; all without it.
    #[arg(value_name = "NAMESPACE/NAME", required_unless_present = "replay")]
    workload: Option<String>,
    /// The scaler's HTTP port, such as `http://127.0.0.1:8080`; `RHEOSTAT_SCALER` of the environment where it is
    /// not given. Without both the scaler is reached through the Kubernetes API server, with the permissions
    /// of the current kubeconfig.
    // Not clap's `env`: that would make a variable that is set for the day conflict with `--replay`.
    #[arg(long, value_name = "URL")]
    scaler: Option<String>,
    /// The scaler's Service, for the way through the Kubernetes API server; `NAMESPACE/https:SERVICE:PORT`
    /// where its HTTP port serves TLS.
    #[arg(
        long,
        default_value = "rheostat/rheostat-scaler:http",
        value_name = "NAMESPACE/SERVICE:PORT"
    )]
    service: String,
    /// Make the decisions of a decision log again, here and without a scaler, and say whether they are the
    /// same bit for bit. A file, or a directory with the files of `--decision-log`.
    #[arg(long, value_name = "LOG", conflicts_with = "scaler")]
    replay: Option<PathBuf>,
    /// With `--replay`: make them under this ScalingPolicy instead, a YAML file, and show what differs.
    #[arg(long, value_name = "POLICY", requires = "replay")]
    what_if: Option<PathBuf>,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// Names the scaler where `--scaler` does not.
const SCALER: &str = "RHEOSTAT_SCALER";

/// The longest answer that is read: an explanation of a thousand pods is below it.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// How long to wait for the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks a scaler, or looks into a decision log, and prints what there is to say.
pub(crate) fn run(arguments: ExplainArguments) -> anyhow::Result<()> {
    if let Some(log) = &arguments.replay {
        let workload = arguments.workload.as_deref();
        let mut out = std::io::stdout().lock();
        return match &arguments.what_if {
            Some(policy) => replay::under(log, policy, workload, arguments.json, &mut out),
            None => replay::again(log, workload, arguments.json, &mut out),
        };
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let text = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, ask(arguments))
            .await
            .context("the scaler did not answer in time")?
    })?;
    print(&format!("{}\n", text.trim_end()))
}

async fn ask(arguments: ExplainArguments) -> anyhow::Result<String> {
    let ExplainArguments {
        workload,
        scaler,
        service,
        json,
        ..
    } = arguments;
    let workload = workload.context("no workload is named")?;
    let (namespace, name) = pair(&workload).ok_or_else(|| {
        anyhow!("{workload:?} is not NAMESPACE/NAME of a ScaledObject or ScaledJob, such as team-a/chat")
    })?;
    let path = format!("/v1/workloads/{namespace}/{name}");
    let accept = if json { "application/json" } else { "text/plain" };
    let variable = || std::env::var(SCALER).ok().filter(|url| !url.is_empty());
    match scaler.or_else(variable) {
        Some(scaler) => directly(scaler.trim_end_matches('/'), &path, accept).await,
        None => through_the_api_server(&service, &path, accept).await,
    }
}

async fn directly(scaler: &str, path: &str, accept: &str) -> anyhow::Result<String> {
    if !scaler.starts_with("http://") {
        bail!(
            "--scaler {scaler:?} does not begin with http://; a scaler that serves TLS is reached through the \
             Kubernetes API server (leave --scaler out)"
        );
    }
    let uri = format!("{scaler}{path}");
    let client: Client<HttpConnector, Empty<&'static [u8]>> =
        Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(&uri)
        .header(ACCEPT, accept)
        .body(Empty::new())
        .context("--scaler is no URL")?;
    let response = client
        .request(request)
        .await
        .with_context(|| format!("cannot reach the scaler at {uri}"))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LONGEST_ANSWER)
        .collect()
        .await
        .map_err(|error| anyhow!("the scaler's answer could not be read: {error}"))?;
    let text = String::from_utf8(body.to_bytes().to_vec()).context("the scaler's answer is not text")?;
    match status {
        StatusCode::OK => Ok(text),
        _ => bail!("the scaler answers {status}: {}", text.trim()),
    }
}

async fn through_the_api_server(service: &str, path: &str, accept: &str) -> anyhow::Result<String> {
    let (namespace, service) = pair(service).ok_or_else(|| {
        anyhow!("--service {service:?} is not NAMESPACE/SERVICE:PORT, such as rheostat/rheostat-scaler:http")
    })?;
    let client = kube::Client::try_default().await.context(
        "no cluster to ask (no usable kubeconfig); give the scaler's address with --scaler http://HOST:PORT",
    )?;
    let uri = format!("/api/v1/namespaces/{namespace}/services/{service}/proxy{path}");
    let request = Request::get(&uri).header(ACCEPT, accept).body(Vec::new())?;
    client
        .request_text(request)
        .await
        .with_context(|| format!("the API server could not reach the scaler's Service {namespace}/{service}"))
}

/// The two parts of `a/b`, neither of them empty and no third one.
fn pair(text: &str) -> Option<(&str, &str)> {
    let (first, second) = text.split_once('/')?;
    let plain = |part: &str| !part.is_empty() && !part.contains(['/', '?', '#', '%']);
    (plain(first) && plain(second)).then_some((first, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_a_namespace_and_a_name() {
        assert_eq!(pair("team-a/chat"), Some(("team-a", "chat")));
        for bad in ["chat", "/chat", "team-a/", "a/b/c", "a/b?x", ""] {
            assert_eq!(pair(bad), None, "{bad}");
        }
    }
}
