//! One file for each project that an autoscaler comes from.

pub(crate) mod aibrix;
pub(crate) mod concurrency;
pub(crate) mod demand;
pub(crate) mod dynamo;
pub(crate) mod fixed;
pub(crate) mod hpa;
pub(crate) mod kaito;
pub(crate) mod knative;
pub(crate) mod llm_d;
pub(crate) mod oracle;
pub(crate) mod peer;
pub(crate) mod production_stack;
pub(crate) mod ray_serve;
pub(crate) mod sageserve;
pub(crate) mod wva;
