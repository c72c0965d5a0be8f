use rheostat_promtext::{Encoder, Kind};

use super::family;
use crate::counters::{Counters, read};
use crate::{NodeSnapshot, SourceState};

/// What the agent tells of itself.
pub(super) fn write(page: &mut Encoder, snapshot: Option<&NodeSnapshot>, counters: &Counters) {
    let version = env!("CARGO_PKG_VERSION");
    family(
        page,
        "rheostat_build_info",
        Kind::Info,
        "",
        "The agent's version.",
        [(vec![("version", version)], 1.0)],
    );
    sources(page, snapshot);
    let calls = counters.kubelet_calls();
    family(
        page,
        "rheostat_kubelet_requests_total",
        Kind::Counter,
        "",
        "Calls of the kubelet's PodResources API, by gRPC code.",
        calls
            .iter()
            .map(|(code, calls)| (vec![("code", *code)], number(*calls))),
    );
    let own = [
        (
            "rheostat_agent_snapshots_total",
            Kind::Counter,
            "Snapshots built.",
            &counters.snapshots,
        ),
        (
            "rheostat_agent_failed_attributions_total",
            Kind::Counter,
            "Attributions that a defect of the agent prevented.",
            &counters.failed_builds,
        ),
        (
            "rheostat_agent_subscribers",
            Kind::Gauge,
            "Subscribers at present.",
            &counters.subscribers,
        ),
        (
            "rheostat_agent_refused_subscribers_total",
            Kind::Counter,
            "Subscribers turned away because there were too many.",
            &counters.refused_subscribers,
        ),
        (
            "rheostat_agent_broken_requests_total",
            Kind::Counter,
            "Lists of engines that could not be read.",
            &counters.broken_requests,
        ),
    ];
    for (name, kind, help, counter) in own {
        family(page, name, kind, "", help, [(vec![], number(read(counter)))]);
    }
}

fn sources(page: &mut Encoder, snapshot: Option<&NodeSnapshot>) {
    let sources: Vec<(&str, &SourceState)> = snapshot
        .map(|snapshot| {
            vec![
                ("gpus", &snapshot.gpu_source),
                ("attribution", &snapshot.attribution_source),
            ]
        })
        .unwrap_or_default();
    let states = sources.iter().flat_map(|&(name, source)| {
        ["current", "stale", "unknown"].into_iter().map(move |state| {
            let value = if source.name() == state { 1.0 } else { 0.0 };
            (vec![("source", name), ("state", state)], value)
        })
    });
    family(
        page,
        "rheostat_source_state",
        Kind::Gauge,
        "",
        "Whether the GPUs and who holds them can be read: 1 for the state that each is in.",
        states,
    );
    let read_at = sources.iter().filter_map(|&(name, source)| {
        Some((vec![("source", name)], seconds(source.read_at()?.unix_nanos())))
    });
    family(
        page,
        "rheostat_source_last_success_timestamp_seconds",
        Kind::Gauge,
        "seconds",
        "When each source was last read with success.",
        read_at,
    );
}

#[expect(clippy::cast_precision_loss, reason = "exact to a microsecond")]
pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the text formats know only floats; exact to 2^53"
)]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}
