use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};
use rheostat_backtest::{Case, Conditions, TracePart};
use rheostat_policy::parse_duration;
use rheostat_reading::Ratio;
use rheostat_simulator::{EngineModel, Mode};
use rheostat_sizing::Slo;
use rheostat_trace::{Format, Options, Trace};

/// What is served, by what, and what is to be kept: the same for `simulate` and `backtest`.
#[derive(Args)]
pub(crate) struct WorkloadArguments {
    /// Request traces: CSV of the Azure LLM traces or BurstGPT, ServeGen windows, Mooncake JSONL, counts
    /// per second, or a range that Prometheus answered; gzip too.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) trace: Vec<PathBuf>,
    /// Format of the traces, where the content does not tell it.
    #[arg(long, value_name = "NAME", value_parser = format)]
    format: Option<Format>,
    /// Multiplies how many requests come.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = factor)]
    scale: f64,
    /// Leaves out what comes before, such as 30m or 1d.
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = duration)]
    from: Duration,
    /// Leaves out what comes after, since the beginning of the trace; all of it where it is not given. Of
    /// more than two days, the first teaches and is not scored.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    until: Option<Duration>,
    /// How a replica serves: a name of the catalogue, or a JSON file with the fields of an engine.
    #[arg(long, default_value = "llama2-70b-a100-tp4", value_name = "NAME")]
    engine: String,
    /// What is to be kept: ttft, itl (mean of a request) and e2e at most, by this part of the requests;
    /// ttft=5s,itl=200ms,attainment=99% where it is not given.
    #[arg(long, value_name = "SLO", value_parser = slo)]
    slo: Option<Slo>,
    /// Never fewer replicas; 1 where neither it nor a policy says so.
    #[arg(long, value_name = "NUMBER")]
    min_replicas: Option<u32>,
    /// Never more replicas; 64 where it is not given.
    #[arg(long, value_name = "NUMBER")]
    max_replicas: Option<u32>,
    /// How exactly replicas are simulated: iteration by iteration, or as a flow, which is faster and right on
    /// average.
    #[arg(long, default_value = "fluid", value_name = "MODE")]
    mode: ModeName,
    /// The same seed gives the same result.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeName {
    Fluid,
    Iteration,
}

/// What a ScalingPolicy says of what is to be kept; `None` where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Stated {
    pub(crate) slo: Option<Slo>,
    pub(crate) min_replicas: Option<u32>,
    pub(crate) max_replicas: Option<u32>,
}

/// What is kept where nothing is said.
const USUAL_SLO: Slo = Slo {
    ttft: Some(Duration::from_secs(5)),
    itl: Some(Duration::from_millis(200)),
    e2e: None,
    attainment: Ratio(0.99),
};

impl WorkloadArguments {
    /// The files that are read.
    pub(crate) fn inputs(&self) -> Vec<(&str, &Path)> {
        let traces = self.trace.iter().map(|path| ("--trace", path.as_path()));
        let engine = engine_file(&self.engine).map(|path| ("--engine", path));
        traces.chain(engine).collect()
    }

    /// Each trace with each cold start, under the options and what is `stated` beside them.
    pub(crate) fn cases(&self, cold_starts: &[Duration], stated: Stated) -> anyhow::Result<Vec<Case>> {
        let engine = engine(&self.engine)?;
        let slo = match (self.slo, stated.slo) {
            (Some(given), Some(aim)) if given != aim => bail!(
                "--slo is {}, but the policy aims at {}: leave --slo out, or change the policy",
                slo_text(&given),
                slo_text(&aim)
            ),
            (given, aim) => given.or(aim).unwrap_or(USUAL_SLO),
        };
        // As those of a ScaledObject hold against a policy's. So the bound has the floor that is run with.
        let min_replicas = self.min_replicas.max(stated.min_replicas).unwrap_or(1);
        let most = [self.max_replicas, stated.max_replicas];
        let max_replicas = most.into_iter().flatten().min().unwrap_or(64);
        let mut cases = Vec::new();
        for path in &self.trace {
            let part = Arc::new(self.part(path)?);
            for (place, &cold_start) in cold_starts.iter().enumerate() {
                if cold_starts[..place].contains(&cold_start) {
                    continue;
                }
                let conditions = Conditions {
                    engine: engine.clone(),
                    slo,
                    cold_start,
                    min_replicas,
                    max_replicas,
                    mode: match self.mode {
                        ModeName::Fluid => Mode::Fluid,
                        ModeName::Iteration => Mode::Iteration,
                    },
                    seed: self.seed,
                };
                cases.push(Case::new(Arc::clone(&part), conditions)?);
            }
        }
        Ok(cases)
    }

