//! The triggers of `deploy/examples` mean something.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use rheostat_policy::Trigger;
use serde::Deserialize;

#[derive(Deserialize)]
struct Object {
    kind: Option<String>,
    #[serde(default)]
    spec: serde_json::Value,
}

#[test]
fn every_example_is_understood_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
    let mut triggers = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for document in text.split("\n---\n") {
            let object: Object = serde_saphyr::from_str(document).unwrap();
            if object.kind.as_deref() != Some("ScaledObject") {
                continue;
            }
            for trigger in object.spec["triggers"].as_array().unwrap() {
                let metadata: BTreeMap<String, String> =
                    serde_json::from_value(trigger["metadata"].clone()).unwrap();
                let parsed = Trigger::parse(&metadata);
                let parsed = parsed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                // What a trigger cannot know of its ScaledObject, and what `manual` is for, is always said.
                let usual = [
                    "for rehearsals and tests",
                    "does not start the workload from zero",
                ];
                let is_usual = |message: &str| usual.iter().any(|part| message.contains(part));
                let told: Vec<_> = parsed
                    .warnings
                    .iter()
                    .filter(|one| !is_usual(&one.message))
                    .collect();
                assert!(told.is_empty(), "{}: {told:?}", path.display());
                triggers += 1;
            }
        }
    }
    assert!(triggers >= 8, "only {triggers} were found");
}
