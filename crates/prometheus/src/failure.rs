use std::io;
use std::path::PathBuf;

use rheostat_scraper::{FetchError, RequestError, UrlError};

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryFailure {
    /// No server has this name any more.
    #[error("no Prometheus is configured as \"{0}\"")]
    UnknownServer(String),
    /// The server is asked enough already.
    #[error("this Prometheus may be asked {0} different queries (maxQueries), and this is one more")]
    TooMany(usize),
    /// A file with a certificate, token or password cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The URL, or TLS.
    #[error(transparent)]
    Server(#[from] UrlError),
    /// A header, token or password that cannot be sent.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// No answer, or one that is refused.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The server says that it cannot.
    #[error("the server says {kind}: {message}")]
    Api {
        /// `bad_data`, `execution`, `timeout` …
        kind: String,
        /// What it says.
        message: String,
    },
    /// The answer is not what the API answers.
    #[error("the answer is not that of Prometheus' API: {0}")]
    Malformed(String),
    /// A result from which no number can be taken.
    #[error("the result is {found}; a scalar or an instant vector is needed")]
    Kind {
        /// What it is.
        found: &'static str,
    },
    /// More series than anybody can have meant.
    #[error("the result has {found} series; at most {most} are taken, so aggregate them in the query")]
    TooManySeries {
        /// How many there are.
        found: usize,
        /// How many are taken.
        most: usize,
    },
}

impl QueryFailure {
    /// Its kind, as a metric's label has it: `configuration`, `api`, `answer`, or why nothing came
    /// (`connect`, `tls`, `timeout`, `broken`, `status`, `too_large`).
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownServer(_)
            | Self::TooMany(_)
            | Self::File { .. }
            | Self::Server(_)
            | Self::Request(_) => "configuration",
            Self::Fetch(error) => error.failure.kind().name(),
            Self::Api { .. } => "api",
            Self::Malformed(_) | Self::Kind { .. } | Self::TooManySeries { .. } => "answer",
        }
    }
}
