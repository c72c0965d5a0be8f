use std::collections::BTreeSet;

use rheostat_baselines::{BaselineError, Knowledge, Settings, catalogue, find};

use crate::support::context;

#[test]
fn every_baseline_is_named_once_and_says_where_it_is_from() {
    let all = catalogue(&context());
    let names: BTreeSet<_> = all.iter().map(|baseline| baseline.name).collect();
    assert_eq!(names.len(), all.len());
    for baseline in &all {
        assert!(
            !baseline.source.is_empty() && !baseline.description.is_empty(),
            "{}",
            baseline.name
        );
        assert!(
            !baseline.source.contains("  "),
            "{}: {}",
            baseline.name,
            baseline.source
        );
        let keys: BTreeSet<_> = baseline
            .parameters
            .iter()
            .map(|parameter| parameter.name)
            .collect();
        assert_eq!(keys.len(), baseline.parameters.len(), "{}", baseline.name);
    }
}

#[test]
fn every_candidate_of_every_parameter_builds() {
    let context = context();
    for baseline in catalogue(&context) {
        if baseline.knowledge == Knowledge::Future {
            continue;
        }
        baseline.build(&Settings::new(), &context).unwrap();
        for parameter in &baseline.parameters {
            assert!(
                parameter.allowed.allows(&parameter.default),
                "{} {}",
                baseline.name,
                parameter.name
            );
            assert_eq!(parameter.candidates[0], parameter.default);
            for candidate in &parameter.candidates {
                let settings = Settings::new().with(parameter.name, candidate.clone());
                let built = baseline.build(&settings, &context);
                // A floor above the default cap, or a cap below the default floor, may not be built.
                assert!(
                    built.is_ok(),
                    "{} with {settings}: {}",
                    baseline.name,
                    built.unwrap_err()
                );
            }
        }
    }
}

#[test]
fn a_search_over_one_parameter_after_the_other_stays_small() {
    for baseline in catalogue(&context()) {
        let tries: usize = baseline
            .parameters
            .iter()
            .map(|parameter| parameter.candidates.len())
            .sum();
        assert!(tries <= 60, "{}: {tries}", baseline.name);
    }
}

#[test]
fn what_is_not_allowed_is_refused_with_key_value_and_what_is() {
    let context = context();
    let knative = find("knative-kpa", &context).unwrap();
    let refused = |settings: Settings| knative.build(&settings, &context).unwrap_err().to_string();
    assert_eq!(
        refused(Settings::new().with("target_utilization", 2.0)),
        "knative-kpa: target_utilization is 2; allowed is a number from 0.01 to 1"
    );
    assert_eq!(
        refused(Settings::new().with("floor", 1.5)),
        "knative-kpa: floor is 1.5; allowed is a whole number from 0 to 50"
    );
    assert_eq!(
        refused(Settings::new().with("floor", 9_u32).with("cap", 8_u32)),
        "knative-kpa: floor is 9; allowed is at most the cap, 8"
    );
    assert!(
        refused(Settings::new().with("windows", 2.0)).starts_with("knative-kpa: windows is no parameter")
    );
    assert!(matches!(
        find("knative", &context).unwrap_err(),
        BaselineError::UnknownBaseline { allowed, .. } if allowed.contains("knative-kpa")
    ));
    assert!(matches!(
        find("oracle", &context)
            .unwrap()
            .build(&Settings::new(), &context),
        Err(BaselineError::NoForesight { .. })
    ));
}

/// docs/baselines.md has a row for each, twice: what it is, and what it did on the small day.
#[test]
fn the_documentation_has_every_baseline() {
    let text = include_str!("../../../../docs/baselines.md");
    for baseline in catalogue(&context()) {
        let rows = text
            .lines()
            .filter(|line| line.starts_with(&format!("| `{}`", baseline.name)));
        assert!(rows.count() >= 2, "{}", baseline.name);
        let marked = text.contains(&format!("| `{}` (future) |", baseline.name));
        assert_eq!(
            marked,
            baseline.knowledge == Knowledge::Future,
            "{}",
            baseline.name
        );
    }
}
