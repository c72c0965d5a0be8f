use std::sync::Arc;

use clap::Args;
use rheostat_reading::Clock;
use rheostat_scaler::Agreement;
use rheostat_steward::{LeaseTiming, Steward, StewardOptions, WritePace};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How the replicas of the scaler agree on whose decisions on ScalingPolicies count.
#[derive(Args)]
pub(crate) struct AgreementArguments {
    /// Namespace of the Lease rheostat-scaler, the scaler's own. Whoever holds the Lease decides on
    /// ScalingPolicies, and writes their status and Events. Without it, this scaler does as if it were alone.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    lease_namespace: Option<String>,
    /// What this scaler is called in the Lease, with something random behind it: the name of its pod.
    #[arg(
        long,
        env = "POD_NAME",
        value_name = "NAME",
        default_value = "rheostat-scaler"
    )]
    pod_name: String,
}

impl AgreementArguments {
    /// Stands for leader and writes, from now on until `shutdown`.
    pub(crate) fn start(
        self,
        client: kube::Client,
        clock: Clock,
        shutdown: CancellationToken,
    ) -> (Agreement, Steward) {
        let (reports, reported) = watch::channel(Arc::default());
        let options = StewardOptions {
            pod: self.pod_name,
            namespace: self.lease_namespace.filter(|name| !name.is_empty()),
            lease: LeaseTiming::default(),
            pace: WritePace::default(),
        };
        let steward = Steward::start(client, options, clock, reported, shutdown);
        let agreement = Agreement {
            leadership: steward.leadership(),
            reports,
            stats: steward.stats(),
        };
        (agreement, steward)
    }
}
