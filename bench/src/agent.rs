//! The agent on a node of 8 busy H100s, with a subscriber and a Prometheus.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use nvidia_ml::{Activity, Curve, Process, Readings, Scenario, Shape};
use rheostat_proto::agent::agent_client::AgentClient;
use rheostat_proto::agent::{Snapshot, WatchRequest};
use rheostat_testkit::kubelet::{FakeKubelet, FakePod};
use rheostat_transport::{ClientSecurity, ConnectOptions, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tonic::Streaming;

use crate::figures::Figures;
use crate::process;

/// `rheostat-bench agent`.
#[derive(Args)]
pub(crate) struct AgentArguments {
    /// The `rheostat` binary.
    #[arg(long, value_name = "FILE")]
    rheostat: PathBuf,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 90)]
    seconds: u64,
    /// GPUs of the node.
    #[arg(long, default_value_t = 8)]
    gpus: usize,
}

/// What was counted while the agent was watched.
#[derive(Default)]
struct Counted {
    snapshots: u64,
    scrapes: u64,
    most_resident: f64,
}

/// The agent's process; killed when this is dropped.
struct Agent(Child);

/// How often Prometheus comes.
const SCRAPE_PERIOD: Duration = Duration::from_secs(15);

/// How long the agent may take until it has read everything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time after which rates, windows and the allocator have settled.
const WARM_UP: Duration = Duration::from_secs(15);

/// Starts the agent on fake hardware and measures it.
pub(crate) fn run(options: &AgentArguments) -> Result<Figures> {
    ensure!(options.seconds > 0, "--seconds: at least 1");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: &AgentArguments) -> Result<Figures> {
    let host = tempfile::tempdir()?;
    let library = nvidia_ml::install(host.path(), &scenario(options.gpus))?;
    let kubelet = FakeKubelet::start(host.path().join("kubelet.sock"))?;
    kubelet.set_pods((0..options.gpus).map(|gpu| {
        FakePod::new("team-a", &format!("model-6d4cf56db6-{gpu:05}")).holding(
            "engine",
            "nvidia.com/gpu",
            [uuid(gpu)],
        )
    }));
    let (grpc, http) = (free_address()?, free_address()?);
    let log = host.path().join("log");
    let agent = Agent(
        Command::new(&options.rheostat)
            .args(["agent", "--node=gpu-node-0001", "--plaintext", "--http-plaintext"])
            .args([format!("--grpc-listen={grpc}"), format!("--http-listen={http}")])
            .arg("--kubelet-socket")
            .arg(kubelet.socket())
            .arg("--nvml-library")
            .arg(library)
            .stdin(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("{} cannot be started", options.rheostat.display()))?,
    );
    let watched = watch(&agent, options, grpc, http).await;
    watched.with_context(|| format!("the agent's log:\n{}", tail(&log)))
}

async fn watch(
    agent: &Agent,
    options: &AgentArguments,
    grpc: SocketAddr,
    http: SocketAddr,
) -> Result<Figures> {
    let id = agent.0.id();
    let mut stream = timeout(PATIENCE, subscribe(grpc, options.gpus))
        .await
        .context("the agent does not get to read all GPUs")??;
    follow(&mut stream, WARM_UP, id, http).await?;

    let threads_before = gpu_threads(id)?;
    let (began, before) = (Instant::now(), process::cpu_time(id)?);
    let counted = follow(&mut stream, Duration::from_secs(options.seconds), id, http).await?;
    let elapsed = began.elapsed().as_secs_f64();
    let fraction = |used: Duration| used.as_secs_f64() / elapsed;
    let used = fraction(process::cpu_time(id)?.saturating_sub(before));
    let lanes = fraction(gpu_threads(id)?.saturating_sub(threads_before));
    let memory = process::memory(id)?;
    let fake = process::resident_of_file(id, "/libnvidia-ml.so.1")?;
    let (load, processors) = process::load_and_processors()?;

    let mut figures = Figures::default();
    figures.add("rss_mib", memory.resident, "resident, at the end");
    figures.add("rss_most_mib", counted.most_resident, "the most in any second");
    figures.add("rss_peak_mib", memory.peak, "the most since the start");
    figures.add(
        "rss_anonymous_mib",
        memory.anonymous,
        "of it heap and stacks; the rest are pages of files",
    );
    figures.add("rss_fake_nvml_file_mib", fake, "of it the fake driver's library");
    figures.add("cpu_fraction", used, "of a core");
    figures.add(
        "cpu_gpu_threads_fraction",
        lanes,
        "of it reading the GPUs, the fake driver's own work included",
    );
    figures.add(
        "snapshots_per_second",
        counted.snapshots as f64 / elapsed,
        "that the subscriber got",
    );
    figures.add("scrapes", counted.scrapes as f64, "of /metrics");
    figures.add(
        "gpus",
        options.gpus as f64,
        "H100 with NVLink, GPM and a process each",
    );
    figures.add("seconds", elapsed, "measured");
    figures.add("processors", processors, "of this machine");
    figures.add("load_average", load, "above the processors, others disturbed");
    Ok(figures)
}

