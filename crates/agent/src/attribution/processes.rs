use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::PodRef;

/// Tells which pod a process belongs to, without the Kubernetes API.
///
/// The process's control group (`<proc>/<pid>/cgroup`) names its pod's UID, and the kubelet's log
/// directory (`/var/log/pods/<namespace>_<name>_<uid>`) names the pod of each UID. So both the
/// host's `/proc` (`hostPID: true`, or a mount of it) and the log directory, mounted read-only,
/// are needed; without either, every process's owner is unknown, and a shared device is not split.
#[derive(Clone, Debug)]
pub struct ProcessOwners {
    /// Where the host's processes are seen.
    proc_dir: PathBuf,
    /// The kubelet's `/var/log/pods`.
    pod_logs_dir: Option<PathBuf>,
    /// Pods by UID, from the log directory. A UID never changes its pod.
    pods: BTreeMap<String, PodRef>,
}

/// Whose process it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A pod's.
    Pod(PodRef),
    /// The host's own: it is in no pod's control group.
    Host,
    /// Not to be told, and why.
    Unknown(String),
}

/// A control group file is a line of a few hundred bytes for each hierarchy.
const LARGEST_CGROUP_FILE: u64 = 64 << 10;

/// More log directories than a node has pods by far: the kubelet's default limit is 110 pods.
const MOST_LOG_DIRECTORIES: usize = 10_000;

impl ProcessOwners {
    /// With the host's processes at `proc_dir` and the kubelet's pod logs at `pod_logs_dir`.
    #[must_use]
    pub fn new(proc_dir: PathBuf, pod_logs_dir: Option<PathBuf>) -> Self {
        Self {
            proc_dir,
            pod_logs_dir,
            pods: BTreeMap::new(),
        }
    }

    /// The owner of each process. Reads small files only: no more than one for each process, and
    /// the log directory where a UID is new.
    pub fn of(&mut self, pids: impl IntoIterator<Item = u32>) -> BTreeMap<u32, Owner> {
        let mut pids = pids.into_iter().peekable();
        if pids.peek().is_none() {
            return BTreeMap::new();
        }
        if let Err(reason) = self.check() {
            return pids.map(|pid| (pid, Owner::Unknown(reason.clone()))).collect();
        }
        let mut listed_again = false;
        pids.map(|pid| (pid, self.owner(pid, &mut listed_again)))
            .collect()
    }

    fn check(&self) -> Result<(), String> {
        if self.pod_logs_dir.is_none() {
            return Err("no directory of pod logs is given".into());
        }
        // NVML gives the host's process ids. They mean nothing, or another process, in a process
        // namespace of our own. Only the host's has the kernel's threads, whose parent is 2.
        let kernel_threads = self.proc_dir.join("2/comm");
        match read(&kernel_threads) {
            Ok(name) if name.trim_end() == "kthreadd" => Ok(()),
            _ => Err(format!(
                "{} does not show the host's processes",
                self.proc_dir.display()
            )),
        }
    }

    fn owner(&mut self, pid: u32, listed_again: &mut bool) -> Owner {
        let file = self.proc_dir.join(pid.to_string()).join("cgroup");
        let cgroup = match read(&file) {
            Ok(cgroup) => cgroup,
            Err(error) => return Owner::Unknown(format!("{}: {error}", file.display())),
        };
        let Some(uid) = rheostat_gpu::pod_uid_of_cgroup(&cgroup).map(|pod| pod.pod_uid) else {
            return Owner::Host;
        };
        if !self.pods.contains_key(&uid) && !*listed_again {
            *listed_again = true;
            self.list_pods();
        }
        match self.pods.get(&uid) {
            Some(pod) => Owner::Pod(pod.clone()),
            None => Owner::Unknown(format!("no log directory of pod UID {uid}")),
        }
    }

    /// Reads the log directory anew. What cannot be read leaves the UIDs unknown, and says so
    /// through [`Owner::Unknown`].
    fn list_pods(&mut self) {
        self.pods.clear();
        let Some(entries) = self
            .pod_logs_dir
            .as_deref()
            .and_then(|dir| std::fs::read_dir(dir).ok())
        else {
            return;
        };
        for entry in entries.flatten().take(MOST_LOG_DIRECTORIES) {
            if let Some((uid, pod)) = entry.file_name().to_str().and_then(pod_of_log_directory) {
                self.pods.insert(uid, pod);
            }
        }
    }
}

/// `<namespace>_<name>_<uid>`, none of which may hold an underscore (kubelet,
/// `BuildPodLogsDirectory`).
fn pod_of_log_directory(directory: &str) -> Option<(String, PodRef)> {
    let mut parts = directory.split('_');
    let (namespace, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
    (parts.next().is_none() && !uid.is_empty()).then(|| (uid.to_owned(), PodRef::new(namespace, name)))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(LARGEST_CGROUP_FILE)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b2c9a4e-7f0d-4a53-9d65-3c1f8f0a7e11";

    struct Host(tempfile::TempDir);

    impl Host {
        fn new() -> Self {
            let host = Self(tempfile::tempdir().unwrap());
            host.file("proc/2/comm", "kthreadd\n");
            std::fs::create_dir_all(host.path("logs")).unwrap();
            host
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn file(&self, path: &str, text: &str) {
            let path = self.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn owners(&self) -> ProcessOwners {
            ProcessOwners::new(self.path("proc"), Some(self.path("logs")))
        }
    }

    fn systemd_cgroup(uid: &str) -> String {
        let uid = uid.replace('-', "_");
        format!(
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-ab12.scope\n"
        )
    }

    #[test]
    fn a_process_is_traced_to_its_pod() {
        let host = Host::new();
        host.file("proc/4711/cgroup", &systemd_cgroup(UID));
        host.file("proc/4712/cgroup", "0::/system.slice/dcgm.service\n");
        let mut owners = host.owners();
        let unknown = owners.of([4711]);
        assert_eq!(
            unknown[&4711],
            Owner::Unknown(format!("no log directory of pod UID {UID}"))
        );
        // The directory appears later: it is looked for again.
        std::fs::create_dir(host.path(&format!("logs/team-a_llm-0_{UID}"))).unwrap();
        let found = owners.of([4711, 4712, 4713]);
        assert_eq!(found[&4711], Owner::Pod(PodRef::new("team-a", "llm-0")));
        assert_eq!(found[&4712], Owner::Host);
        assert!(matches!(&found[&4713], Owner::Unknown(reason) if reason.contains("4713/cgroup")));
    }

    #[test]
    fn process_ids_of_another_namespace_are_not_believed() {
        let host = Host::new();
        host.file("proc/4711/cgroup", &systemd_cgroup(UID));
        host.file("proc/2/comm", "bash\n");
        let found = host.owners().of([4711]);
        assert!(matches!(&found[&4711], Owner::Unknown(reason) if reason.ends_with("the host's processes")));
        let without_logs = ProcessOwners::new(host.path("proc"), None).of([4711]);
        assert_eq!(
            without_logs[&4711],
            Owner::Unknown("no directory of pod logs is given".into())
        );
    }

    #[test]
    fn only_whole_names_are_pods() {
        assert_eq!(
            pod_of_log_directory("a_b_c"),
            Some(("c".into(), PodRef::new("a", "b")))
        );
        for bad in ["", "a", "a_b", "a_b_", "a_b_c_d"] {
            assert_eq!(pod_of_log_directory(bad), None, "{bad}");
        }
    }
}
