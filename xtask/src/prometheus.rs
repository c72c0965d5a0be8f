//! Where a real Prometheus comes from, and the Prometheus source's test against it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::root;

/// The variable with the program's path. The end-to-end proofs, the benchmarks and the tests read it.
pub(crate) const PROGRAM: &str = "RHEOSTAT_PROMETHEUS";

/// Runs `crates/prometheus/tests/real.rs` with a Prometheus. Nothing is installed and no service is
/// started.
pub(crate) fn run() -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root())
        .args([
            "test",
            "--locked",
            "--package",
            "rheostat-prometheus",
            "--test",
            "real",
        ])
        .args(["--", "--nocapture"])
        .env(PROGRAM, program()?)
        .status()
        .context("cargo cannot be started")?;
    ensure!(
        status.success(),
        "the test against a real Prometheus failed (see above)"
    );
    Ok(())
}

/// The Prometheus that is named, else that of the `PATH`, else that of Debian's package, which is not
/// installed: no user, no service, nothing to remove.
pub(crate) fn program() -> Result<PathBuf> {
    if let Some(program) = env::var_os(PROGRAM) {
        return Ok(PathBuf::from(program));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut installed = env::split_paths(&path).map(|folder| folder.join("prometheus"));
    match installed.find(|program| program.is_file()) {
        Some(program) => Ok(program),
        None => fetch().context("fetching Prometheus"),
    }
}

/// Downloads and unpacks Debian's package into the target directory, once.
fn fetch() -> Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = target.join("prometheus");
    let program = folder.join("unpacked/usr/bin/prometheus");
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    if package(&folder)?.is_none() {
        let apt = |arguments: &[&str]| {
            let status = Command::new("apt-get")
                .current_dir(&folder)
                .args(arguments)
                .status();
            status.with_context(|| {
                format!("apt-get cannot be started; on other systems name a Prometheus in {PROGRAM}")
            })
        };
        let download = ["download", "--quiet", "prometheus"];
        // On a fresh machine the list of packages is not there yet.
        if !apt(&download)?.success() {
            ensure!(
                apt(&["update", "--quiet"])?.success(),
                "apt-get cannot fetch its list of packages"
            );
            ensure!(apt(&download)?.success(), "apt-get cannot download prometheus");
        }
    }
    let package = package(&folder)?.context("apt-get downloaded no package")?;
    // Unpacked beside its place and moved there, so that half a package is never taken for a whole one.
    let half = folder.join("half");
    if half.exists() {
        fs::remove_dir_all(&half).with_context(|| format!("cannot remove {}", half.display()))?;
    }
    let status = Command::new("dpkg")
        .arg("--extract")
        .args([&package, &half])
        .status()
        .context("dpkg cannot be started")?;
    ensure!(status.success(), "dpkg cannot unpack {}", package.display());
    fs::rename(&half, folder.join("unpacked")).context("cannot move the unpacked package to its place")?;
    ensure!(
        program.is_file(),
        "{} has no usr/bin/prometheus",
        package.display()
    );
    Ok(program)
}

/// The package in `folder`, where it is there.
fn package(folder: &Path) -> Result<Option<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot list {}", folder.display()))?
            .path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
