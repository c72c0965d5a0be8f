use std::path::PathBuf;

use clap::Args;
use rheostat_backtest::{Report, html};
use rheostat_demo::report_file::{self, Named};

/// Where scores are written to, beside the terminal.
#[derive(Args)]
pub(crate) struct ReportFiles {
    /// Write every score here, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report here: one HTML file with charts, tables and decisions.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

const JSON: &str = "--json";
const HTML: &str = "--html";

impl ReportFiles {
    /// Whether they can be written, and are none of `inputs`: better known before the work than after it.
    pub(crate) fn check(&self, inputs: &[Named<'_>]) -> anyhow::Result<()> {
        let outputs: Vec<Named<'_>> = [(JSON, &self.json), (HTML, &self.html)]
            .into_iter()
            .filter_map(|(option, path)| Some((option, path.as_deref()?)))
            .collect();
        report_file::check(&outputs, inputs)
    }

    /// Writes those that were asked for.
    pub(crate) fn write(&self, report: &Report) -> anyhow::Result<()> {
        if let Some(path) = &self.json {
            let mut text = serde_json::to_vec_pretty(report)?;
            text.push(b'\n');
            report_file::write(JSON, path, &text)?;
        }
        if let Some(path) = &self.html {
            report_file::write(HTML, path, html(report).as_bytes())?;
        }
        Ok(())
    }
}
