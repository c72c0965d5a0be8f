use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How the process logs, on standard error.
#[derive(Args)]
pub(crate) struct LogArguments {
    /// What is logged: a level, or directives such as `info,rheostat_fleet=debug`. Default: info
    /// for agent and scaler, error for the rest.
    #[arg(long, global = true, env = "RHEOSTAT_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// How a line looks.
    #[arg(
        long,
        global = true,
        env = "RHEOSTAT_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For a person.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging; `default` is logged where the arguments do not say.
pub(crate) fn start(arguments: &LogArguments, default: &str) -> anyhow::Result<()> {
    let filter = arguments.log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| anyhow::anyhow!("--log {filter:?} is not a filter: {error}"))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match arguments.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}
