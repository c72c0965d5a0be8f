//! Measured quantities.
//!
//! A [`Reading`] is an [`Amount`] (a number with its unit) with the time it was taken, the window
//! it covers and its quality. What could not be measured is [`Absent`] with the reason; nothing in
//! this crate turns an absence into a number (invariant 1). Every other crate speaks in these
//! types, so that percent and ratio, bytes and MiB, or now and a minute ago cannot be mixed up.

mod amount;
mod clock;
mod engine_quantity;
mod quantity;
mod reading;
mod readings;
mod units;

pub use amount::{Amount, Unit, WrongUnit};
pub use clock::{Clock, ManualClock, Timestamp};
pub use engine_quantity::EngineQuantity;
pub use quantity::{Measurable, Quantity};
pub use reading::{Absent, Observed, Quality, Reading};
pub use readings::Readings;
pub use units::{Bytes, BytesPerSecond, Celsius, Count, Hertz, Joules, PerSecond, Ratio, Seconds, Watts};
