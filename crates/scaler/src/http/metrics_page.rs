//! `/metrics`: what the scaler knows now, encoded afresh for each scrape, so that a workload that is
//! gone leaves no series behind.

use rheostat_promtext::{EncodeError, Encoder, Format, Kind};

use super::agreement_metrics::agreement;
use super::policy_metrics::policies;
use crate::inquiries::InquiryStats;
use crate::report::basis;
use crate::snapshot::{TriggerState, WorkloadState};
use crate::state::State;

pub(super) fn page(state: &State, format: Format) -> Result<String, EncodeError> {
    let mut encoder = Encoder::new(format);
    scaler(&mut encoder, state)?;
    agreement(&mut encoder, state)?;
    sources(&mut encoder, state)?;
    inquiries(&mut encoder, &state.inquiries)?;
    triggers(&mut encoder, state)?;
    policies(&mut encoder, state)?;
    Ok(encoder.finish())
}

fn scaler(encoder: &mut Encoder, state: &State) -> Result<(), EncodeError> {
    encoder
        .family(
            "rheostat_scaler_build_info",
            Kind::Info,
            "",
            "Version of the running scaler.",
        )?
        .info(&[("version", env!("CARGO_PKG_VERSION"))])?;
    let mut calls = encoder.family(
        "rheostat_scaler_keda_calls_total",
        Kind::Counter,
        "",
        "Calls of KEDA's contract by method and gRPC code.",
    )?;
    for (method, code, count) in state.calls.all() {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 calls")]
        calls.sample(&[("method", method), ("code", &code)], count as f64)?;
    }
    let mut streams = encoder.family(
        "rheostat_scaler_push_streams",
        Kind::Gauge,
        "",
        "Push streams that KEDA holds open, by method.",
    )?;
    for (method, open) in state.calls.streams() {
        #[expect(clippy::cast_precision_loss, reason = "a small count")]
        streams.sample(&[("method", method)], open as f64)?;
    }
    encoder
        .family(
            "rheostat_scaler_evaluations_total",
            Kind::Counter,
            "",
            "Evaluations of all workloads since the start.",
        )?
        .sample(&[], state.evaluations.value())?;
    encoder
        .family(
            "rheostat_scaler_evaluation_panics_total",
            Kind::Counter,
            "",
            "Evaluations of a trigger that failed inside Rheostat: each is a defect.",
        )?
        .sample(&[], state.panics.value())?;
    encoder
        .family(
            "rheostat_scaler_evaluation_duration_seconds",
            Kind::Histogram,
            "seconds",
            "Time that one evaluation of all workloads takes.",
        )?
        .histogram(&[], &state.evaluation_duration.snapshot())?;
    if let Some(taken_at) = state.snapshots.latest().taken_at {
        encoder
            .family(
                "rheostat_scaler_evaluation_timestamp_seconds",
                Kind::Gauge,
                "seconds",
                "When all workloads were last evaluated.",
            )?
            .sample(&[], seconds(taken_at))?;
    }
    Ok(())
}

fn sources(encoder: &mut Encoder, state: &State) -> Result<(), EncodeError> {
    let fleet = state.fleet.view();
    let mut agents = encoder.family(
        "rheostat_scaler_agent_connected",
        Kind::Gauge,
        "",
        "Whether the stream of an agent is open (1) or not (0).",
    )?;
    for agent in fleet.agents() {
        let node = agent.node.as_deref().unwrap_or_default();
        let connected = f64::from(u8::from(agent.connected_since.is_some()));
        agents.sample(&[("address", &agent.address), ("node", node)], connected)?;
    }
    let mut heard = encoder.family(
        "rheostat_scaler_node_snapshot_timestamp_seconds",
        Kind::Gauge,
        "seconds",
        "When the newest snapshot of a node arrived.",
    )?;
    let mut nodes: Vec<_> = fleet.nodes().collect();
    nodes.sort_by(|a, b| a.node.cmp(&b.node));
    for node in nodes {
        heard.sample(&[("node", &node.node)], seconds(node.received_at))?;
    }
    let mut malformed = encoder.family(
        "rheostat_scaler_agent_malformed_total",
        Kind::Counter,
        "",
        "Parts of an agent's snapshots that were skipped because they made no sense.",
    )?;
    for agent in fleet.agents() {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
        malformed.sample(&[("address", &agent.address)], agent.malformed as f64)?;
    }
    let cluster = state.cluster.snapshot();
    let mut watches = encoder.family(
        "rheostat_scaler_watch_current",
        Kind::Gauge,
        "",
        "Whether a watch on the Kubernetes API is current (1) or starting or broken (0).",
    )?;
    for (watch, health) in cluster.health.iter() {
        let namespace = watch.namespace.as_deref().unwrap_or_default();
        let current = matches!(health, rheostat_cluster::WatchState::Current);
        let labels = [("resource", watch.resource.plural()), ("namespace", namespace)];
        watches.sample(&labels, f64::from(u8::from(current)))?;
    }
    Ok(())
}

