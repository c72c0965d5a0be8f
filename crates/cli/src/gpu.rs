mod environment;
mod render;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use rheostat_gpu::{Device, DeviceKind, DriverState, GpuSnapshot, KubeletDeviceId, Sampler, SamplerOptions};
use rheostat_reading::{Absent, Clock, Quantity};
use tokio_util::sync::CancellationToken;

use crate::stop;
use environment::{Environment, EnvironmentChoice};
use render::Report;

/// `rheostat gpu`.
#[derive(Args)]
pub(crate) struct GpuArguments {
    /// How the readings are written.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Seconds between two readings; without it there is one. JSON is then a line for each.
    #[arg(long, value_name = "SECONDS", value_parser = parse_interval)]
    interval: Option<Duration>,
    /// Only this device, by index (0, or 0:1 for a partition) or UUID; may be repeated. Without it a
    /// task of a Slurm or Flux job sees its own devices, everything else sees all.
    #[arg(long, value_name = "DEVICE", value_delimiter = ',')]
    device: Vec<String>,
    /// Nothing but the readings: no line about the environment, no reasons below the table.
    #[arg(long)]
    quiet: bool,
    /// What started this process.
    #[arg(long = "env", value_name = "ENVIRONMENT", default_value = "auto")]
    environment: EnvironmentChoice,
    /// NVML's library, where it is not found by itself.
    #[arg(long, env = "RHEOSTAT_NVML_LIBRARY", value_name = "FILE")]
    nvml_library: Option<PathBuf>,
}

/// How readings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a person.
    Table,
    /// One document, or one a line with --interval.
    Json,
    /// A header, then a line for each device.
    Csv,
}

/// How long the first readings may take: rates need two samples, PCIe throughput is read each few
/// seconds only.
const FIRST_READINGS: Duration = Duration::from_secs(4);

/// How often it is looked whether they are there.
const LOOK: Duration = Duration::from_millis(50);

/// Time between two samples while waiting for the first readings.
const SAMPLE: Duration = Duration::from_millis(500);

/// Shows the devices once, or each interval until it is told to stop.
pub(crate) fn run(arguments: &GpuArguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stop = stop::on_signal()?;
        let variable = |name: &str| std::env::var(name).ok();
        let environment = Environment::detect(arguments.environment, variable);
        show(arguments, &environment, &stop, &mut io::stdout().lock()).await
    })
}

async fn show(
    arguments: &GpuArguments,
    environment: &Environment,
    stop: &CancellationToken,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let clock = Clock::system();
    let period = arguments.interval.unwrap_or(SAMPLE).clamp(LOOK, SAMPLE);
    let options = SamplerOptions {
        library: arguments.nvml_library.clone(),
        fast_period: period,
        slow_period: period,
        ..SamplerOptions::default()
    };
    let sampler = Sampler::start(options, clock.clone())?;
    first_readings(&sampler, stop).await;
    let mut is_first = true;
    loop {
        let snapshot = sampler.latest();
        let devices = choose(&arguments.device, environment, &snapshot, arguments.quiet)?;
        let report = Report {
            environment,
            snapshot: &snapshot,
            devices,
            now: clock.now(),
        };
        let text = match arguments.format {
            Format::Table if is_first => report.table(arguments.quiet),
            Format::Table => format!("\n{}", report.table(arguments.quiet)),
            Format::Json if arguments.interval.is_none() => format!("{:#}\n", report.json()),
            Format::Json => format!("{}\n", report.json()),
            Format::Csv if is_first => Report::csv_header() + &report.csv_lines(),
            Format::Csv => report.csv_lines(),
        };
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Whoever read has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other.context("cannot write the readings")?,
        }
        is_first = false;
        let Some(interval) = arguments.interval else {
            return match &snapshot.driver {
                DriverState::Ready { .. } => Ok(()),
                DriverState::Unavailable { reason } => Err(anyhow::anyhow!("no GPU can be read: {reason}")),
            };
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// Waits until every reading is there or absent for good, or there is no driver, but not for long.
async fn first_readings(sampler: &Sampler, stop: &CancellationToken) {
    let complete = async {
        let before = sampler.latest().taken_at;
        loop {
            let snapshot = sampler.latest();
            let readings = snapshot.devices.iter().flat_map(|device| {
                // A duty cycle takes its window's time.
                let due = Quantity::ALL
                    .iter()
                    .filter(|quantity| **quantity != Quantity::DutyCycle);
                due.map(|quantity| device.readings.get(*quantity))
            });
            if snapshot.taken_at != before
                && readings
                    .into_iter()
                    .all(|reading| reading != Err(&Absent::NotYet))
            {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        _ = tokio::time::timeout(FIRST_READINGS, complete) => {}
    }
}

/// The devices to show: those that the user names, else those that the job was given, else all.
fn choose<'a>(
    named: &[String],
    environment: &Environment,
    snapshot: &'a GpuSnapshot,
    quiet: bool,
) -> anyhow::Result<Vec<&'a Device>> {
    if !named.is_empty() {
        let mut chosen = Vec::new();
        for name in named {
            let found = find(name, snapshot).with_context(|| {
                format!("--device {name}: use an index (0), a partition's index (0:1) or a UUID of this machine's devices")
            })?;
            chosen.extend(found);
        }
        return Ok(distinct(chosen));
    }
    let given = environment
        .visible_devices
        .as_ref()
        .filter(|_| environment.orchestrator.shows_own_devices_only());
    let Some(given) = given else {
        return Ok(snapshot.devices.iter().collect());
    };
    let mut chosen = Vec::new();
    for name in given {
        match find(name, snapshot) {
            Ok(found) => chosen.extend(found),
            Err(error) if !quiet => {
                let variable = environment.visible_devices_from.unwrap_or_default();
                eprintln!("{variable} names {name}, which is not shown: {error:#}");
            }
            Err(_) => {}
        }
    }
    Ok(distinct(chosen))
}

/// The device that `name` means, followed by its partitions. Like CUDA, it takes the beginning of a
/// UUID where only one device has it.
fn find<'a>(name: &str, snapshot: &'a GpuSnapshot) -> anyhow::Result<Vec<&'a Device>> {
    let id: KubeletDeviceId = name.parse()?;
    let device = match rheostat_gpu::resolve(&id, snapshot) {
        Ok(device) => device,
        Err(error) => {
            let mut begins = snapshot
                .devices
                .iter()
                .filter(|device| device.id.as_str().starts_with(name));
            match (begins.next(), begins.next()) {
                (Some(device), None) => device,
                _ => return Err(error.into()),
            }
        }
    };
    let of_device =
        |other: &&Device| matches!(&other.kind, DeviceKind::Partition { parent, .. } if *parent == device.id);
    Ok(std::iter::once(device)
        .chain(snapshot.devices.iter().filter(of_device))
        .collect())
}

