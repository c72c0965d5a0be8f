use std::borrow::Cow;

use rheostat_expression::ExpressionError;

use crate::ScheduleError;

/// Why a trigger's metadata is refused. Each message names the key, the value and what is
/// allowed, since it is what the user gets to read through KEDA.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TriggerError {
    /// More keys than any trigger needs.
    #[error("the trigger has {count} keys; at most {most} are allowed")]
    TooManyKeys {
        /// How many there are.
        count: usize,
        /// How many are allowed.
        most: usize,
    },
    /// A key or value that is too long to be meant.
    #[error("{what} {shown:?}… is {bytes} bytes long; at most {most} are allowed")]
    TooLong {
        /// `key` or `value of KEY`.
        what: String,
        /// How it begins.
        shown: String,
        /// Its length.
        bytes: usize,
        /// The greatest length allowed.
        most: usize,
    },
    /// A key that means nothing here.
    #[error("unknown key {key:?}{}; allowed: {allowed}", nearest.map_or_else(String::new, |name| format!(", did you mean {name}?")))]
    UnknownKey {
        /// The key.
        key: String,
        /// The allowed key that looks most like it.
        nearest: Option<&'static str>,
        /// All allowed keys.
        allowed: String,
    },
    /// A key that is known, but cannot be used.
    #[error("{key} is not allowed here: {reason}")]
    RefusedKey {
        /// The key.
        key: String,
        /// Why.
        reason: &'static str,
    },
    /// A value that is not allowed.
    #[error("{key} is {value:?}; allowed: {allowed}")]
    Invalid {
        /// The key.
        key: Cow<'static, str>,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// Something needs a signal that this version does not have.
    #[error("{key} is {value:?}, which needs {needs}; that is not in this version. Use {instead}")]
    NotInThisVersion {
        /// The key.
        key: Cow<'static, str>,
        /// Its value.
        value: String,
        /// The kind of signal that it needs.
        needs: &'static str,
        /// What can be used today.
        instead: &'static str,
    },
    /// An expression that is none; the message shows where.
    #[error("{key}: {source}")]
    Expression {
        /// The key.
        key: Cow<'static, str>,
        /// What is wrong, and where.
        source: ExpressionError,
    },
    /// A schedule that is none.
    #[error("{key}: {source}")]
    Schedule {
        /// The key.
        key: Cow<'static, str>,
        /// What is wrong, and in which window.
        source: ScheduleError,
    },
    /// A key without which the trigger means nothing.
    #[error("{key} is missing; allowed: {allowed}")]
    Missing {
        /// The key, or the keys of which one is needed.
        key: Cow<'static, str>,
        /// What it may be.
        allowed: String,
    },
    /// Two keys that contradict each other.
    #[error("{one} and {other} contradict each other: {hint}")]
    Conflict {
        /// One key with its value.
        one: String,
        /// The other one.
        other: String,
        /// What to do about it.
        hint: &'static str,
    },
}
