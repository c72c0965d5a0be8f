//! Everything on one machine, with no cluster and no GPU.
