//! dcgm-exporter's pages, read into devices, readings and who holds what: the stand-in for our agent
//! on nodes that have only the exporter.
//!
//! [`read_page`] knows the exporter's present names, those of its old namespace, the ways in which it
//! has labelled pods over time, MIG instances and shared GPUs. What the page does not show is absent
//! with the name of the missing counter, so that its owner knows what to add to the exporter's list;
//! nothing is ever zero that was not read as zero.
//!
//! What a page cannot tell:
//! - the UUID of a MIG instance: it is named by its GPU and its instance number (`GPU-…/gi7`);
//! - how old its values are: the exporter collects every 30 s unless told otherwise, and says nothing
//!   of it. Readings bear the time of the fetch, and the collecting period as their window;
//! - that a GPU is shared, where the exporter was not started with `KUBERNETES_VIRTUAL_GPUS`: it then
//!   names one of the pods, as if it were alone.

mod field;
mod holder;
mod page;
mod read;
mod row;
mod share;

pub use page::{Attribution, DcgmClaim, DcgmDevice, DcgmPage, PageError};
pub use read::read_page;
