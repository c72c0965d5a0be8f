//! PromQL, as far as a query must be understood to be bound to one tenant.
//!
//! [`check_query`] accepts the language of Prometheus and nothing beside it; [`Checked::enforced`]
//! gives the query back with a matcher in every selector:
//!
//! ```
//! let query = rheostat_promql::check_query("sum(rate(requests_total[1m])) / count(up)")?;
//! assert_eq!(
//!     query.enforced("namespace", "team-a")?,
//!     r#"sum(rate(requests_total{namespace="team-a"}[1m])) / count(up{namespace="team-a"})"#
//! );
//! # Ok::<(), rheostat_promql::QueryError>(())
//! ```
//!
//! What makes the binding hold:
//! - whatever is not recognised is refused: extensions of single servers (MetricsQL's `WITH`, `or`
//!   between matchers, `default`) could reach around the matcher;
//! - the result is written anew from what was understood, without comments and with one way of
//!   quoting, so that no server can read it differently from us;
//! - a query that already matches the label is accepted only where it asks for the very value:
//!   to replace its matcher would answer another question than was asked.
//!
//! Values and names are not judged: whether a function exists, takes these arguments, or a regular
//! expression is one, only the server can say. The crate knows nothing of servers.

mod checked;
mod error;
mod parse;
mod text;
mod token;

pub use checked::{Checked, MatchOp, Matcher, Selector};
pub use error::{Problem, QueryError, Span};
pub use parse::check_query;

/// The longest query, in bytes.
pub const MAX_LENGTH: usize = 8192;

/// How deep parentheses, calls and aggregations may be nested.
pub const MAX_DEPTH: usize = 64;
