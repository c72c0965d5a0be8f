//! Where things are: the checkout, the built programs, and the folder of one run.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The folder `e2e` of the checkout.
pub(crate) fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the end-to-end runs make, but for the programs. Ignored by git.
pub(crate) fn output() -> PathBuf {
    source()
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf)
        .join("target")
        .join("e2e")
}

/// Where the built programs of the control plane are: in the folder in which cargo built this program.
/// One that outlives the checkout, as CI's does, spares the next run their linking.
pub(crate) fn programs() -> PathBuf {
    let own = std::env::current_exe().ok();
    let target = own.as_deref().and_then(Path::parent).and_then(Path::parent);
    target
        .map_or_else(output, |target| target.join("e2e"))
        .join("bin")
}

/// Where the manifests of KEDA's custom resources are.
pub(crate) fn custom_resources() -> PathBuf {
    output().join("crds")
}

/// Where the manifests of Kueue's custom resources are. Only the tests that want Kueue apply them.
pub(crate) fn kueue_resources() -> PathBuf {
    output().join("kueue")
}

/// The folder of one run: logs, keys, the data of etcd.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    folder: PathBuf,
}

impl Run {
    /// A new, empty folder, named after the present moment; `latest` beside it points to it.
    pub(crate) fn create() -> Result<Self> {
        let logs = output().join("logs");
        let name = format!(
            "{}-{}",
            jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ"),
            std::process::id()
        );
        let folder = logs.join(&name);
        std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let latest = logs.join("latest");
        match std::fs::remove_file(&latest) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", latest.display()));
            }
            _ => {}
        }
        std::os::unix::fs::symlink(&name, &latest)
            .with_context(|| format!("pointing {} to {name}", latest.display()))?;
        Ok(Self { folder })
    }

    pub(crate) const fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder within this run's, created where it is missing.
    pub(crate) fn subfolder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(folder)
    }
}