    fn part(&self, path: &Path) -> anyhow::Result<TracePart> {
        let options = Options {
            format: self.format,
            seed: self.seed,
            ..Options::default()
        };
        let of = || format!("--trace {}", path.display());
        let trace = Trace::open(path, &options).with_context(of)?;
        let end = trace.end();
        let until = self.until.unwrap_or(end);
        if self.from >= end {
            bail!(
                "--from is {:?}, but --trace {} is {:?} long",
                self.from,
                path.display(),
                trace.duration()
            );
        }
        if self.from >= until {
            bail!("--from is {:?}; it must be before --until, {until:?}", self.from);
        }
        let mut trace = trace.slice(self.from, until);
        if (self.scale - 1.0).abs() > f64::EPSILON {
            trace = trace.scaled(self.scale).context("--scale")?;
        }
        let name = path
            .file_name()
            .map_or_else(|| "trace".into(), |name| name.to_string_lossy());
        let short = [".gz", ".csv", ".jsonl", ".json", ".txt"]
            .iter()
            .fold(name.as_ref(), |name, ending| {
                name.strip_suffix(ending).unwrap_or(name)
            });
        TracePart::new(short, trace.requests(), trace.end()).with_context(of)
    }
}

fn format(text: &str) -> Result<Format, String> {
    text.parse()
        .map_err(|error: rheostat_trace::TraceError| error.to_string())
}

fn factor(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok();
    value
        .filter(|value| *value > 0.0 && value.is_finite())
        .ok_or_else(|| format!("{text:?} is no factor; allowed is a number above 0, such as 0.5"))
}

/// A duration, also in days (`2d`).
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST_DAYS: f64 = 36_500.0;
    let days = text.strip_suffix('d').and_then(|days| days.parse::<f64>().ok());
    match days {
        Some(days) if (0.0..=LONGEST_DAYS).contains(&days) => Ok(Duration::from_secs_f64(days * 86_400.0)),
        Some(_) => Err(format!("{text} is not from 0d to {LONGEST_DAYS}d")),
        None => parse_duration(text).ok_or_else(|| {
            format!("{text:?} is no duration; allowed is such as 500ms, 5s, 2m, 1m30s, 1h or 2d")
        }),
    }
}

/// A start or an answer that takes longer is no matter for an autoscaler.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A cold start.
pub(crate) fn cold_start(text: &str) -> Result<Duration, String> {
    let value = duration(text)?;
    if value.is_zero() || value > LONGEST_WAIT {
        return Err(format!("{text} is not more than 0 s and at most 24 h"));
    }
    Ok(value)
}

