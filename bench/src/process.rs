//! Child processes, and what they cost by the kernel's account (`proc(5)`).

use std::fs;
use std::io::{self, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio_util::sync::CancellationToken;

/// Ticks a second of the times in `/proc`: the same on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A part of the benchmark in a process of its own: this program again, with another command.
/// It is told to end, and waited for, when this is dropped.
#[derive(Debug)]
pub(crate) struct Helper {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// All that is resident.
    pub(crate) resident: f64,
    /// The most that ever was.
    pub(crate) peak: f64,
    /// Of what is resident, the process's own: heap and stacks.
    pub(crate) anonymous: f64,
}

impl Helper {
    /// Starts `command` of this program.
    pub(crate) fn start(command: &str, arguments: &[String]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(command)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command}"))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, input, output })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Hands it `lines`, closed by an empty one.
    pub(crate) fn tell(&mut self, lines: &[String]) -> Result<()> {
        let input = self.input.as_mut().context("no input")?;
        input.write_all(format!("{}\n\n", lines.join("\n")).as_bytes())?;
        Ok(input.flush()?)
    }

    /// The lines that it says, up to an empty one.
    pub(crate) fn hear(&mut self) -> Result<Vec<String>> {
        lines(&mut self.output).context("a part of the benchmark ended early")
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // The end of its input tells it to stop.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// On the helper's side: the lines that it is told, up to an empty one.
pub(crate) fn told() -> Result<Vec<String>> {
    lines(&mut io::stdin().lock())
}

/// On the helper's side: cancelled when the helper is to end.
pub(crate) fn ordered_to_end() -> CancellationToken {
    let token = CancellationToken::new();
    let end = token.clone();
    std::thread::spawn(move || {
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        end.cancel();
    });
    token
}

fn lines(input: &mut impl io::BufRead) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        ensure!(input.read_line(&mut line)? > 0, "the other side is gone");
        match line.trim_end() {
            "" => return Ok(lines),
            line => lines.push(line.to_owned()),
        }
    }
}

/// CPU time, of user and system, that process `id` has used since it began.
pub(crate) fn cpu_time(id: u32) -> Result<Duration> {
    used(&fs::read_to_string(format!("/proc/{id}/stat")).context("the process is gone")?)
}

/// The same of each of its threads that live, with their names.
pub(crate) fn cpu_time_of_threads(id: u32) -> Result<Vec<(String, Duration)>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{id}/task")).context("the process is gone")? {
        // A thread may end meanwhile.
        let Ok(stat) = fs::read_to_string(entry?.path().join("stat")) else {
            continue;
        };
        let name = stat
            .split_once('(')
            .and_then(|(_, rest)| rest.rsplit_once(')'))
            .map(|(name, _)| name);
        threads.push((name.unwrap_or_default().to_owned(), used(&stat)?));
    }
    Ok(threads)
}

/// `utime` and `stime` of a `stat` file; the name before them may hold anything.
fn used(stat: &str) -> Result<Duration> {
    let (_, after_name) = stat.rsplit_once(')').context("stat without a name")?;
    let ticks: f64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<f64>)
        .sum::<Result<_, _>>()
        .context("stat without times")?;
    Ok(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
}

/// Memory of process `id`.
pub(crate) fn memory(id: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).context("the process is gone")?;
    let mib = |key: &str| kib_of(&status, key).map(|kib| kib / 1024.0);
    Ok(Memory {
        resident: mib("VmRSS:")?,
        peak: mib("VmHWM:")?,
        anonymous: mib("RssAnon:")?,
    })
}

/// Resident MiB of the file called `name` and of its private pages in process `id`.
pub(crate) fn resident_of_file(id: u32, name: &str) -> Result<f64> {
    let maps = fs::read_to_string(format!("/proc/{id}/smaps")).context("the process is gone")?;
    let mut inside = false;
    let mut kib = 0.0;
    for line in maps.lines() {
        if line.starts_with("Rss:") && inside {
            kib += kib_of(line, "Rss:")?;
        } else if line
            .split_whitespace()
            .next()
            .is_some_and(|word| !word.ends_with(':'))
        {
            inside = line.ends_with(name);
        }
    }
    Ok(kib / 1024.0)
}

fn kib_of(text: &str, key: &str) -> Result<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .with_context(|| format!("no {key}"))
}

/// The machine's load average of the last minute, and its number of processors.
pub(crate) fn load_and_processors() -> Result<(f64, f64)> {
    let average = fs::read_to_string("/proc/loadavg")?;
    let load = average
        .split(' ')
        .next()
        .unwrap_or_default()
        .parse()
        .context("/proc/loadavg")?;
    let processors = u32::try_from(std::thread::available_parallelism()?.get())?;
    Ok((load, processors.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_times() {
        let stat = "7 (a ) 1 2 (b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 100 1 1";
        assert_eq!(used(stat).unwrap(), Duration::from_secs(3));
    }

    #[test]
    fn our_own_process_has_memory_time_and_threads() {
        let id = std::process::id();
        let found = memory(id).unwrap();
        assert!(found.anonymous > 0.0 && found.resident >= found.anonymous && found.peak >= found.resident);
        assert!(!cpu_time_of_threads(id).unwrap().is_empty());
        assert!(cpu_time(id).is_ok());
        let executable = std::env::current_exe().unwrap();
        let name = executable.file_name().unwrap().to_str().unwrap();
        assert!(resident_of_file(id, name).unwrap() > 0.0);
        assert!(cpu_time(u32::MAX).is_err());
    }

    #[test]
    fn lines_end_at_an_empty_one_and_not_at_the_end_of_the_input() {
        assert_eq!(lines(&mut "a\nb\n\nc\n".as_bytes()).unwrap(), ["a", "b"]);
        assert!(lines(&mut "a\n".as_bytes()).is_err());
    }
}
