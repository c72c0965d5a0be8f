//! Runs the end-to-end proofs.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{prometheus, root};

/// `cargo xtask e2e`.
#[derive(Args)]
pub(crate) struct EndToEndArguments {
    /// Given to the program as they are, such as `--list` or parts of the names of tests.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

/// Builds Rheostat, fake-nvml and the proofs, and runs the proofs, which find the other two beside
/// their own program. They end with this process.
pub(crate) fn run(arguments: &EndToEndArguments) -> Result<()> {
    let mut command = Command::new(build()?);
    command.arg("--die-with-parent").args(&arguments.arguments);
    // What only asks for a text needs no programs.
    let only_text = ["--list", "--help", "-h"];
    if !arguments
        .arguments
        .iter()
        .any(|argument| only_text.iter().any(|text| argument == text))
    {
        command.env(prometheus::PROGRAM, prometheus::program()?);
    }
    let status = command
        .status()
        .context("the end-to-end proofs cannot be started")?;
    ensure!(status.success(), "the end-to-end proofs ended with {status}");
    Ok(())
}

/// Builds the three packages and asks cargo where the program is.
fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["build", "--locked", "--message-format", "json-render-diagnostics"])
        .args(["--package", "rheostat"])
        .args(["--package", "rheostat-fake-nvml"])
        .args(["--package", "rheostat-e2e"])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    ensure!(output.status.success(), "the end-to-end proofs do not build");
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .find(|program| program.ends_with("rheostat-e2e"))
        .context("cargo built no rheostat-e2e")
}
