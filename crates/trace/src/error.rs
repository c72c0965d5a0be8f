use std::io;
use std::path::PathBuf;

use crate::format::Format;

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error("trace {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The text cannot be read to its end, such as where a compressed file is damaged.
    #[error("trace: it cannot be read to its end")]
    Read {
        /// What the system or the decompressor said.
        #[source]
        source: io::Error,
    },
    /// Nothing in the content says which format it is.
    #[error(
        "trace: it begins with {found:?}, which is no known format; name one of {}",
        Format::names()
    )]
    UnknownFormat {
        /// How it begins.
        found: String,
    },
    /// A name that is no format's.
    #[error("format {found:?} is not known; one of {} is needed", Format::names())]
    UnknownName {
        /// The name.
        found: String,
    },
    /// A field is not what it should be.
    #[error("trace: line {line}, column {column} is {found:?}; {wanted} is needed")]
    Field {
        /// Line, from 1.
        line: u64,
        /// The column's name, or its place where it has none.
        column: String,
        /// What stands there.
        found: String,
        /// What should.
        wanted: &'static str,
    },
    /// A line of JSON, or a document, that is not as it should be.
    #[error("trace: line {line} is not JSON as {format} has it")]
    Json {
        /// Line, from 1; of a document, the line where it stops making sense.
        line: u64,
        /// The format.
        format: Format,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// A Prometheus answer that holds no rate over time.
    #[error("trace: {key} is {found:?}; {wanted} is needed")]
    Series {
        /// Which part of the answer.
        key: String,
        /// What stands there.
        found: String,
        /// What should.
        wanted: &'static str,
    },
    /// More than is read.
    #[error("trace: more than {most} {what}; that is the most that is read")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many are read.
        most: u64,
    },
    /// There is no request.
    #[error("trace: no request in it; {format} needs {}", format.wanted())]
    Empty {
        /// The format.
        format: Format,
    },
    /// A trace that is multiplied by a number that makes no sense.
    #[error(
        "the factor {factor} makes no sense; it must be above 0 and leave at most {most} requests in {seconds} s of the trace"
    )]
    Factor {
        /// The factor.
        factor: f64,
        /// The most requests that are drawn at once.
        most: u64,
        /// Seconds that are drawn at once.
        seconds: f64,
    },
}
