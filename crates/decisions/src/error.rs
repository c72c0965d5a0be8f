use std::io;
use std::path::PathBuf;

/// Why a decision log cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file or directory of it.
    #[error("the decision log {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Another process writes there.
    #[error("the decision log {0} is in use by another process; each scaler needs a directory of its own")]
    InUse(PathBuf),
    /// The size is too small to keep anything.
    #[error("a decision log of {given} bytes is too small; at least {least} are needed")]
    TooSmall {
        /// What was asked for, bytes.
        given: u64,
        /// The least, bytes.
        least: u64,
    },
    /// There is nothing to read.
    #[error("{0} is neither a decision log nor a directory with one (`decisions-*.jsonl`)")]
    NoLog(PathBuf),
}

impl LogError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
