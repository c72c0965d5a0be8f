//! Rheostat's own processes, as they run in production.

pub(crate) mod scaler;
