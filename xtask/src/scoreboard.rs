//! Runs the backtest over real traces and writes its scores where people read them.

mod page;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use rheostat_backtest::{Aims, Report};

use crate::{bench, root};

/// `cargo xtask scoreboard`.
#[derive(Args)]
pub(crate) struct ScoreboardArguments {
    /// The folder with the traces (docs/scoreboard.md says which, and where they come from).
    #[arg(long, env = "RHEOSTAT_TRACES", value_name = "FOLDER")]
    traces: PathBuf,
    /// Settings that one search tries. 0 scores defaults only.
    #[arg(long, default_value_t = 60, value_name = "RUNS")]
    tune: usize,
    /// Keep results in this folder, and go on from those that are there already.
    #[arg(long, value_name = "FOLDER")]
    resume: Option<PathBuf>,
    /// This `rheostat`, instead of one that is built: with `--resume`, results are only used by the program that
    /// made them.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Also write the HTML reports here.
    #[arg(long, value_name = "FOLDER")]
    html: Option<PathBuf>,
}

/// Traces that are run alike.
pub(crate) struct Group {
    /// Names it in files.
    name: &'static str,
    /// Its files.
    files: &'static [&'static str],
    /// Options of `rheostat backtest`.
    options: &'static [&'static str],
    /// What the options are for.
    why: &'static str,
}

const GROUPS: [Group; 2] = [
    Group {
        name: "hours",
        files: &["azure-llm-2023-code.csv", "azure-llm-2023-conv.csv"],
        options: &[],
        why: "An hour each, as it was. Searches for settings on one half and runs the other with them.",
    },
    Group {
        name: "days",
        files: &["servegen-language-m-small.csv.gz"],
        options: &["--scale", "0.0035", "--until", "3d"],
        why: "The first three days of ServeGen's m-small with 0.35 % of its requests, which leaves about 4 a second: \
              the whole would need thousands of GPUs, and as many hours to search settings for. The first day \
              teaches and is not scored. A search tries settings on the busiest three hours of each half; what it \
              finds on one is run on the other half, and a few steps from the better one, on the whole, lead to the \
              settings in hindsight.",
    },
];

/// The conditions of all of it.
const CONDITIONS: [&str; 10] = [
    "--engine",
    "llama2-70b-a100-tp4",
    "--slo",
    "ttft=5s,itl=200ms,attainment=99%",
    "--cold-start",
    "60s,180s,600s",
    "--max-replicas",
    "64",
    "--mode",
    "fluid",
];

/// Writes docs/scoreboard.md.
pub(crate) fn run(arguments: &ScoreboardArguments) -> Result<()> {
    let rheostat = match &arguments.program {
        Some(program) => program.clone(),
        None => built()?,
    };
    let folder = rheostat
        .parent()
        .and_then(Path::parent)
        .context("the program is in no folder")?
        .join("scoreboard");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut all: Option<Report> = None;
    for group in &GROUPS {
        let report = score(&rheostat, group, arguments, &folder)?;
        match &mut all {
            None => all = Some(report),
            Some(all) => all.cases.extend(report.cases),
        }
    }
    let mut report = all.context("no traces")?;
    report.aims = Aims::new(&report.cases, report.slo.attainment.0);
    let path = root().join("docs/scoreboard.md");
    std::fs::write(&path, page::text(&report, &GROUPS, arguments.tune))
        .with_context(|| path.display().to_string())?;
    println!("{}", path.display());
    Ok(())
}

/// `rheostat` as users get it.
fn built() -> Result<PathBuf> {
    let programs = bench::build(&["rheostat"])?;
    let rheostat = programs
        .into_iter()
        .find(|program| program.file_stem().is_some_and(|stem| stem == "rheostat"));
    rheostat.context("cargo built no rheostat")
}

fn score(rheostat: &Path, group: &Group, arguments: &ScoreboardArguments, folder: &Path) -> Result<Report> {
    let json = folder.join(group.name).with_extension("json");
    let mut command = Command::new(rheostat);
    command.arg("backtest").arg("--trace");
    command.args(group.files.iter().map(|file| arguments.traces.join(file)));
    command.args(CONDITIONS).args(group.options);
    command
        .arg("--tune")
        .arg(arguments.tune.to_string())
        .arg("--json")
        .arg(&json);
    if let Some(resume) = &arguments.resume {
        command.arg("--resume").arg(resume);
    }
    if let Some(html) = &arguments.html {
        std::fs::create_dir_all(html).with_context(|| html.display().to_string())?;
        command
            .arg("--html")
            .arg(html.join(group.name).with_extension("html"));
    }
    let status = command.status().context("rheostat cannot be started")?;
    ensure!(
        status.success(),
        "rheostat backtest did not run to its end (see above)"
    );
    let text = std::fs::read(&json).with_context(|| json.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| json.display().to_string())
}
