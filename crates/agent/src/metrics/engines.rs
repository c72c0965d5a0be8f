use std::collections::HashSet;

use rheostat_engines::{Engine, Sleep};
use rheostat_promtext::{Counter, Encoder, Kind};
use rheostat_reading::EngineQuantity;

use super::own::{number, seconds};
use super::{Labels, family, reason, tally, unit_name};
use crate::engines::Engines;
use crate::{NodeSnapshot, ScrapedEngine};

/// What the engines say, under our names.
///
/// One series for each view of an engine: an empty `model` stands for all of its models together, so
/// that sums go over one of the two. Of views that differ only in their window, the one with the
/// shortest is shown. An engine that did not answer when it was last asked has no readings here.
pub(super) fn write(page: &mut Encoder, snapshot: &NodeSnapshot) {
    let engines = snapshot.engines.as_deref().unwrap_or_default();
    let rows = rows(engines);
    let up = rows.iter().filter_map(|row| {
        let report = &row.engine.report;
        let value = match (&report.failure, report.answered_at) {
            (Some(_), _) => 0.0,
            (None, Some(_)) => 1.0,
            // It is about to be asked.
            (None, None) => return None,
        };
        Some((row.labels(), value))
    });
    family(
        page,
        "rheostat_engine_up",
        Kind::Gauge,
        "",
        "Whether the engine answered when it was last asked.",
        up,
    );
    let answered = rows
        .iter()
        .filter_map(|row| Some((row.labels(), seconds(row.engine.report.answered_at?.unix_nanos()))));
    family(
        page,
        "rheostat_engine_last_answer_timestamp_seconds",
        Kind::Gauge,
        "seconds",
        "When the engine last answered.",
        answered,
    );
    let sound: Vec<_> = rows
        .iter()
        .filter(|row| row.engine.report.failure.is_none())
        .collect();
    let asleep = sound.iter().filter_map(|row| {
        let value = match row.engine.report.sleep {
            Sleep::Unknown => return None,
            Sleep::Awake => 0.0,
            Sleep::Asleep => 1.0,
        };
        Some((row.labels(), value))
    });
    family(
        page,
        "rheostat_engine_asleep",
        Kind::Gauge,
        "",
        "Whether the engine has been put to sleep and serves nobody.",
        asleep,
    );
    for &quantity in EngineQuantity::ALL {
        let name = format!("rheostat_engine_{}", unit_name(quantity));
        let samples = sound.iter().filter_map(|row| {
            let value = row.engine.report.readings.value(quantity)?;
            Some((row.labels(), value))
        });
        family(
            page,
            &name,
            Kind::Gauge,
            quantity.unit().suffix(),
            help(quantity),
            samples,
        );
    }
    let absences = sound.iter().flat_map(|row| {
        let readings = row.engine.report.readings.iter();
        readings.filter_map(|(quantity, observed)| Some((quantity, reason(observed.err()?))))
    });
    let absent = tally(absences);
    family(
        page,
        "rheostat_engine_readings_absent",
        Kind::Gauge,
        "",
        "Views of engines that lack a reading, by quantity and reason. An absent reading has no series of its own.",
        absent.iter().map(|((quantity, reason), count)| {
            (vec![("quantity", quantity.name()), ("reason", reason)], *count)
        }),
    );
}

/// What scraping them took.
pub(super) fn write_own(page: &mut Encoder, engines: &Engines) {
    let (sizes, stats) = (engines.sizes(), engines.stats());
    let gauges = [
        (
            "rheostat_agent_engine_targets",
            "Different targets that subscribers have named and the agent reads.",
            sizes.targets as u64,
        ),
        (
            "rheostat_agent_engine_targets_refused",
            "Targets that subscribers have named and the agent does not read: malformed, forbidden or too many.",
            sizes.refused as u64 + stats.refused(),
        ),
        (
            "rheostat_agent_engine_endpoints",
            "Engines that are scraped.",
            stats.endpoints(),
        ),
        (
            "rheostat_agent_engine_scrapes_in_flight",
            "Scrapes that are going on.",
            stats.in_flight(),
        ),
    ];
    for (name, help, value) in gauges {
        family(page, name, Kind::Gauge, "", help, [(vec![], number(value))]);
    }
    let counters: [(&str, &str, &str, &Counter); 4] = [
        (
            "rheostat_agent_engine_scrapes_total",
            "",
            "Scrapes that ended, well or not.",
            &stats.scrapes,
        ),
        (
            "rheostat_agent_engine_pages_total",
            "",
            "Pages that engines sent.",
            &stats.pages,
        ),
        (
            "rheostat_agent_engine_connections_total",
            "",
            "Connections to engines that were opened and gave a page.",
            &stats.connections,
        ),
        (
            "rheostat_agent_engine_received_bytes_total",
            "bytes",
            "Bytes of pages as they were sent.",
            &stats.bytes_sent,
        ),
    ];
    for (name, unit, help, counter) in counters {
        family(page, name, Kind::Counter, unit, help, [(vec![], counter.value())]);
    }
    let failures = stats.failures();
    family(
        page,
        "rheostat_agent_engine_scrape_failures_total",
        Kind::Counter,
        "",
        "Scrapes that failed, by why.",
        failures.map(|(kind, counter)| (vec![("reason", kind.name())], counter.value())),
    );
    let durations = page
        .family(
            "rheostat_agent_engine_scrape_duration_seconds",
            Kind::Histogram,
            "seconds",
            "How long scrapes took.",
        )
        .and_then(|mut family| family.histogram(&[], &stats.durations.snapshot()));
    if let Err(error) = durations {
        tracing::error!(%error, "a metric cannot be written");
    }
}

