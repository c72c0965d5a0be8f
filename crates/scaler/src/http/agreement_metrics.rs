use rheostat_promtext::{EncodeError, Encoder, Kind};
use rheostat_steward::Leadership;

use crate::state::State;

/// Which scaler leads, and what this one has written. Nothing where it was not told of others.
pub(super) fn agreement(encoder: &mut Encoder, state: &State) -> Result<(), EncodeError> {
    let Some(agreement) = &state.agreement else {
        return Ok(());
    };
    let standing = match &*agreement.leadership.borrow() {
        Leadership::Leading { .. } => "leading",
        Leadership::Following { .. } => "following",
        Leadership::Alone { .. } => "alone",
        Leadership::Nobody => "nobody",
    };
    let mut leader = encoder.family(
        "rheostat_scaler_leadership",
        Kind::Gauge,
        "",
        "1 for how this scaler stands: leading (it writes), following another one, alone (it writes, and there is \
         no Lease to agree by), or nobody leads.",
    )?;
    for name in ["leading", "following", "alone", "nobody"] {
        leader.sample(&[("state", name)], f64::from(u8::from(name == standing)))?;
    }
    let stats = &agreement.stats;
    encoder
        .family(
            "rheostat_scaler_lease_failures_total",
            Kind::Counter,
            "",
            "Looks at the Lease, and renewals of it, that failed.",
        )?
        .sample(&[], stats.lease_failures.value())?;
    let mut statuses = encoder.family(
        "rheostat_scaler_policy_status_writes_total",
        Kind::Counter,
        "",
        "Writes of the status of ScalingPolicies, by outcome.",
    )?;
    statuses.sample(&[("outcome", "written")], stats.statuses.value())?;
    statuses.sample(&[("outcome", "failed")], stats.status_failures.value())?;
    let mut events = encoder.family(
        "rheostat_scaler_events_total",
        Kind::Counter,
        "",
        "Kubernetes Events by outcome; dropped were more than an object is allowed.",
    )?;
    events.sample(&[("outcome", "written")], stats.events.value())?;
    events.sample(&[("outcome", "failed")], stats.event_failures.value())?;
    events.sample(&[("outcome", "dropped")], stats.events_dropped.value())?;
    encoder
        .family(
            "rheostat_scaler_learned_dropped_total",
            Kind::Counter,
            "",
            "Times that what was learned of a workload was too much to be kept.",
        )?
        .sample(&[], stats.learned_dropped.value())
}
