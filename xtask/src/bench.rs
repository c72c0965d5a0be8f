//! Builds the benchmarks as users get the programs, and runs one.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};

use crate::{prometheus, promtext, root};

/// `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct BenchArguments {
    name: Name,
    /// Options of the benchmark; `cargo xtask bench NAME -- --help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<OsString>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// RPCs per second, latency and memory of the scaler with 5,000 ScaledObjects and 1,000 agents.
    Scaler,
    /// CPU and memory of the agent on a node of 8 GPUs.
    Agent,
    /// Speed of the parser of metrics, beside Prometheus' own (needs Go) and other crates.
    Promtext,
    /// CPU and memory of scraping the engines of a node and of a fleet, beside a real Prometheus.
    Scrape,
    /// Requests a second that the simulator serves, beside stepping through every iteration; time and memory
    /// of a day of a million requests.
    Simulator,
}

/// Runs the benchmark; its figures go to `bench/NAME.json` in cargo's target directory.
pub(crate) fn run(arguments: &BenchArguments) -> Result<()> {
    let programs = build(&["rheostat-bench", "rheostat"])?;
    let program = |name: &str| {
        let found = programs
            .iter()
            .find(|program| program.file_stem().is_some_and(|stem| stem == name));
        found.with_context(|| format!("cargo built no {name}"))
    };
    let bench = program("rheostat-bench")?;
    let target = bench
        .parent()
        .and_then(Path::parent)
        .context("the program is in no directory")?;
    let (name, needs_rheostat) = match arguments.name {
        Name::Scaler => ("scaler", false),
        Name::Agent => ("agent", true),
        Name::Promtext => ("promtext", false),
        Name::Scrape => ("scrape", false),
        Name::Simulator => ("simulator", false),
    };
    let mut command = Command::new(bench);
    command
        .arg(name)
        .arg("--out")
        .arg(target.join("bench").join(name).with_extension("json"));
    if needs_rheostat {
        command.arg("--rheostat").arg(program("rheostat")?);
    }
    if matches!(arguments.name, Name::Promtext) {
        command
            .arg("--oracle")
            .arg(promtext::build_oracle(&target.join("bench"))?);
    }
    if matches!(arguments.name, Name::Scrape) {
        match prometheus::program() {
            Ok(program) => {
                command.env(prometheus::PROGRAM, program);
            }
            Err(error) => eprintln!("no Prometheus to compare with: {error:#}"),
        }
    }
    let status = command
        .args(&arguments.options)
        .status()
        .context("the benchmark cannot be started")?;
    ensure!(
        status.success(),
        "the benchmark did not run to its end (see above)"
    );
    Ok(())
}

/// Builds the programs of `packages` as users get them, and gives the paths of all of them.
pub(crate) fn build(packages: &[&str]) -> Result<Vec<PathBuf>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let named = packages.iter().flat_map(|package| ["--package", package]);
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["build", "--locked", "--release"])
        .args(named)
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    ensure!(output.status.success(), "{} do not build", packages.join(", "));
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    Ok(messages
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect())
}
