//! `.proto` files to Rust, without protoc.

use anyhow::Context;

use crate::root;

/// Writes `crates/proto/src/generated`. A test in `crates/proto` compares.
pub(crate) fn generate() -> anyhow::Result<()> {
    let crate_root = root().join("crates/proto");
    let descriptors = protox::compile(
        [
            "keda/externalscaler.proto",
            "kubelet/podresources.proto",
            "rheostat/agent.proto",
        ],
        [crate_root.join("proto")],
    )
    .context("cannot compile the .proto files")?;
    tonic_prost_build::configure()
        // It holds a bearer token: `engines.rs` shows it without.
        .skip_debug([".rheostat.agent.v1.EngineTarget"])
        .out_dir(crate_root.join("src/generated"))
        .compile_fds(descriptors)
        .context("cannot write the generated code")
}
