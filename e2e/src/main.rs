//! End-to-end proofs.

fn main() {}
