use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How the process logs, on standard error.
#[derive(Args)]
pub(crate) struct LogArguments {
    /// What is logged: a level, or directives such as `info,rheostat_fleet=debug`.
    #[arg(
        long,
        global = true,
        env = "RHEOSTAT_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    log: String,
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

/// Starts logging.
pub(crate) fn start(arguments: &LogArguments) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&arguments.log)
        .map_err(|error| anyhow::anyhow!("--log {:?} is not a filter: {error}", arguments.log))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match arguments.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}