fn distinct(devices: Vec<&Device>) -> Vec<&Device> {
    let mut seen = std::collections::BTreeSet::new();
    devices
        .into_iter()
        .filter(|device| seen.insert(device.id.clone()))
        .collect()
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    number
        .parse()
        .ok()
        .filter(|seconds| (0.1..=86_400.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "use seconds from 0.1 to 86400".to_owned())
}

#[cfg(test)]
mod tests {
    use rheostat_gpu::DeviceId;
    use rheostat_reading::Timestamp;

    use super::*;

    fn snapshot() -> GpuSnapshot {
        let device = |id: &str, index, kind| Device {
            index,
            ..Device::unread(DeviceId::new(id), kind)
        };
        let gpu = |partitioned| DeviceKind::Gpu { partitioned };
        let partition = DeviceKind::Partition {
            parent: DeviceId::new("GPU-aa11"),
            profile: "1g.10gb".into(),
            gpu_instance: 7,
            compute_instance: 0,
            placement_start: None,
            profile_id: None,
        };
        GpuSnapshot {
            taken_at: Timestamp::from_unix_nanos(0),
            driver: DriverState::Unavailable {
                reason: String::new(),
            },
            devices: vec![
                device("GPU-aa11", 0, gpu(true)),
                device("MIG-bb22", 0, partition),
                device("GPU-aa33", 1, gpu(false)),
            ],
        }
    }

    fn chosen(named: &[&str], environment: &Environment) -> Result<Vec<String>, String> {
        let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
        choose(&named, environment, &snapshot(), true)
            .map(|devices| devices.iter().map(|device| device.id.to_string()).collect())
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn devices_are_named_by_index_or_uuid() {
        let here = Environment::default();
        let all = ["GPU-aa11", "MIG-bb22", "GPU-aa33"].map(str::to_owned);
        assert_eq!(chosen(&[], &here), Ok(all.to_vec()));
        assert_eq!(chosen(&["0"], &here), Ok(all[..2].to_vec()));
        assert_eq!(chosen(&["0:0"], &here), Ok(vec!["MIG-bb22".into()]));
        assert_eq!(
            chosen(&["MIG-bb22", "GPU-aa33", "1"], &here),
            Ok(all[1..].to_vec())
        );
        assert_eq!(chosen(&["GPU-aa3"], &here), Ok(vec!["GPU-aa33".into()]));
        assert_eq!(chosen(&["MIG-GPU-aa11/7/0"], &here), Ok(vec!["MIG-bb22".into()]));
        for (bad, said) in [
            ("GPU-aa", "there is no device with UUID GPU-aa"),
            ("5", "index 5"),
            ("?", "`?`"),
        ] {
            let error = chosen(&[bad], &here).unwrap_err();
            assert!(
                error.starts_with(&format!("--device {bad}: use an index")) && error.contains(said),
                "{error}"
            );
        }
    }

    #[test]
    fn a_job_sees_its_own_devices() {
        let in_environment = |choice| {
            Environment::detect(choice, |name| {
                (name == "CUDA_VISIBLE_DEVICES").then(|| "MIG-bb22,9".to_owned())
            })
        };
        assert_eq!(
            chosen(&[], &in_environment(EnvironmentChoice::Slurm)),
            Ok(vec!["MIG-bb22".into()])
        );
        assert_eq!(
            chosen(&[], &in_environment(EnvironmentChoice::Flux)),
            Ok(vec!["MIG-bb22".into()])
        );
        assert_eq!(
            chosen(&[], &in_environment(EnvironmentChoice::Standalone)).map(|all| all.len()),
            Ok(3)
        );
        assert_eq!(
            chosen(&["1"], &in_environment(EnvironmentChoice::Slurm)),
            Ok(vec!["GPU-aa33".into()])
        );
    }

    #[test]
    fn an_interval_is_positive_and_finite() {
        assert_eq!(parse_interval("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(parse_interval("1s"), Ok(Duration::from_secs(1)));
        for bad in ["0", "-1", "NaN", "inf", "1e9", "x", ""] {
            assert!(parse_interval(bad).is_err(), "{bad}");
        }
    }
}
