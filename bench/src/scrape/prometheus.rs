//! A real Prometheus that scrapes the same engines.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// A Prometheus that scrapes; killed, and its data removed, when this is dropped.
pub(super) struct Prometheus {
    child: Child,
    _files: TempDir,
}

/// The families of vLLM that Rheostat reads.
const FAMILIES: &str = "vllm:(num_requests_.*|kv_cache_usage_perc|cache_config_info|lora_requests_info|\
                        request_success_total|prompt_tokens_total|generation_tokens_total|\
                        num_preemptions_total|prefix_cache_.*_total|time_to_first_token_seconds_.*|\
                        inter_token_latency_seconds_.*|e2e_request_latency_seconds_.*|\
                        request_queue_time_seconds_.*)";

impl Prometheus {
    /// Starts `program` on the engines; with `few`, it stores only what we read.
    pub(super) fn start(program: &Path, engines: &[String], few: bool) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let config = files.path().join("prometheus.yml");
        let relabel = if few {
            format!(
                "\n    metric_relabel_configs:\n      - source_labels: [__name__]\n        \
                 regex: '{FAMILIES}'\n        action: keep"
            )
        } else {
            String::new()
        };
        fs::write(
            &config,
            format!(
                "global:\n  scrape_interval: 2s\n  scrape_timeout: 2s\nscrape_configs:\n  - job_name: engines\
                 {relabel}\n    static_configs:\n      - targets: {engines:?}\n"
            ),
        )?;
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                files.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(files.path().join("log"))?)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        Ok(Self { child, _files: files })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
