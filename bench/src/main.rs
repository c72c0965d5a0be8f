//! Benchmarks, run by `cargo xtask bench NAME`.

fn main() {}
