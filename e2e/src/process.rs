//! A long-running program of the run, with its log.

use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::sandbox;
use crate::wait::{Seen, eventually};

/// A running program. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts `program`; what it prints goes to `NAME.log` in the folder `logs`.
    pub(crate) fn start<I, A>(
        name: &str,
        program: &Path,
        arguments: I,
        environment: &[(&str, &str)],
        logs: &Path,
    ) -> Result<Self>
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        let log = logs.join(format!("{name}.log"));
        // Appended to, so that a second start of the same program keeps what the first one said.
        let output = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {}", log.display()))?;
        let errors = output
            .try_clone()
            .with_context(|| format!("sharing {}", log.display()))?;
        let child = Command::new(program)
            .args(arguments)
            .env_remove("KUBECONFIG")
            .env("HOME", logs)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name} ({})", program.display()))?;
        Ok(Self {
            name: name.to_owned(),
            log,
            child,
        })
    }

    /// Starts `program` in a network of its own, as a pod has one: it is reached at `address`, and
    /// what it connects to sees it come from there.
    pub(crate) async fn start_as_pod(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = String>,
        address: IpAddr,
        logs: &Path,
    ) -> Result<Self> {
        let mut line = sandbox::in_pod_network(address);
        let (unshare, before) = line.split_first_mut().context("an empty command")?;
        let program = program.to_str().context("a path that is not valid UTF-8")?;
        let arguments = before
            .iter()
            .cloned()
            .chain([program.to_owned()])
            .chain(arguments);
        let daemon = Self::start(name, Path::new(unshare), arguments, &[], logs)?;
        let process = daemon
            .child
            .id()
            .with_context(|| format!("{name} has ended\n{}", daemon.last_words()))?;
        sandbox::connect_pod(process, address)
            .await
            .with_context(|| format!("giving {name} the address {address}"))?;
        Ok(daemon)
    }

    /// Waits until the program accepts connections at `address`; fails at once when it ends.
    pub(crate) async fn listens(&mut self, address: SocketAddr, deadline: Duration) -> Result<()> {
        let what = format!("{} to listen at {address}", self.name);
        let listening = eventually(&what, deadline, async || {
            TcpStream::connect(address)
                .await
                .with_context(|| format!("connecting to {address}"))?;
            Ok(Seen::Yes(()))
        });
        let ended = tokio::select! {
            outcome = listening => return outcome.with_context(|| self.last_words()),
            ended = self.child.wait() => ended,
        };
        let status = ended.with_context(|| format!("waiting for {}", self.name))?;
        bail!("{} ended with {status}\n{}", self.name, self.last_words())
    }

    /// Fails when the program has ended.
    pub(crate) fn still_runs(&mut self) -> Result<()> {
        match self
            .child
            .try_wait()
            .with_context(|| format!("looking at {}", self.name))?
        {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}\n{}", self.name, self.last_words()),
        }
    }

    /// Asks the program to end (SIGTERM), as the kubelet does, and waits until it has; it must say
    /// that it ended well.
    pub(crate) async fn stop(mut self, deadline: Duration) -> Result<()> {
        let process = self
            .child
            .id()
            .with_context(|| format!("{} has ended before it was asked to", self.name))?;
        sandbox::command(&["kill", "-TERM", &process.to_string()]).await?;
        let ended = tokio::time::timeout(deadline, self.child.wait())
            .await
            .with_context(|| format!("{} did not end within {} s", self.name, deadline.as_secs()))?;
        let status = ended.with_context(|| format!("waiting for {}", self.name))?;
        if !status.success() {
            bail!("{} ended with {status}\n{}", self.name, self.last_words());
        }
        Ok(())
    }

    /// Ends the program at once (SIGKILL), as the death of its node does.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.child
            .kill()
            .await
            .with_context(|| format!("killing {}", self.name))
    }

    /// The end of the log.
    pub(crate) fn last_words(&self) -> String {
        tail(&self.log, 20)
    }
}

/// Longer lines of a log are cut off here.
const WIDTH: usize = 400;

/// The last lines of a file, headed by its name; empty when it has none.
pub(crate) fn tail(file: &Path, lines: usize) -> String {
    tail_about(file, "", lines)
}

/// The last of those lines of a file that contain `word`.
pub(crate) fn tail_about(file: &Path, word: &str, lines: usize) -> String {
    let content = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    let chosen: Vec<&str> = text.lines().filter(|line| line.contains(word)).collect();
    if chosen.is_empty() {
        return String::new();
    }
    let mut end = format!("--- the end of {}:\n", file.display());
    for line in &chosen[chosen.len().saturating_sub(lines)..] {
        end.extend(line.chars().take(WIDTH));
        end.push('\n');
    }
    end
}
