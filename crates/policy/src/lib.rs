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
mod cron;
mod decided;
mod duration;
mod engine_selection;
mod engine_signal;
mod evaluate;
mod evaluate_activity;
mod evaluate_bounds;
mod evaluate_guard;
mod evaluate_values;
mod evaluate_workload;
mod evaluation;
mod explain;
mod hpa;
mod input;
mod key;
mod needs;
mod parse;
mod parse_engine;
mod parse_expression;
mod parse_number;
mod parse_option;
mod parse_policy;
mod parse_signal;
mod parse_subject;
mod peer;
mod peer_keys;
mod pod;
mod profile;
mod quantity;
mod schedule;
mod signal;
mod source;
mod statistic;
mod trigger;
mod trigger_error;

pub use answer::{Answer, AnswerSettings, Basis, ErrorKind, Gap, Memory};
pub use cron::{Cron, CronError};
pub use decided::{Decided, evaluate_decided, queued_outside};
pub use duration::parse_duration;
pub use engine_selection::{EnginePort, EngineScheme, EngineSelection, EngineSource, ObjectKey};
pub use engine_signal::{EngineSignal, Quantile};
pub use evaluate::evaluate;
pub use evaluation::{
    Activity, Bound, Coverage, DeviceResult, EngineResult, Evaluation, Evidence, GuardStep, Hold, Number,
    Outcome, PodPart, PodResult, PodUnknown, Step, WorkloadResult,
};
pub use explain::Explanation;
pub use hpa::{DEFAULT_TOLERANCE, MetricType, hpa_desired, to_milli};
pub use input::{Claim, DeviceInput, Input, PodInput, PodState, Unseen};
pub use key::{Key, KeyOrigin};
pub use needs::{EngineNeeds, Needs};
pub use parse::parse_manual_demand;
pub use peer::{PEER_METRICS, PEER_PROFILES, PeerMeaning};
pub use profile::{Profile, ProfileLoad};
pub use quantity::{parse_number, parse_quantity};
pub use schedule::{Asks, Bounds, Schedule, ScheduleError, Window};
pub use signal::{Signal, SignalUnit};
pub use source::{
    KueueCount, KueueQuery, MAIN_SIGNAL, NamedSignal, OnMany, OnOdd, OutsideSource, PrometheusQuery, Source,
};
pub use statistic::{Aggregation, Within};
pub use trigger::{Guard, Load, MANUAL_DEMAND_ANNOTATION, Parsed, Trigger, Warning};
pub use trigger_error::TriggerError;