/// What is to be kept, such as `ttft=5s,itl=200ms,attainment=99%`.
fn slo(text: &str) -> Result<Slo, String> {
    let mut slo = Slo {
        ttft: None,
        itl: None,
        e2e: None,
        attainment: Ratio(0.99),
    };
    let mut seen: Vec<&str> = Vec::new();
    for part in text.split(',') {
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| format!("{part:?} is not KEY=VALUE"))?;
        if seen.contains(&key) {
            return Err(format!("{key} is given twice"));
        }
        seen.push(key);
        let latency = || match duration(value) {
            Ok(value) if !value.is_zero() && value <= LONGEST_WAIT => Ok(Some(value)),
            Ok(_) => Err(format!(
                "{key} is {value}; allowed is more than 0 s and at most 24 h"
            )),
            Err(error) => Err(format!("{key}: {error}")),
        };
        match key {
            "ttft" => slo.ttft = latency()?,
            "itl" => slo.itl = latency()?,
            "e2e" => slo.e2e = latency()?,
            "attainment" => slo.attainment = attainment(value)?,
            _ => {
                return Err(format!(
                    "{key} is not known; allowed is one of ttft, itl, e2e, attainment"
                ));
            }
        }
    }
    if slo.ttft.or(slo.itl).or(slo.e2e).is_none() {
        return Err("at least one of ttft, itl and e2e is needed".to_owned());
    }
    Ok(slo)
}

/// An SLO as [`slo`] reads it.
fn slo_text(slo: &Slo) -> String {
    let limits = [("ttft", slo.ttft), ("itl", slo.itl), ("e2e", slo.e2e)];
    let limits = limits
        .into_iter()
        .filter_map(|(key, limit)| Some(format!("{key}={:?}", limit?)));
    // Without the last digits of the arithmetic.
    let percent = (slo.attainment.0 * 1e8).round() / 1e6;
    let parts: Vec<String> = limits.chain([format!("attainment={percent}%")]).collect();
    parts.join(",")
}

fn attainment(text: &str) -> Result<Ratio, String> {
    let wrong = || format!("attainment is {text:?}; allowed is more than 0 and less than 1, or such as 99%");
    let value = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map_err(|_| wrong())? / 100.0,
        None => text.parse::<f64>().map_err(|_| wrong())?,
    };
    if value > 0.0 && value < 1.0 {
        Ok(Ratio(value))
    } else {
        Err(wrong())
    }
}

fn engine(name: &str) -> anyhow::Result<EngineModel> {
    if let Some(engine) = EngineModel::named(name) {
        return Ok(engine);
    }
    let Some(path) = engine_file(name) else {
        let names: Vec<_> = EngineModel::catalogue()
            .map(|engine| engine.name.to_string())
            .collect();
        bail!(
            "--engine is {name:?}; allowed is one of {}, or a JSON file",
            names.join(", ")
        );
    };
    let text = read_bounded(path).with_context(|| format!("--engine {name}"))?;
    let engine: EngineModel =
        serde_json::from_str(&text).map_err(|error| anyhow!("--engine {name}: {error}"))?;
    engine.check().with_context(|| format!("--engine {name}"))?;
    Ok(engine)
}

/// The file of an engine, where its name is that of one.
fn engine_file(name: &str) -> Option<&Path> {
    let path = Path::new(name);
    path.extension()
        .is_some_and(|extension| extension == "json")
        .then_some(path)
}