/// A view of an engine with what names it on the page.
struct Row<'a> {
    engine: &'a ScrapedEngine,
    namespace: &'a str,
    pod: &'a str,
    port: String,
}

fn rows(engines: &[ScrapedEngine]) -> Vec<Row<'_>> {
    let mut engines: Vec<_> = engines.iter().collect();
    // The order among equals is that of their ids.
    engines.sort_by_key(|engine| engine.target.view.window);
    let mut rows: Vec<_> = engines.into_iter().map(Row::new).collect();
    let mut seen = HashSet::new();
    rows.retain(|row| {
        let view = &row.engine.target.view;
        let endpoint = &row.engine.target.endpoint;
        let port = endpoint.address.port();
        seen.insert((&row.engine.target.owner, port, &view.model, &view.adapter))
    });
    rows
}

impl<'a> Row<'a> {
    fn new(engine: &'a ScrapedEngine) -> Self {
        let owner = &engine.target.owner;
        let (namespace, pod) = owner.split_once('/').unwrap_or(("", owner));
        Self {
            engine,
            namespace,
            pod,
            port: engine.target.endpoint.address.port().to_string(),
        }
    }

    fn labels(&self) -> Labels<'_> {
        let view = &self.engine.target.view;
        vec![
            ("namespace", self.namespace),
            ("pod", self.pod),
            ("port", &self.port),
            ("engine", self.engine.report.engine.map_or("", Engine::name)),
            ("model", view.model.as_deref().unwrap_or_default()),
            ("adapter", view.adapter.as_deref().unwrap_or_default()),
        ]
    }
}

fn help(quantity: EngineQuantity) -> &'static str {
    use EngineQuantity as Q;
    match quantity {
        Q::Waiting => "Requests that wait for a place in the batch.",
        Q::Running => "Requests in the batch.",
        Q::Concurrency => "Requests that wait or are in the batch.",
        Q::KvCacheUsage => "Part of the KV cache in use by requests.",
        Q::TtftMean => "Time to the first token: mean over the window.",
        Q::TtftP50 => "Time to the first token: median over the window.",
        Q::TtftP90 => "Time to the first token: 90th percentile over the window.",
        Q::TtftP95 => "Time to the first token: 95th percentile over the window.",
        Q::TtftP99 => "Time to the first token: 99th percentile over the window.",
        Q::ItlMean => "Time between two tokens: mean over the window.",
        Q::ItlP50 => "Time between two tokens: median over the window.",
        Q::ItlP90 => "Time between two tokens: 90th percentile over the window.",
        Q::ItlP95 => "Time between two tokens: 95th percentile over the window.",
        Q::ItlP99 => "Time between two tokens: 99th percentile over the window.",
        Q::TpotMean => "Mean time between the tokens of a finished request: mean over the window.",
        Q::TpotP50 => "Mean time between the tokens of a finished request: median over the window.",
        Q::TpotP90 => "Mean time between the tokens of a finished request: 90th percentile over the window.",
        Q::TpotP95 => "Mean time between the tokens of a finished request: 95th percentile over the window.",
        Q::TpotP99 => "Mean time between the tokens of a finished request: 99th percentile over the window.",
        Q::E2eMean => "Time of a whole request: mean over the window.",
        Q::E2eP50 => "Time of a whole request: median over the window.",
        Q::E2eP90 => "Time of a whole request: 90th percentile over the window.",
        Q::E2eP95 => "Time of a whole request: 95th percentile over the window.",
        Q::E2eP99 => "Time of a whole request: 99th percentile over the window.",
        Q::QueueTimeMean => "Time that requests waited: mean over the window.",
        Q::QueueTimeP50 => "Time that requests waited: median over the window.",
        Q::QueueTimeP90 => "Time that requests waited: 90th percentile over the window.",
        Q::QueueTimeP95 => "Time that requests waited: 95th percentile over the window.",
        Q::QueueTimeP99 => "Time that requests waited: 99th percentile over the window.",
        Q::RequestRate => "Requests finished per second, over the window.",
        Q::PromptTokenRate => "Prompt tokens read per second, over the window.",
        Q::GenerationTokenRate => "Tokens generated per second, over the window.",
        Q::TokenRate => "Prompt and generated tokens per second, over the window.",
        Q::PromptTokensMean => "Mean length of the prompts of finished requests, tokens.",
        Q::GenerationTokensMean => "Mean length of the answers of finished requests, tokens.",
        Q::PrefixCacheHitRate => "Part of the looked-up prompt tokens that the prefix cache held.",
        Q::PreemptionRate => "Requests thrown out of the batch per second, over the window.",
        Q::LoraAdapters => "LoRA adapters loaded.",
        Q::ModelsLoaded => "Models loaded.",
        Q::KvBlocks => "Blocks of the KV cache, used or not.",
        Q::KvTokens => "Tokens that the KV cache can hold.",
        Q::MaxSequences => "Requests that fit the batch at once.",
        Q::MaxContext => "Longest context, tokens.",
    }
}
