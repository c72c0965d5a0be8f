use std::error::Error;
use std::io;
use std::time::Duration;

use http::{Method, StatusCode};

/// Something could not be fetched.
#[derive(Debug, thiserror::Error)]
#[error("{method} {server}{path}: {failure}")]
pub struct FetchError {
    /// What was asked.
    pub method: Method,
    /// `scheme://host:port`.
    pub server: String,
    /// Path and query.
    pub path: String,
    /// Why it failed.
    #[source]
    pub failure: Failure,
}

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The host's name leads nowhere.
    #[error("the host's name cannot be looked up: {0}")]
    Lookup(#[source] io::Error),
    /// Nobody listens, or nobody is there.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The other side cannot speak TLS, or not be trusted.
    #[error("no TLS connection: {0}")]
    Tls(#[source] io::Error),
    /// The time ended before there was a connection.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// The time ended before the answer began.
    #[error("no answer within {0:?}")]
    HeadTimeout(Duration),
    /// The time ended in the middle of the answer.
    #[error("the answer was not complete within {limit:?}; {received} bytes had come")]
    BodyTimeout {
        /// The time.
        limit: Duration,
        /// Bytes that had come, as sent.
        received: usize,
    },
    /// What came is not HTTP, or ended early.
    #[error("{}", with_causes(.0))]
    Broken(#[source] hyper::Error),
    /// The server points elsewhere; nobody goes there.
    #[error("{status}: redirects are not followed (to \"{to}\")")]
    Redirect {
        /// Of the answer.
        status: StatusCode,
        /// Where it pointed, or empty.
        to: String,
    },
    /// The server refuses.
    #[error("{status}{}", quoted(.start))]
    Status {
        /// Of the answer.
        status: StatusCode,
        /// How its body begins.
        start: String,
    },
    /// More than is taken.
    #[error("the page has more than {limit} bytes")]
    TooLarge {
        /// How many are taken, decompressed.
        limit: usize,
    },
    /// Too many other large pages are being read at this moment.
    #[error("the page is large, and too many other large pages are being read")]
    NoRoom,
    /// A compression that nobody asked for.
    #[error("the page is compressed by \"{0}\", not by gzip")]
    Encoding(String),
    /// The compressed page is damaged.
    #[error("the page cannot be decompressed: {0}")]
    Gzip(#[source] io::Error),
}

/// Failures as a metric counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// No connection.
    Connect,
    /// No TLS.
    Tls,
    /// Too slow.
    Timeout,
    /// Not HTTP, or cut off.
    Broken,
    /// A status other than success.
    Status,
    /// Larger than is taken.
    TooLarge,
    /// The page means nothing.
    Page,
}

impl Failure {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        match self {
            Self::Lookup(_) | Self::Connect(_) => FailureKind::Connect,
            Self::Tls(_) => FailureKind::Tls,
            Self::ConnectTimeout(_) | Self::HeadTimeout(_) | Self::BodyTimeout { .. } => FailureKind::Timeout,
            Self::Broken(_) | Self::Encoding(_) | Self::Gzip(_) => FailureKind::Broken,
            Self::Redirect { .. } | Self::Status { .. } => FailureKind::Status,
            Self::TooLarge { .. } | Self::NoRoom => FailureKind::TooLarge,
        }
    }

    /// The status, where the server answered with one other than success.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Redirect { status, .. } | Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl FailureKind {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Broken,
        Self::Status,
        Self::TooLarge,
        Self::Page,
    ];

    /// As a label has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Status => "status",
            Self::TooLarge => "too_large",
            Self::Page => "page",
        }
    }
}

/// An error with all that led to it: hyper's own text leaves the causes out.
fn with_causes(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

fn quoted(start: &str) -> String {
    if start.is_empty() {
        String::new()
    } else {
        format!(": \"{start}\"")
    }
}
