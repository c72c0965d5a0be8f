//! A real Prometheus that scrapes the pods of a test.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::cluster::{Case, PATIENCE};
use crate::fetch::fetch;
use crate::process::Daemon;
use crate::programs;
use crate::wait::{Seen, eventually};

/// The port of a Prometheus by default.
const HTTP: u16 = 9090;

/// Its targets come from the files that [`Engines`](super::engines::Engines) and tests write: Debian
/// builds it without the discovery by the API.
const CONFIGURATION: &str = "
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
  - job_name: engines
    file_sd_configs:
      - {files: ['$FOLDER/*.targets.json'], refresh_interval: 1s}
";

/// A Prometheus with an address of its own. It ends when this is dropped.
pub(crate) struct Prometheus {
    case: Case,
    address: SocketAddr,
    configuration: PathBuf,
    daemon: Option<Daemon>,
}

impl Prometheus {
    /// Starts one and waits until it answers.
    pub(crate) async fn start(case: &Case) -> Result<Self> {
        let text = CONFIGURATION.replace("$FOLDER", &case.folder.display().to_string());
        let configuration = case.folder.join("prometheus.yaml");
        std::fs::write(&configuration, text)
            .with_context(|| format!("writing {}", configuration.display()))?;
        let mut prometheus = Self {
            case: case.clone(),
            address: SocketAddr::new(case.cluster.address(), HTTP),
            configuration,
            daemon: None,
        };
        prometheus.start_again().await?;
        Ok(prometheus)
    }

    /// Starts it where it was, with what it knew.
    pub(crate) async fn start_again(&mut self) -> Result<()> {
        let data = self.case.folder.join("prometheus-data");
        let arguments = [
            format!("--config.file={}", self.configuration.display()),
            format!("--storage.tsdb.path={}", data.display()),
            format!("--web.listen-address={}", self.address),
        ];
        let program = programs::path("prometheus");
        let mut daemon = Daemon::start("prometheus", &program, arguments, &[], &self.case.folder)?;
        daemon.listens(self.address, PATIENCE).await?;
        self.daemon = Some(daemon);
        eventually("Prometheus to be ready", PATIENCE, async || {
            let (status, text) = fetch(self.address, "/-/ready").await?;
            Ok(Seen::when(status == 200, text))
        })
        .await
    }

    /// Ends it at once.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        match self.daemon.take() {
            Some(daemon) => daemon.kill().await,
            None => Ok(()),
        }
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The values of the series that an instant query yields.
    pub(crate) async fn query(&self, query: &str) -> Result<Vec<f64>> {
        let path = format!("/api/v1/query?query={}", escaped(query));
        let (status, text) = fetch(self.address, &path).await?;
        ensure!(status == 200, "{query} was answered with {status}: {text}");
        let answer: Value = serde_json::from_str(&text).context("the answer is not JSON")?;
        let Some(series) = answer.pointer("/data/result").and_then(Value::as_array) else {
            bail!("the answer has no result: {text}");
        };
        series
            .iter()
            .map(|series| {
                let value = series.pointer("/value/1").and_then(Value::as_str);
                let value = value.with_context(|| format!("a series without a value: {series}"))?;
                value.parse().with_context(|| format!("{value:?} is no number"))
            })
            .collect()
    }

    /// Waits until the one series of `query` has a value between these.
    pub(crate) async fn says(&self, query: &str, least: f64, greatest: f64) -> Result<()> {
        let what = format!("Prometheus to say {least} to {greatest} for {query}");
        eventually(&what, PATIENCE, async || {
            let values = self.query(query).await?;
            let says = matches!(values.as_slice(), [value] if (least..=greatest).contains(value));
            Ok(Seen::when(says, values))
        })
        .await
    }
}

/// Has the Prometheus of a test scrape these addresses, each under a namespace and a pod's name; they
/// take the place of those under the same `name`.
pub(crate) fn scrape(case: &Case, name: &str, targets: &[(SocketAddr, String, String)]) -> Result<()> {
    let groups = targets.iter().map(|(address, namespace, pod)| {
        json!({"targets": [address.to_string()], "labels": {"namespace": namespace, "pod": pod}})
    });
    let file = case.folder.join(format!("{name}.targets.json"));
    let part = file.with_extension("part");
    std::fs::write(&part, Value::from_iter(groups).to_string())
        .with_context(|| format!("writing {}", part.display()))?;
    // At once, so that no half of it is read.
    std::fs::rename(&part, &file).with_context(|| format!("writing {}", file.display()))
}

/// For a URL: whatever is no letter or digit by its number.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}
