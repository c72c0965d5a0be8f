//! Runs other people's NVML clients against fake-nvml.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::root;

/// Builds the fake library and runs `crates/fake-nvml/clients/check.py` with it. Needs Python 3 with
/// `venv`, and PyPI on the first run; with Go and a C compiler, go-nvml is run too.
pub(crate) fn run() -> Result<()> {
    let library = build()?;
    let target = library
        .parent()
        .and_then(|profile| profile.parent())
        .context("the library is in no directory")?;
    let status = Command::new("python3")
        .arg(root().join("crates/fake-nvml/clients/check.py"))
        .arg("--library")
        .arg(&library)
        .arg("--work")
        .arg(target.join("nvml-clients"))
        .status()
        .context("python3 cannot be started")?;
    ensure!(
        status.success(),
        "an NVML client and the scenario disagree (see above)"
    );
    Ok(())
}

/// Builds the shared library and asks cargo where it is.
fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args([
            "build",
            "--locked",
            "--package",
            "rheostat-fake-nvml",
            "--message-format",
            "json-render-diagnostics",
        ])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    ensure!(output.status.success(), "fake-nvml does not build");
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let files = messages.flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default());
    let mut files = files.filter_map(|file| file.as_str().map(PathBuf::from));
    files
        .find(|file| file.ends_with("libnvidia_ml.so"))
        .context("cargo built no libnvidia_ml.so")
}
