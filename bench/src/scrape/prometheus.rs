//! A real Prometheus that scrapes the same engines.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
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

/// The program: as given, or of the PATH, or out of Debian's package, which is kept beside ours.
pub(super) fn find(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(program) = given {
        return Ok(program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut known = std::env::split_paths(&path).map(|directory| directory.join("prometheus"));
    if let Some(program) = known.find(|program| program.is_file()) {
        return Ok(program);
    }
    let own = std::env::current_exe()?;
    let directory = own.with_file_name("prometheus-package");
    let program = directory.join("usr/bin/prometheus");
    if !program.is_file() {
        fs::create_dir_all(&directory)?;
        run(Command::new("apt-get")
            .args(["download", "prometheus"])
            .current_dir(&directory))?;
        let package = fs::read_dir(&directory)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|file| file.extension().is_some_and(|extension| extension == "deb"))
            .context("apt-get downloaded no package")?;
        run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&directory))?;
    }
    Ok(program)
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("{name} cannot be started"))?;
    ensure!(status.success(), "{name}: {status}");
    Ok(())
}

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
