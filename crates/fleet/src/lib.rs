//! Every agent's newest snapshot, by node.
