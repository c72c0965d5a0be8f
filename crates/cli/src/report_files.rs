use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use rheostat_backtest::{Report, html};

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

impl ReportFiles {
    /// Whether they can be written: better known before the work than after it.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (path, option) in [(&self.json, "--json"), (&self.html, "--html")] {
            if let Some(path) = path {
                writable(path, option)?;
            }
        }
        Ok(())
    }

    /// Writes those that were asked for.
    pub(crate) fn write(&self, report: &Report) -> anyhow::Result<()> {
        if let Some(path) = &self.json {
            let mut text = serde_json::to_vec_pretty(report)?;
            text.push(b'\n');
            std::fs::write(path, text).with_context(|| format!("--json {}", path.display()))?;
        }
        if let Some(path) = &self.html {
            std::fs::write(path, html(report)).with_context(|| format!("--html {}", path.display()))?;
        }
        Ok(())
    }
}

fn writable(path: &Path, option: &str) -> anyhow::Result<()> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.map(drop)
        .with_context(|| format!("{option} {}: cannot be written", path.display()))
}
