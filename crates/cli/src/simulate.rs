mod scaling_policy;
mod view;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use rheostat_backtest::{Case, CaseReport, OURS, Policy, Report, Row, run as run_on};
use rheostat_baselines::{Baseline, Settings, Value};
use rheostat_simulator::Control;

use crate::policy_file::PolicyFile;
use crate::report_files::ReportFiles;
use crate::workload::{Stated, WorkloadArguments, cold_start};
use view::View;

/// `rheostat simulate`.
#[derive(Args)]
pub(crate) struct SimulateArguments {
    #[command(flatten)]
    workload: WorkloadArguments,
    /// How long a start takes.
    #[arg(long, default_value = "180s", value_name = "DURATION", value_parser = cold_start)]
    cold_start: Duration,
    /// What decides: `rheostat`, which is ours, another's name as in `rheostat backtest`, or a YAML file with a
    /// ScalingPolicy, which ours then follows: its SLO and bounds hold where the options give none.
    #[arg(long, default_value = OURS, value_name = "NAME")]
    policy: String,
    /// Sets a parameter of another's policy; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, Value)>,
    #[command(flatten)]
    files: ReportFiles,
    /// Plain lines even on a terminal.
    #[arg(long)]
    plain: bool,
}

fn setting(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text
        .split_once('=')
        .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        .ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    let value = value
        .parse::<f64>()
        .map_or_else(|_| Value::from(value), Value::Number);
    Ok((key.to_owned(), value))
}

/// Runs the policy and prints what it did.
pub(crate) fn run(arguments: &SimulateArguments) -> anyhow::Result<()> {
    let policy = policy_path(arguments);
    let mut inputs = arguments.workload.inputs();
    inputs.extend(policy.map(|path| ("--policy", path)));
    arguments.files.check(&inputs)?;
    let [trace] = arguments.workload.trace.as_slice() else {
        bail!(
            "--trace names {} files; one is needed",
            arguments.workload.trace.len()
        );
    };
    if policy.is_some() && !arguments.set.is_empty() {
        bail!("--set: a ScalingPolicy is changed in its file");
    }
    let file = policy.map(PolicyFile::read).transpose().context("--policy")?;
    let stated = file.as_ref().map_or_else(Stated::default, PolicyFile::stated);
    let cases = arguments.workload.cases(&[arguments.cold_start], stated)?;
    let case = cases
        .first()
        .with_context(|| format!("--trace {}: nothing to run", trace.display()))?;
    let chosen = Chosen::new(arguments, file, case)?;
    let mut view = View::new(arguments.plain, case);
    let outcome = run_on(case, &chosen.policy.name, chosen.control, true, Some(&mut view))?;
    view.end();
    let row = Row::new(case, &chosen.policy, chosen.baseline.as_ref(), outcome);
    let mut of_case = CaseReport::new(case);
    of_case.rows.push(row);
    let report = Report::new(&case.conditions, 0, vec![of_case]);
    if let Some(row) = report.cases.first().and_then(|case| case.rows.first()) {
        view::summary(case, row)?;
    }
    arguments.files.write(&report)
}

/// The file of a ScalingPolicy, where `--policy` names one.
fn policy_path(arguments: &SimulateArguments) -> Option<&Path> {
    let path = Path::new(&arguments.policy);
    path.extension()
        .is_some_and(|ending| ending == "yaml" || ending == "yml")
        .then_some(path)
}

/// What decides.
struct Chosen {
    policy: Policy,
    /// `None` where it is ours.
    baseline: Option<Baseline>,
    control: Control,
}

impl Chosen {
    fn new(arguments: &SimulateArguments, file: Option<PolicyFile>, case: &Case) -> anyhow::Result<Self> {
        let name = arguments.policy.as_str();
        if let Some(file) = file {
            return Ok(Self {
                policy: Policy::defaults(name),
                baseline: None,
                control: scaling_policy::control(file.policy, case),
            });
        }
        let settings = arguments
            .set
            .iter()
            .fold(Settings::new(), |settings, (key, value)| {
                settings.with(key, value.clone())
            });
        let policy = Policy {
            name: name.to_owned(),
            settings,
        };
        Ok(Self {
            control: policy.build(case)?,
            baseline: policy.baseline(case)?,
            policy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_number_or_a_word() {
        assert_eq!(setting("floor=2"), Ok(("floor".to_owned(), Value::Number(2.0))));
        assert_eq!(setting("mode=fast"), Ok(("mode".to_owned(), Value::from("fast"))));
        for wrong in ["floor", "=2", "floor="] {
            assert!(setting(wrong).unwrap_err().ends_with("is not KEY=VALUE"));
        }
    }
}
