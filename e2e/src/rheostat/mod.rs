//! Rheostat's own processes, as they run in production.

pub(crate) mod load;
pub(crate) mod node;
pub(crate) mod nodes;
pub(crate) mod policy;
pub(crate) mod scaler;
pub(crate) mod site;
pub(crate) mod workload;
