//! The checked-in code is what the `.proto` files say.

use std::path::Path;

#[test]
fn generated_code_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fresh = tempfile::tempdir().unwrap();
    let descriptors = protox::compile(
        [
            "keda/externalscaler.proto",
            "kubelet/podresources.proto",
            "rheostat/agent.proto",
        ],
        [root.join("proto")],
    )
    .unwrap();
    tonic_prost_build::configure()
        .skip_debug([".rheostat.agent.v1.EngineTarget"])
        .out_dir(fresh.path())
        .compile_fds(descriptors)
        .unwrap();
    for entry in std::fs::read_dir(fresh.path()).unwrap() {
        let path = entry.unwrap().path();
        let checked_in = root.join("src/generated").join(path.file_name().unwrap());
        let (fresh, old) = (
            std::fs::read_to_string(&path).unwrap(),
            std::fs::read_to_string(&checked_in).unwrap(),
        );
        assert!(
            fresh == old,
            "{} is out of date: run `cargo xtask proto`",
            checked_in.display()
        );
    }
}
