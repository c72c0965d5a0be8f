//! Every policy on every trace, scored against the optimum.
