//! End-to-end proofs: a real kube-apiserver, HPA controller, scheduler and KEDA on this machine,
//! without containers, and named tests against them. `e2e/README.md` says how to use it.
//!
//! The program runs twice. Outside, with the network of the machine, it builds the Go programs of
//! the control plane; then it replaces itself by a second run of itself in namespaces of its own
//! ([`sandbox`]), where it starts the control plane and runs the tests.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

mod cluster;
mod control_plane;
mod fetch;
mod layout;
mod manifest;
mod process;
mod programs;
mod rheostat;
mod runner;
mod sandbox;
mod scripted;
mod serving;
mod tests;
mod wait;

/// End-to-end proofs against the real kube-apiserver, HPA and KEDA.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// Run only the tests whose name contains one of these.
    filters: Vec<String>,
    /// Print the names of the tests and do nothing.
    #[arg(long)]
    list: bool,
    /// How many tests run at the same time.
    #[arg(long, default_value_t = 8)]
    jobs: usize,
    /// Build the programs of the control plane, and stop there.
    #[arg(long)]
    build_only: bool,
    /// Also write the recordings of real KEDA and HPA decisions into this folder.
    #[arg(long, value_name = "FOLDER")]
    recordings: Option<PathBuf>,
    /// Keep the control plane up after the tests, until interrupted.
    #[arg(long)]
    keep: bool,
    /// End at once when the process that started this one ends.
    #[arg(long)]
    die_with_parent: bool,
    /// The folder of this run; given to the run inside the namespaces.
    #[arg(long, hide = true, value_name = "FOLDER")]
    inside: Option<PathBuf>,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("RHEOSTAT_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,kube_client=off")),
        )
        .with_writer(std::io::stderr)
        .init();
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    if arguments.list {
        for test in tests::all()? {
            println!("{}", test.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(folder) = arguments.inside.clone() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("starting the async runtime")?;
        let tests = tokio::task::LocalSet::new();
        return runtime.block_on(tests.run_until(inside(arguments, layout::Run::at(folder))));
    }
    programs::build()?;
    if arguments.build_only {
        return Ok(ExitCode::SUCCESS);
    }
    let run = layout::Run::create()?;
    Err(sandbox::enter(&run, arguments.die_with_parent))
}

/// The second run, inside the namespaces: the control plane and the tests.
async fn inside(arguments: Arguments, run: layout::Run) -> Result<ExitCode> {
    sandbox::prepare(&run).await?;
    tokio::select! {
        outcome = prove(&arguments, &run) => outcome,
        signal = sandbox::interrupted() => {
            eprintln!("e2e: stopped by {}", signal?);
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn prove(arguments: &Arguments, run: &layout::Run) -> Result<ExitCode> {
    println!("logs: {}", run.folder().display());
    let control_plane = control_plane::ControlPlane::start(run).await?;
    println!(
        "control plane ready in {:.1} s",
        control_plane.ready_in.as_secs_f64()
    );
    let cluster = cluster::Cluster::of(control_plane, arguments.recordings.clone());
    let passed = runner::run(&cluster, tests::all()?, &arguments.filters, arguments.jobs).await;
    if arguments.keep {
        println!("{}", cluster.control_plane.how_to_reach());
        futures::future::pending::<()>().await;
    }
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