/// A small text file.
pub(crate) fn read_bounded(path: &Path) -> anyhow::Result<String> {
    use std::io::Read as _;
    const MOST_BYTES: u64 = 1 << 20;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        bail!("it is longer than {MOST_BYTES} bytes");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        workload: WorkloadArguments,
    }

    /// The part that `options` leave of a trace that lists requests at `seconds`.
    fn part(seconds: &[u32], options: &[&str]) -> anyhow::Result<TracePart> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("listed.jsonl");
        let line = |at: &u32| {
            let at = u64::from(*at) * 1000;
            format!("{{\"timestamp\": {at}, \"input_length\": 800, \"output_length\": 200}}\n")
        };
        std::fs::write(&path, seconds.iter().map(line).collect::<String>())?;
        let path = path.to_string_lossy();
        let arguments = ["rheostat", "--trace", &path]
            .into_iter()
            .chain(options.iter().copied());
        let workload = Line::try_parse_from(arguments)?.workload;
        workload.part(&workload.trace[0])
    }

    #[test]
    fn the_last_request_of_a_listed_trace_is_run_too() {
        let at = |part: &TracePart| -> Vec<u64> {
            part.requests.iter().map(|request| request.at.as_secs()).collect()
        };
        for listed in [vec![0], vec![0, 0, 0], vec![0, 60, 90, 90]] {
            let expected: Vec<u64> = listed.iter().copied().map(u64::from).collect();
            assert_eq!(at(&part(&listed, &[]).unwrap()), expected);
        }
        assert_eq!(at(&part(&[0, 60, 90], &["--from", "1m"]).unwrap()), [0, 30]);
        assert_eq!(at(&part(&[0, 60, 90], &["--until", "90s"]).unwrap()), [0, 60]);
    }

    #[test]
    fn two_days_are_not_more_than_two_days() {
        let day = 86_400;
        for options in [&[][..], &["--until", "2d"]] {
            let part = part(&[0, day, 2 * day], options).unwrap();
            assert_eq!(part.scored_from, Duration::ZERO, "{options:?}");
        }
        let longer = part(&[0, day, 2 * day + 1], &[]).unwrap();
        assert_eq!(longer.scored_from, TracePart::DAY);
    }

    #[test]
    fn what_lies_beyond_the_trace_is_said_with_its_length() {
        let beyond = part(&[0, 3600], &["--from", "2h", "--until", "3h"])
            .unwrap_err()
            .to_string();
        assert!(
            beyond.starts_with("--from is 7200s, but --trace /") && beyond.ends_with("is 3600s long"),
            "{beyond}"
        );
        let turned = part(&[0, 3600], &["--from", "30m", "--until", "20m"])
            .unwrap_err()
            .to_string();
        assert_eq!(turned, "--from is 1800s; it must be before --until, 1200s");
    }

    #[test]
    fn a_factor_is_positive_and_finite() {
        for wrong in ["nan", "inf", "0", "-1", "1e400", "x", ""] {
            let error = part(&[0, 60], &[&format!("--scale={wrong}")])
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("--scale") && error.contains("allowed is a number above 0"),
                "{error}"
            );
        }
        assert_eq!(part(&[0, 60], &["--scale", "1"]).unwrap().requests.len(), 2);
    }

    #[test]
    fn an_slo_is_read() {
        let read = slo("ttft=5s,itl=200ms,attainment=99.5%").unwrap();
        assert_eq!(
            read,
            Slo {
                ttft: Some(Duration::from_secs(5)),
                itl: Some(Duration::from_millis(200)),
                e2e: None,
                attainment: Ratio(0.995)
            }
        );
        assert_eq!(slo("e2e=1m").unwrap().attainment, Ratio(0.99));
        assert_eq!(slo_text(&read), "ttft=5s,itl=200ms,attainment=99.5%");
    }

    #[test]
    fn what_is_wrong_with_an_slo_is_said() {
        for (text, says) in [
            ("ttft", "\"ttft\" is not KEY=VALUE"),
            (
                "tbt=1s",
                "tbt is not known; allowed is one of ttft, itl, e2e, attainment",
            ),
            ("ttft=5", "ttft: \"5\" is no duration; allowed is such as 500ms"),
            ("ttft=0s", "ttft is 0s; allowed is more than 0 s"),
            ("itl=25h", "itl is 25h; allowed is more than 0 s and at most 24 h"),
            ("ttft=5s,ttft=6s", "ttft is given twice"),
            ("attainment=99%", "at least one of ttft, itl and e2e is needed"),
            (
                "ttft=5s,attainment=100%",
                "attainment is \"100%\"; allowed is more than 0 and less than 1",
            ),
            ("ttft=5s,attainment=NaN", "attainment is \"NaN\""),
        ] {
            let error = slo(text).unwrap_err();
            assert!(error.starts_with(says), "{text}: {error}");
        }
    }

    #[test]
    fn days_are_durations() {
        assert_eq!(duration("2d"), Ok(Duration::from_secs(172_800)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert!(duration("-1d").is_err() && duration("NaNd").is_err() && duration("1e9d").is_err());
        assert!(cold_start("0s").is_err() && cold_start("2d").is_err());
    }
}
