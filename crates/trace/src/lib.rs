//! Request traces: when requests came, and how long their prompts and answers were.
//!
//! A [`Trace`] is read from a file whose [`Format`] is told from its content, and yields [`Request`]s in
//! order of time. Formats that list requests are kept as compact rows; those that only say how many came
//! draw the requests window by window, so that a trace of millions needs little memory. The same seed gives
//! the same requests, bit for bit, and a slice gives the same as the whole.

mod counts;
mod error;
mod format;
mod input;
mod lengths;
mod prometheus;
mod random;
mod request;
mod rows;
mod servegen;
mod source;
mod table;
mod trace;

pub use error::TraceError;
pub use format::Format;
pub use lengths::{Lengths, Tokens};
pub use request::Request;
pub use trace::{Options, Requests, Trace};