/// GPUs at work: everything that can be read changes.
fn scenario(gpus: usize) -> Scenario {
    let wave = |mean: f64, amplitude: f64, phase: f64| {
        Some(Curve::Shape(Shape::Sine {
            mean,
            amplitude,
            period_seconds: 60.0,
            phase,
        }))
    };
    let mut scenario = Scenario::of("NVIDIA H100 80GB HBM3", gpus);
    for (number, gpu) in scenario.gpus.iter_mut().enumerate() {
        let phase = number as f64 / gpus as f64;
        gpu.uuid = Some(uuid(number));
        gpu.readings = Readings {
            utilization_percent: wave(60.0, 30.0, phase),
            pcie_rx_bytes_per_second: wave(2e9, 1e9, phase),
            pcie_tx_bytes_per_second: wave(1e9, 5e8, phase),
            nvlink_rx_bytes_per_second: wave(5e10, 2e10, phase),
            nvlink_tx_bytes_per_second: wave(5e10, 2e10, phase),
            ..Readings::default()
        };
        gpu.activity = Activity {
            sm_percent: wave(50.0, 30.0, phase),
            ..Activity::default()
        };
        let pid = u32::try_from(number).unwrap_or_default() + 4000;
        let mut process = Process::new(pid, 60 << 30);
        process.sm_percent = Curve::Constant(60.0);
        gpu.processes = vec![process];
    }
    scenario
}

fn uuid(gpu: usize) -> String {
    format!("GPU-00000000-0000-4000-8000-{gpu:012}")
}

/// An address that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// Opens the stream as soon as the agent listens, and reads until every GPU is read and held.
async fn subscribe(address: SocketAddr, gpus: usize) -> Result<Streaming<Snapshot>> {
    let channel = connect(
        &address.to_string(),
        &ClientSecurity::Plaintext,
        ConnectOptions::default(),
    )?;
    let mut client = AgentClient::new(channel);
    let mut stream = loop {
        match client
            .watch(tokio_stream::once(WatchRequest {
                subscriber: "bench".into(),
                engines: None,
            }))
            .await
        {
            Ok(stream) => break stream.into_inner(),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    };
    while let Some(snapshot) = stream.message().await? {
        let read = snapshot
            .devices
            .iter()
            .filter(|device| device.fault.is_empty() && !device.readings.is_empty());
        let held = snapshot.claims.iter().filter(|claim| !claim.device.is_empty());
        if read.count() == gpus && held.count() == gpus {
            return Ok(stream);
        }
    }
    bail!("the agent ended the stream")
}

/// Reads the stream and the page for `span`.
async fn follow(
    stream: &mut Streaming<Snapshot>,
    span: Duration,
    id: u32,
    http: SocketAddr,
) -> Result<Counted> {
    let mut counted = Counted::default();
    let end = sleep(span);
    tokio::pin!(end);
    let mut scrapes = interval(SCRAPE_PERIOD);
    scrapes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut end => return Ok(counted),
            snapshot = stream.message() => {
                snapshot?.context("the agent ended the stream")?;
                counted.snapshots += 1;
                counted.most_resident = counted.most_resident.max(process::memory(id)?.resident);
            }
            _ = scrapes.tick() => {
                scrape(http).await?;
                counted.scrapes += 1;
            }
        }
    }
}

async fn scrape(address: SocketAddr) -> Result<()> {
    let mut connection = TcpStream::connect(address).await?;
    connection
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")
        .await?;
    let mut page = String::new();
    connection.read_to_string(&mut page).await?;
    ensure!(
        page.contains("rheostat_gpu_utilization_ratio{"),
        "/metrics shows no GPU:\n{page}"
    );
    Ok(())
}

/// CPU time of the threads that read the GPUs.
fn gpu_threads(id: u32) -> Result<Duration> {
    let threads = process::cpu_time_of_threads(id)?;
    Ok(threads
        .iter()
        .filter(|(name, _)| name.starts_with("gpu-"))
        .map(|(_, used)| *used)
        .sum())
}

/// The end of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
