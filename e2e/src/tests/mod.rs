//! The tests by name.

use anyhow::Result;

use crate::layout;
use crate::runner::Test;
use crate::scripted::sequence;

mod arithmetic;
mod deploy;
mod engines;
mod from_zero;
mod outages;
mod pending;
mod policies;
mod policy_from_zero;
mod prediction;
mod refusals;
mod replicas_of_the_scaler;
mod rollout;
mod sequences;
mod smoke;
mod tenants;

/// Every test there is.
pub(crate) fn all() -> Result<Vec<Test>> {
    let mut tests = vec![Test::new(
        "from_zero_by_push_and_back",
        smoke::from_zero_by_push_and_back,
    )];
    tests.extend([
        Test::new("from_zero_by_push", from_zero::from_zero_by_push),
        Test::new(
            "scaler::one_of_two_killed",
            replicas_of_the_scaler::one_of_two_scalers_killed,
        ),
        Test::new(
            "scaler::restarted_one_after_the_other",
            replicas_of_the_scaler::scalers_restarted_one_after_the_other,
        ),
        Test::new(
            "scaler::restarted_while_gpus_count",
            replicas_of_the_scaler::scalers_restarted_while_gpus_count,
        ),
        Test::new("deploy", deploy::manifests_accepted),
        Test::new("policy::as_simulated", prediction::as_simulated),
        Test::new(
            "policy::from_zero_by_what_waits",
            policy_from_zero::from_zero_by_what_waits,
        ),
        Test::new("refusals", refusals::bad_triggers_refused),
    ]);
    tests.extend([
        Test::new("gpu::average_value", arithmetic::average_value),
        Test::new("gpu::value", arithmetic::value),
        Test::new("tenants", tenants::another_tenants_load_changes_nothing),
        Test::new("outage::agents_gone", outages::agents_gone),
        Test::new("outage::kubelets_gone", outages::kubelets_gone),
        Test::new("outage::gpus_lost", outages::gpus_lost),
        Test::new("pending::average_value", pending::average_value),
        Test::new("pending::value", pending::value),
        Test::new("pending::node_drained", pending::node_drained),
        Test::new("rollout::surge_within_tolerance", rollout::surge_within_tolerance),
    ]);
    tests.extend(engines::all());
    tests.extend(policies::all());
    for (name, sequence) in sequence::all(&layout::source().join("sequences"))? {
        tests.push(Test::new(format!("sequence::{name}"), |case| {
            sequences::record(case, name, sequence)
        }));
    }
    Ok(tests)
}
