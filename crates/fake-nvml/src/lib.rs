//! A `libnvidia-ml.so.1` driven by a scenario file.
//!
//! The shared library exports every name of the NVML 13 header. A client that loads it reads the
//! GPUs of a JSON scenario (see [`Scenario`] and the README) through NVML's own C ABI, with NVML's
//! protocols, refusals and timing. The scenario may change while clients run.
//!
//! As a Rust library it offers the scenario's types, and [`install`], which puts the shared library
//! and a scenario into a directory for a client to load.
#![allow(unsafe_code, reason = "the C ABI of NVML; every block says why it is sound")]

mod answers;
mod call;
mod clock;
mod driver;
mod handle;
mod install;
mod machine;
mod scenario;

pub use install::{InstallError, install, library_path};
pub use scenario::{
    Activity, ComputeInstance, ComputeMode, Curve, Driver, Ecc, ErrorCode, Event, EventKind, Fault, Gpu,
    Interpolation, LARGEST_SCENARIO, Mig, MigInstance, Process, ProcessKind, Readings, Scenario,
    ScenarioError, Shape, Throttle, ThrottleReason, model_names,
};
