//! The programs of the control plane, built from the Go modules under `e2e/go`, and a Prometheus.
//!
//! The modules' versions are pinned by `go.mod` and `go.sum`. Go's own build cache makes a second
//! build a matter of seconds, so they are built every time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::layout;

/// One Go module, and the programs that come from it as (name, package).
struct Module {
    folder: &'static str,
    programs: &'static [(&'static str, &'static str)],
}

const MODULES: [Module; 3] = [
    Module {
        folder: "kube",
        programs: &[
            ("etcd", "go.etcd.io/etcd/server/v3"),
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            (
                "kube-controller-manager",
                "k8s.io/kubernetes/cmd/kube-controller-manager",
            ),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ],
    },
    Module {
        folder: "keda",
        programs: &[
            ("keda-operator", "github.com/kedacore/keda/v2/cmd/operator"),
            ("keda-adapter", "github.com/kedacore/keda/v2/cmd/adapter"),
        ],
    },
    Module {
        folder: "kwok",
        programs: &[("kwok", "sigs.k8s.io/kwok/cmd/kwok")],
    },
];

const KEDA: &str = "github.com/kedacore/keda/v2";
const KUEUE: &str = "sigs.k8s.io/kueue";
const KUBERNETES: &str = "k8s.io/kubernetes";

/// The path of the built program `name`.
pub(crate) fn path(name: &str) -> PathBuf {
    layout::programs().join(name)
}

/// Builds every program and copies the manifests of KEDA's and Kueue's custom resources beside them.
pub(crate) fn build() -> Result<()> {
    let start = tokio::time::Instant::now();
    let target = layout::programs();
    std::fs::create_dir_all(&target).with_context(|| format!("creating {}", target.display()))?;
    let (kubernetes, _) = versions()?;
    // Kubernetes learns its version from the linker.
    let linker = format!("-ldflags=-X k8s.io/component-base/version.gitVersion={kubernetes}");
    for module in &MODULES {
        for (name, package) in module.programs {
            let output = target.join(name);
            if !output.exists() {
                println!("building {name} (minutes, the first time)");
            }
            go(
                module.folder,
                &[
                    "build",
                    "-trimpath",
                    "-buildvcs=false",
                    &linker,
                    "-o",
                    text(&output)?,
                    package,
                ],
            )
            .with_context(|| format!("building {name}"))?;
        }
    }
    copy_custom_resources(
        &module_folder("keda", KEDA)?.join("config/crd/bases"),
        &layout::custom_resources(),
    )?;
    let kueue = module_folder("kueue", KUEUE)?.join("config/components/crd/bases");
    copy_custom_resources(&kueue, &layout::kueue_resources())?;
    point_to_prometheus()?;
    println!("programs built in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// The versions of Kubernetes and KEDA, as the Go modules pin them.
pub(crate) fn versions() -> Result<(String, String)> {
    let kubernetes = required(include_str!("../go/kube/go.mod"), KUBERNETES)?;
    let keda = required(include_str!("../go/keda/go.mod"), KEDA)?;
    Ok((kubernetes, keda))
}

/// The version at which a `go.mod` requires `module`.
fn required(go_mod: &str, module: &str) -> Result<String> {
    go_mod
        .lines()
        .map(|line| {
            line.trim()
                .trim_start_matches("require ")
                .split_whitespace()
                .collect::<Vec<_>>()
        })
        .find_map(|words| match words.as_slice() {
            [name, version, ..] if *name == module && version.starts_with('v') => Some((*version).to_owned()),
            _ => None,
        })
        .with_context(|| format!("no version of {module} in its go.mod"))
}

/// Where a module is that one of ours requires; it is fetched where it is not there yet.
fn module_folder(ours: &str, module: &str) -> Result<PathBuf> {
    go(ours, &["mod", "download", module])?;
    Ok(PathBuf::from(go(
        ours,
        &["list", "-m", "-f", "{{.Dir}}", module],
    )?))
}

fn copy_custom_resources(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry.with_context(|| format!("reading {}", from.display()))?;
        let content =
            std::fs::read(entry.path()).with_context(|| format!("reading {}", entry.path().display()))?;
        let copy = to.join(entry.file_name());
        std::fs::write(&copy, content).with_context(|| format!("writing {}", copy.display()))?;
    }
    Ok(())
}

/// The variable with the path of a Prometheus, which `cargo xtask e2e` finds or fetches.
const PROMETHEUS: &str = "RHEOSTAT_PROMETHEUS";

/// Points to the Prometheus that is named from beside the other programs; without a name, one that
/// was named earlier stays.
fn point_to_prometheus() -> Result<()> {
    let link = path("prometheus");
    match std::env::var_os(PROMETHEUS) {
        Some(program) => {
            let program = std::fs::canonicalize(&program)
                .with_context(|| format!("{PROMETHEUS}={}", program.to_string_lossy()))?;
            let part = link.with_extension("part");
            match std::fs::remove_file(&part) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing {}", part.display()));
                }
                _ => {}
            }
            std::os::unix::fs::symlink(&program, &part)
                .and_then(|()| std::fs::rename(&part, &link))
                .with_context(|| format!("pointing {} to {}", link.display(), program.display()))
        }
        None if link.exists() => Ok(()),
        None => bail!("no Prometheus: name one in {PROMETHEUS}, or run `cargo xtask e2e`, which finds one"),
    }
}

/// Runs `go` in one of the modules and returns what it prints.
fn go(folder: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new("go")
        .args(arguments)
        .current_dir(layout::source().join("go").join(folder))
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("running go (is Go installed?)")?;
    if !output.status.success() {
        bail!(
            "`go {}` in e2e/go/{folder} ended with {}",
            arguments.join(" "),
            output.status
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not valid UTF-8", path.display()))
}
