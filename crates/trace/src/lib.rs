//! Request traces: when requests came, and how long their prompts and answers were.
//!
//! [`Request`]s come in order of time, from an iterator, so that a trace of millions needs no memory.

mod request;

pub use request::Request;
