use std::path::{Path, PathBuf};

/// The soname of NVML on Linux.
pub(crate) const LIBRARY_NAME: &str = "libnvidia-ml.so.1";

/// Where NVML lies when the dynamic loader does not find it by name.
const DIRECTORIES: [&str; 9] = [
    // Where NVIDIA's container toolkit mounts the driver into Debian-like images; missed by the
    // loader when the image has no `ldconfig` to refresh its cache (distroless).
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    // The same for RHEL-like images.
    "/usr/lib64",
    // GKE's device plugin and the older nvidia-docker volume mount the driver here.
    "/usr/local/nvidia/lib64",
    // GKE's Container-Optimized OS keeps the driver here on the host: for a hostPath mount at the
    // same path.
    "/home/kubernetes/bin/nvidia/lib64",
    // The GPU operator's driver container shows its root here on the host.
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu",
    "/run/nvidia/driver/usr/lib/aarch64-linux-gnu",
    "/run/nvidia/driver/usr/lib64",
    // The Windows driver's library under WSL 2.
    "/usr/lib/wsl/lib",
];

/// The files to try, in order. A path that the user names is the only one; a directory is one that
/// holds the library. Otherwise the bare name first: the loader then looks in `LD_LIBRARY_PATH`, its
/// cache and the system's directories.
pub(super) fn candidates(named: Option<&Path>) -> Vec<PathBuf> {
    match named {
        Some(path) if path.is_dir() => vec![path.join(LIBRARY_NAME)],
        Some(path) => vec![path.to_owned()],
        None => std::iter::once(PathBuf::from(LIBRARY_NAME))
            .chain(
                DIRECTORIES
                    .iter()
                    .map(|directory| Path::new(directory).join(LIBRARY_NAME)),
            )
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_path_is_the_only_one() {
        assert_eq!(
            candidates(Some(Path::new("/none/such.so"))),
            [PathBuf::from("/none/such.so")]
        );
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(
            candidates(Some(directory.path())),
            [directory.path().join(LIBRARY_NAME)]
        );
    }

    #[test]
    fn the_loader_is_asked_first() {
        let all = candidates(None);
        assert_eq!(all[0], Path::new("libnvidia-ml.so.1"));
        assert!(
            all[1..]
                .iter()
                .all(|path| path.is_absolute() && path.ends_with(LIBRARY_NAME))
        );
    }
}
