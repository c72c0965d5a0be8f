/// A status that this version cannot read: another one's, or somebody else's.
#[derive(Debug, thiserror::Error)]
#[error("status: {0}")]
pub struct StatusError(#[from] serde_json::Error);

/// Why a `ScalingPolicy` means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A field that there is not, a missing one, or one of another type.
    #[error("spec: {0}")]
    Shape(String),
    /// A value that is not allowed.
    #[error("spec.{key} is {value}; allowed: {allowed}")]
    Invalid {
        /// The key, from `spec` on.
        key: String,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// A key without which the others mean nothing.
    #[error("spec.{key} is missing; allowed: {allowed}")]
    Missing {
        /// The key, or the keys of which one is needed.
        key: String,
        /// What it may be.
        allowed: String,
    },
    /// Keys that contradict each other.
    #[error("spec.{one} and spec.{other} contradict each other: {hint}")]
    Conflict {
        /// One key.
        one: String,
        /// The other one.
        other: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// More of something than is read.
    #[error("spec.{key} has {count} entries; allowed: at most {most}")]
    TooMany {
        /// The key.
        key: String,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
}