/// What the scaler asks by itself.
fn inquiries(encoder: &mut Encoder, stats: &InquiryStats) -> Result<(), EncodeError> {
    if let Some(scraper) = &stats.scraper {
        engines(encoder, scraper)?;
    }
    if let Some(sampler) = &stats.prometheus {
        let servers = sampler.stats();
        let mut queries = encoder.family(
            "rheostat_scaler_prometheus_queries_total",
            Kind::Counter,
            "",
            "Queries that were sent to a Prometheus, answered or not.",
        )?;
        for (server, stats) in &servers {
            queries.sample(&[("server", server)], stats.queries.value())?;
        }
        let mut failures = encoder.family(
            "rheostat_scaler_prometheus_failures_total",
            Kind::Counter,
            "",
            "Queries to a Prometheus that failed, by why.",
        )?;
        for (server, stats) in &servers {
            for (reason, count) in stats.failures() {
                #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
                failures.sample(&[("server", server), ("reason", reason)], count as f64)?;
            }
        }
    }
    if let Some(dcgm) = &stats.dcgm {
        let exporters = dcgm.exporters();
        let mut answering = encoder.family(
            "rheostat_scaler_dcgm_exporter_answering",
            Kind::Gauge,
            "",
            "Whether a dcgm-exporter's page was read when it was last fetched (1) or not (0).",
        )?;
        for (endpoint, exporter) in &exporters {
            let fine = exporter.view.is_some() && exporter.failure.is_none();
            let address = endpoint.address.to_string();
            let labels = [("address", address.as_str()), ("node", &endpoint.node)];
            answering.sample(&labels, f64::from(u8::from(fine)))?;
        }
    }
    Ok(())
}

fn engines(encoder: &mut Encoder, stats: &rheostat_scraper::Stats) -> Result<(), EncodeError> {
    #[expect(clippy::cast_precision_loss, reason = "a count of engines")]
    encoder
        .family(
            "rheostat_scaler_engines",
            Kind::Gauge,
            "",
            "Engines that this scaler scrapes itself, since no agent does.",
        )?
        .sample(&[], stats.endpoints() as f64)?;
    encoder
        .family(
            "rheostat_scaler_engine_scrapes_total",
            Kind::Counter,
            "",
            "Scrapes of engines by this scaler itself.",
        )?
        .sample(&[], stats.scrapes.value())?;
    let mut failures = encoder.family(
        "rheostat_scaler_engine_scrape_failures_total",
        Kind::Counter,
        "",
        "Scrapes of engines by this scaler itself that failed, by why.",
    )?;
    for (kind, count) in stats.failures() {
        failures.sample(&[("reason", kind.name())], count.value())?;
    }
    encoder
        .family(
            "rheostat_scaler_engine_scrape_duration_seconds",
            Kind::Histogram,
            "seconds",
            "How long scrapes of engines by this scaler itself took.",
        )?
        .histogram(&[], &stats.durations.snapshot())
}

fn triggers(encoder: &mut Encoder, state: &State) -> Result<(), EncodeError> {
    let snapshot = state.snapshots.latest();
    let workloads = snapshot.workloads();
    #[expect(clippy::cast_precision_loss, reason = "a count of workloads")]
    encoder
        .family(
            "rheostat_scaler_workloads",
            Kind::Gauge,
            "",
            "ScaledObjects and ScaledJobs with external triggers.",
        )?
        .sample(&[], workloads.len() as f64)?;
    let mut each = |name: &str, help: &str, number: &dyn Fn(&TriggerState) -> Option<f64>| {
        let mut family = encoder.family(name, Kind::Gauge, "", help)?;
        for (workload, trigger) in all(workloads) {
            if let Some(number) = number(trigger) {
                let index = trigger.index.to_string();
                family.sample(&labels(workload, trigger, &index), number)?;
            }
        }
        Ok::<_, EncodeError>(())
    };
    each(
        "rheostat_trigger_value",
        "The value that KEDA is given, in the unit of the trigger's target; missing while it is an error.",
        &|trigger| trigger.answer.value(),
    )?;
    each("rheostat_trigger_target", "The trigger's target.", &|trigger| {
        Some(trigger.trigger()?.target())
    })?;
    each(
        "rheostat_trigger_active",
        "Whether KEDA is told that there is demand (1) or none (0); missing while it is an error.",
        &|trigger| trigger.answer.active().map(|active| f64::from(u8::from(active))),
    )?;
    each("rheostat_trigger_ready_pods", "Pods that serve.", &|trigger| {
        Some(f64::from(trigger.evaluation.as_ref()?.coverage.ready))
    })?;
    each(
        "rheostat_trigger_known_pods",
        "Pods that serve and could be read.",
        &|trigger| Some(f64::from(trigger.evaluation.as_ref()?.coverage.known)),
    )?;
    let mut answers = encoder.family(
        "rheostat_trigger_answer",
        Kind::Gauge,
        "",
        "What the trigger's answer rests on: 1 for the basis in force.",
    )?;
    for (workload, trigger) in all(workloads) {
        let index = trigger.index.to_string();
        let mut labels = labels(workload, trigger, &index).to_vec();
        labels.push(("basis", basis(&trigger.answer)));
        answers.sample(&labels, 1.0)?;
    }
    Ok(())
}

fn all(workloads: &[std::sync::Arc<WorkloadState>]) -> impl Iterator<Item = (&WorkloadState, &TriggerState)> {
    workloads.iter().flat_map(|workload| {
        workload
            .triggers
            .iter()
            .map(move |trigger| (&**workload, trigger))
    })
}

fn labels<'a>(
    workload: &'a WorkloadState,
    trigger: &TriggerState,
    index: &'a str,
) -> [(&'static str, &'a str); 5] {
    let id = &workload.workload.id;
    let signal = trigger.trigger().map_or("", rheostat_policy::Trigger::kind);
    [
        ("namespace", &id.namespace),
        ("name", &id.name),
        ("kind", id.kind.as_str()),
        ("trigger", index),
        ("signal", signal),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a microsecond more or less")]
fn seconds(moment: rheostat_reading::Timestamp) -> f64 {
    (moment.unix_nanos() / 1_000) as f64 / 1e6
}
