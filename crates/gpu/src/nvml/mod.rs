//! The edge to NVML: a thin safe layer over the driver's C library, loaded at run time.
//!
//! All of this crate's `unsafe` is below this module. What stands outside it sees a [`Session`]
//! (the library between init and shutdown), [`Handle`]s that are refused by any other session, and
//! plain numbers or an [`NvmlError`]. Types of the C structs come from `nvml-wrapper-sys`; symbols
//! are looked up one by one, so an old driver that lacks one lacks that reading only.
#![allow(unsafe_code, reason = "calls into a C library")]

mod error;
mod events;
mod fields;
mod gpm;
mod lists;
mod mig;
mod readings;
mod search;
mod session;
mod symbols;

pub(crate) use error::{NvmlError, Reach};
pub(crate) use events::{Event, EventSet};
pub(crate) use fields::{ALL_LINKS, FieldBatch, Number, field};
pub(crate) use gpm::{GpmMetrics, GpmSample, metric};
pub(crate) use lists::{Process, ProcessBuffers, ProcessList, SampleBuffer};
pub(crate) use mig::Mig;
pub(crate) use readings::{Clock, MemoryInfo, Throughput};
pub(crate) use session::{Handle, OpenError, Session};
