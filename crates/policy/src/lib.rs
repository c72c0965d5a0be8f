//! From readings to one correct number per trigger, and when to answer it.
//!
//! Three steps, each pure: time is an argument and nothing here does I/O.
//!
//! 1. [`Trigger::parse`] turns a trigger's metadata into what it means, or into an error that
//!    names key, value and what is allowed.
//! 2. [`evaluate`] turns the readings of one moment into an [`Evaluation`]: the number the HPA is
//!    to get, whether the workload is active, and every step that led there.
//! 3. [`Memory::step`] turns evaluations over time into [`Answer`]s: what stands in for a short
//!    blindness, when blindness becomes an error, and when *inactive* may be said after one.

mod answer;
mod duration;
mod evaluate;
mod explain;
mod hpa;
mod input;
mod key;
mod parse;
mod peer;
mod peer_keys;
mod profile;
mod quantity;
mod signal;
mod statistic;
mod trigger;
mod trigger_error;

pub use answer::{Answer, AnswerSettings, Basis, ErrorKind, Gap, Memory};
pub use duration::parse_duration;
pub use evaluate::{
    Activity, Coverage, DeviceResult, Evaluation, Hold, Outcome, PodResult, PodUnknown, Step, evaluate,
};
pub use explain::Explanation;
pub use hpa::{DEFAULT_TOLERANCE, MetricType, hpa_desired, to_milli};
pub use input::{Claim, DeviceInput, Input, PodInput, PodState, Unseen};
pub use key::{Key, KeyOrigin};
pub use parse::parse_manual_demand;
pub use peer::{PEER_METRICS, PEER_PROFILES, PeerMeaning};
pub use profile::Profile;
pub use quantity::{parse_number, parse_quantity};
pub use signal::{Signal, SignalUnit};
pub use statistic::{Aggregation, Within};
pub use trigger::{MANUAL_DEMAND_ANNOTATION, Parsed, Trigger, Warning};
pub use trigger_error::TriggerError;
