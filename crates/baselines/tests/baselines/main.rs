//! Each autoscaler against the worked example of its source, and on a small cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod aibrix;
mod catalogue;
mod day;
mod dynamo;
mod kaito;
mod keda;
mod knative;
mod oracle;
mod properties;
mod ray_serve;
mod sageserve;
mod support;
mod wva;
