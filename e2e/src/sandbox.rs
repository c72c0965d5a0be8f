//! A network, mount and process namespace of the run's own.
//!
//! All of 10.77.0.0/16 is local in there and nothing leads out, so that nodes, pods, agents and
//! scalers have addresses of their own on fixed ports and no other run is disturbed. When the
//! first process of a process namespace ends, the kernel ends all others in it: no program of the
//! control plane outlives the run, however it ends.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail};
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};

use crate::layout::Run;
use crate::wait::{Seen, eventually};

/// The range that is local in the namespace.
const RANGE: &str = "10.77.0.0/16";

/// Where kube-apiserver listens.
pub(crate) const API_SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The address that every KWOK node reports as its own.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);

/// Where KWOK takes the pods' addresses from.
pub(crate) const PODS: &str = "10.77.128.0/17";

/// How long a program may take to enter its network.
const READY: Duration = Duration::from_secs(30);

/// Replaces this process by itself inside the namespaces. Returns only when that fails.
pub(crate) fn enter(run: &Run, die_with_parent: bool) -> Error {
    let program = match std::env::current_exe().context("finding this program's own path") {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut line: Vec<&str> = Vec::new();
    if die_with_parent {
        line.extend(["setpriv", "--pdeathsig", "KILL"]);
    }
    line.extend([
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    if !is_root() {
        line.extend(["--user", "--map-root-user"]);
    }
    let error = Command::new(line[0])
        .args(&line[1..])
        .arg("--")
        .arg(program)
        .arg("--inside")
        .arg(run.folder())
        .args(std::env::args_os().skip(1))
        .exec();
    Error::new(error).context(format!("entering a namespace with `{}`", line.join(" ")))
}

/// Whether this process may make namespaces without a user namespace.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// Makes the range local and gives the run an `/etc/hosts` of its own.
pub(crate) async fn prepare(run: &Run) -> Result<()> {
    command(&["ip", "link", "set", "lo", "up"]).await?;
    command(&["ip", "route", "add", "local", RANGE, "dev", "lo"]).await?;
    let hosts = run.folder().join("hosts");
    std::fs::write(&hosts, HOSTS).with_context(|| format!("writing {}", hosts.display()))?;
    let source = hosts
        .to_str()
        .with_context(|| format!("{} is not valid UTF-8", hosts.display()))?;
    command(&["mount", "--bind", source, "/etc/hosts"]).await
}

/// What a program is started with, so that it has a network of its own and waits there until
/// [`connect_pod`] has connected it.
pub(crate) fn in_pod_network(address: IpAddr) -> Vec<String> {
    const WAIT: &str = "until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done; \
        ip link set lo up && ip address add \"$1/32\" dev eth0 && ip link set eth0 up && \
        ip route add default dev eth0 && shift && exec \"$@\"";
    let address = address.to_string();
    ["unshare", "--net", "--", "sh", "-c", WAIT, "sh", &address]
        .map(str::to_owned)
        .into()
}

/// Connects the network of a process with the run's own, which reaches it at `address`. The
/// connection ends with the process.
pub(crate) async fn connect_pod(process: u32, address: IpAddr) -> Result<()> {
    // The name of an interface is short, and one that ended may linger.
    static CONNECTED: AtomicU32 = AtomicU32::new(0);
    let network = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net"));
    eventually("it to have a network of its own", READY, async || {
        let own = network(&process.to_string()).context("looking at its network")?;
        Ok(Seen::when(network("self").is_ok_and(|ours| ours != own), own))
    })
    .await?;
    let link = format!("pod{}", CONNECTED.fetch_add(1, Ordering::Relaxed));
    let (process, address) = (process.to_string(), format!("{address}/32"));
    let source = API_SERVER.to_string();
    let peer = ["type", "veth", "peer", "name", "eth0", "netns", &process];
    command(&[&["ip", "link", "add", &link][..], &peer].concat()).await?;
    command(&["ip", "link", "set", &link, "up"]).await?;
    // The whole range is local: this goes before it, and comes from an address that is.
    let route = ["ip", "route", "replace", &address, "dev", &link];
    command(&[&route[..], &["src", &source, "table", "local"]].concat()).await
}

/// Runs a command to its end; its output is part of the error when it fails.
pub(crate) async fn command(line: &[&str]) -> Result<()> {
    let (program, arguments) = line.split_first().context("an empty command")?;
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .output()
        .await
        .with_context(|| format!("running `{}`", line.join(" ")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` ended with {}: {}",
            line.join(" "),
            output.status,
            said.trim()
        );
    }
    Ok(())
}

/// Waits for SIGINT or SIGTERM and returns its name. The first process of a process namespace
/// hears only the signals that it handles.
pub(crate) async fn interrupted() -> Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt()).context("handling SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("handling SIGTERM")?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    })
}

const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";

/// The names that the run's own `/etc/hosts` knows: a name with several addresses is to a gRPC
/// client what a headless Service is in a cluster.
#[derive(Debug)]
pub(crate) struct Hosts {
    file: PathBuf,
    entries: Mutex<Vec<(String, Vec<IpAddr>)>>,
}

impl Hosts {
    pub(crate) fn of(run: &Run) -> Self {
        Self {
            file: run.folder().join("hosts"),
            entries: Mutex::default(),
        }
    }

    /// Makes `name` mean exactly `addresses`.
    pub(crate) fn set(&self, name: &str, addresses: &[IpAddr]) -> Result<()> {
        let mut entries = self.entries.lock();
        entries.retain(|(known, _)| known != name);
        entries.push((name.to_owned(), addresses.to_vec()));
        let mut text = HOSTS.to_owned();
        for (name, addresses) in entries.iter() {
            for address in addresses {
                text.push_str(&format!("{address} {name}\n"));
            }
        }
        // In place: the file is bind-mounted, so a renamed one would not be seen.
        std::fs::write(&self.file, text).with_context(|| format!("writing {}", self.file.display()))
    }
}
