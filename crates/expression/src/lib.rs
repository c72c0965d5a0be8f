//! The expression language of triggers, such as `max(waiting/5, kv/0.8)`.
//!
//! [`compile`] turns a text and the [`Names`] it may use into an [`Expression`], or says what is
//! wrong and where. [`Expression::evaluate`] takes one [`Value`] per declared name and gives an
//! [`Outcome`]: a number or a condition with the worst quality of what it used, or which names
//! were missing. Evaluation is pure, allocates nothing and never yields NaN or an infinity.
//!
//! ```
//! use rheostat_expression::{Declared, Kind, Names, Value, compile_number};
//! use rheostat_reading::{Quality, Unit};
//!
//! let mut names = Names::new();
//! names.declare("waiting", Declared { unit: Unit::Count, kind: Kind::Amount })?;
//! names.declare("kv", Declared { unit: Unit::Ratio, kind: Kind::Intensity })?;
//! let load = compile_number("max(waiting/5, kv/0.8)", &names)?;
//!
//! let known = |number| Value::Known { number, quality: Quality::Measured };
//! let outcome = load.evaluate(&[known(12.0), known(0.88)]);
//! assert_eq!(outcome.number(), Some(2.4));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Units
//!
//! Each name has a unit; a literal has none of its own. A quotient of equal units is a ratio.
//!
//! | form | rule | result |
//! |---|---|---|
//! | `a + b`, `a - b`, `min`, `max`, `sum`, `clamp`, `a or b`, `if(c, a, b)` | equal units; a literal takes the unit of the others | that unit |
//! | `a < b` and the other comparisons | the same | a condition |
//! | `a * b`, `a / b` | any units | their product or quotient |
//! | `a * 2`, `2 * a` | the literal is a plain factor | unit of `a` |
//! | `a / 5` | a literal divisor takes the unit of `a`: how often 5 goes into `a` | a ratio |
//! | `1 / a` | the literal is plain | inverse of the unit of `a` |
//! | `80%` | 0.8, a ratio and not a literal without unit | a ratio |
//! | `-a`, `abs`, `ceil`, `floor`, `round` | any unit | unit of `a` |
//! | `a && b`, `a || b`, `!a`, first argument of `if` | conditions only | a condition |
//! | `known(a)` | anything | a condition |
//!
//! So `max(waiting/5, kv/0.8)` compares two ratios, `waiting + running` adds two counts, and
//! `waiting + kv` is refused. "Literal" means any part without names, such as `(2*3)`.
//!
//! # Absent values
//!
//! What needs an absent operand is absent itself, and says which names were missing; division by
//! zero and overflow make it absent too. Three forms need less: `a or b` takes `b` where `a` is
//! absent, `if` looks only at the branch taken, and `&&` and `||` are Kleene's (`false && absent`
//! is false). `known(a)` is never absent.

mod check;
mod dimension;
mod error;
mod evaluate;
mod explain;
mod expression;
mod names;
mod parse;
mod print;
mod shape;
mod token;
mod tree;

pub use dimension::Dimension;
pub use error::{ExpressionError, Problem, Span};
pub use evaluate::{Answer, Outcome, Trouble, TroubleKind, Unknown, Value};
pub use explain::{Explanation, Step};
pub use expression::{Expression, ResultType, compile, compile_number};
pub use names::{Declared, Kind, NameError, NameSet, Names};
pub use shape::Direction;

/// The longest text of an expression, in bytes.
pub const MAX_LENGTH: usize = 1024;
/// How deep parentheses, calls and signs may be nested.
pub const MAX_DEPTH: usize = 32;
/// The most numbers, names, operators and calls in one expression.
pub const MAX_NODES: usize = 256;
/// The most names that can be declared for one expression.
pub const MAX_NAMES: usize = 16;
/// The longest name, in bytes.
pub const MAX_NAME_LENGTH: usize = 64;
