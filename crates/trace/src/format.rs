use std::fmt;
use std::str::FromStr;

use crate::error::TraceError;

/// The format of a trace's content. Each may be compressed with gzip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The Azure LLM inference traces of 2023 and 2024: `TIMESTAMP,ContextTokens,GeneratedTokens`.
    Azure,
    /// BurstGPT: `Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type`, seconds.
    BurstGpt,
    /// Mooncake: a JSON object a line with `timestamp` (ms), `input_length` and `output_length`.
    Mooncake,
    /// ServeGen clients: `client,window_start_s,rate_rps,cv,family,param1,param2`. It has no lengths.
    ServeGen,
    /// A plain list: requests of one second on each line. It has no lengths.
    Counts,
    /// The JSON of Prometheus' `query_range` for a rate of requests per second. It has no lengths.
    Prometheus,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Azure,
        Self::BurstGpt,
        Self::Mooncake,
        Self::ServeGen,
        Self::Counts,
        Self::Prometheus,
    ];

    /// The name by which a user asks for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Azure => "azure",
            Self::BurstGpt => "burstgpt",
            Self::Mooncake => "mooncake",
            Self::ServeGen => "servegen",
            Self::Counts => "counts",
            Self::Prometheus => "prometheus",
        }
    }

    /// What its content consists of, for an error.
    pub(crate) const fn wanted(self) -> &'static str {
        match self {
            Self::Azure => "lines of TIMESTAMP,ContextTokens,GeneratedTokens after a header",
            Self::BurstGpt => "lines with Timestamp, Request tokens and Response tokens after a header",
            Self::Mooncake => "a JSON object a line with timestamp, input_length and output_length",
            Self::ServeGen => "lines of client,window_start_s,rate_rps,cv,family,... after a header",
            Self::Counts => "a number of requests on each line",
            Self::Prometheus => "the answer of /api/v1/query_range with a rate above 0",
        }
    }

    pub(crate) fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// Which format begins with `head`.
    pub(crate) fn of(head: &str) -> Result<Self, TraceError> {
        let line = head
            .trim_start_matches('\u{feff}')
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .unwrap_or_default();
        let lower = line.to_ascii_lowercase();
        let columns: Vec<&str> = lower.split(',').map(str::trim).collect();
        let has = |name: &str| columns.contains(&name);
        if line.starts_with('{') {
            // Its own names tell Mooncake; a document is laid out over lines or on one.
            return Ok(if line.contains("\"input_length\"") {
                Self::Mooncake
            } else {
                Self::Prometheus
            });
        }
        if has("contexttokens") || has("generatedtokens") {
            Ok(Self::Azure)
        } else if has("window_start_s") || has("rate_rps") {
            Ok(Self::ServeGen)
        } else if has("request tokens") || has("response tokens") {
            Ok(Self::BurstGpt)
        } else if line.parse::<f64>().is_ok() {
            Ok(Self::Counts)
        } else {
            Err(TraceError::UnknownFormat {
                found: line.chars().take(60).collect(),
            })
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = TraceError;

    fn from_str(name: &str) -> Result<Self, TraceError> {
        Self::ALL
            .into_iter()
            .find(|format| format.name().eq_ignore_ascii_case(name.trim()))
            .ok_or_else(|| TraceError::UnknownName {
                found: name.chars().take(60).collect(),
            })
    }
}
