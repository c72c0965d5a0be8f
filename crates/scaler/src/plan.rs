//! What one trigger of one workload needs to be found out, and where the answers are.

use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::{LocalQueue, Values, Work, Workload, WorkloadKind};
use rheostat_engines::{EngineReport, TargetId};
use rheostat_fleet::FleetView;
use rheostat_policy::{EngineNeeds, KueueCount, Needs, OutsideSource, PrometheusQuery, Unseen};
use rheostat_prometheus::{QueryId, QueryResult, Servers};
use rheostat_reading::{Absent, Amount, Observed, Quality, Reading, Timestamp, Unit};

use crate::assignment::Wanted;
use crate::engine_targets::{PodTarget, pod_targets, value_refs};
use crate::inquiries::{Findings, Wishes};

/// Made anew when the workload, a Secret or the servers change.
#[derive(Debug)]
pub(crate) struct Plan {
    workload: Arc<Workload>,
    values: Values,
    servers: Arc<Servers>,
    /// In the order of the workload's pods.
    engines: Vec<PodTarget>,
    /// In the order of [`Needs::outside`].
    outside: Vec<Asked>,
}

/// Who knows a number of the workload.
#[derive(Debug)]
enum Asked {
    Prometheus(PrometheusQuery, Result<QueryId, String>),
    Queue(LocalQueue, KueueCount),
    UnfinishedJobs,
}

/// A report of so many periods' age is one whose next is overdue.
const OVERDUE: u32 = 3;
/// One of so many is too old for most triggers.
const OLD: u32 = 5;

impl Plan {
    pub(crate) fn new(workload: &Arc<Workload>, needs: &Needs, findings: &Findings) -> Self {
        let engine = needs.engine.as_ref();
        let asked = |source: &OutsideSource| Asked::new(source, workload, &findings.servers);
        Self {
            workload: Arc::clone(workload),
            values: findings.values.clone(),
            servers: Arc::clone(&findings.servers),
            engines: engine.map_or_else(Vec::new, |EngineNeeds { selection, .. }| {
                pod_targets(workload, selection, &findings.values)
            }),
            outside: needs.outside.iter().map(asked).collect(),
        }
    }

    /// Whether it still holds.
    pub(crate) fn is_current(&self, workload: &Arc<Workload>, findings: &Findings) -> bool {
        Arc::ptr_eq(&self.workload, workload)
            && self.values.is_same(&findings.values)
            && Arc::ptr_eq(&self.servers, &findings.servers)
    }

    /// Adds what it wants to be found out.
    pub(crate) fn wish(&self, needs: &Needs, wishes: &mut Wishes) {
        if let Some(engine) = &needs.engine {
            let namespace = &self.workload.id.namespace;
            wishes.values.extend(value_refs(namespace, &engine.selection));
        }
        let engines = self.engines.iter().filter_map(|one| {
            let (id, target) = one.target.as_ref().ok()?;
            Some(Wanted {
                id: id.clone(),
                target: Arc::clone(target),
                node: one.node.clone(),
            })
        });
        wishes.engines.extend(engines);
        for asked in &self.outside {
            match asked {
                Asked::Prometheus(_, Ok(query)) => drop(wishes.queries.insert(query.clone())),
                Asked::Queue(queue, _) => drop(wishes.queues.insert(queue.clone())),
                Asked::Prometheus(_, Err(_)) | Asked::UnfinishedJobs => {}
            }
        }
    }

    /// What the engine of `pod` said last, to whoever asked it.
    pub(crate) fn engine(
        &self,
        pod: &str,
        findings: &Findings,
        fleet: &FleetView,
        now: Timestamp,
    ) -> Result<Arc<EngineReport>, Unseen> {
        let place = self.engines.binary_search_by(|one| one.pod.as_str().cmp(pod));
        let one = place
            .ok()
            .and_then(|place| self.engines.get(place))
            .ok_or(Unseen::EngineNotAsked)?;
        let (id, target) = one.target.as_ref().map_err(Clone::clone)?;
        let own = findings.engines.get(id);
        let agents = of_agent(fleet, &one.node, id);
        let report = match (own, agents) {
            (Some(own), Some(agents)) => better(own, agents, target.endpoint.period, now),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return Err(Unseen::EngineNotAsked),
        };
        Ok(Arc::clone(report))
    }

    /// The numbers of the workload, in the order of [`Needs::outside`].
    pub(crate) fn outside(&self, findings: &Findings, now: Timestamp) -> Vec<Observed> {
        let observe = |asked: &Asked| match asked {
            Asked::Prometheus(query, Ok(id)) => of_prometheus(query, findings.queries.get(id)),
            Asked::Prometheus(_, Err(reason)) => Err(Absent::Failed(reason.clone())),
            Asked::Queue(queue, count) => of_queue(findings.work.get(queue), *count),
            Asked::UnfinishedJobs => self.unfinished_jobs(now),
        };
        self.outside.iter().map(observe).collect()
    }

    /// Of a ScaledJob its Jobs are what is scaled; other workloads have none.
    fn unfinished_jobs(&self, now: Timestamp) -> Observed {
        if self.workload.id.kind != WorkloadKind::ScaledJob {
            return Err(Absent::NotSupported);
        }
        match &self.workload.target {
            Ok(target) => {
                let at = target.stale.as_ref().map_or(now, |stale| stale.since);
                reading(f64::from(target.spec_replicas), at)
            }
            Err(problem) => Err(Absent::Failed(problem.to_string())),
        }
    }
}

impl Asked {
    fn new(source: &OutsideSource, workload: &Workload, servers: &Servers) -> Self {
        let namespace = &workload.id.namespace;
        match source {
            OutsideSource::Prometheus(query) => {
                let bound = servers.bind(&query.server, namespace, &query.query);
                Self::Prometheus(query.clone(), bound.map_err(|error| error.to_string()))
            }
            OutsideSource::Kueue(kueue) => Self::Queue(
                LocalQueue {
                    namespace: namespace.clone(),
                    name: kueue.queue.clone(),
                },
                kueue.count,
            ),
            OutsideSource::UnfinishedJobs => Self::UnfinishedJobs,
        }
    }
}

/// The better of two reports of one engine, while its scraping passes from one hand to the other: the
/// agent's, unless it is overdue or covers less time than our own. Rates and quantiles need that time;
/// an overdue report that has them is better than a fresh one that cannot have them yet.
fn better<'a>(
    own: &'a Arc<EngineReport>,
    agents: &'a Arc<EngineReport>,
    period: Duration,
    now: Timestamp,
) -> &'a Arc<EngineReport> {
    let within = |report: &EngineReport, periods: u32| {
        report
            .answered_at
            .is_some_and(|at| now.since(at) < period * periods)
    };
    let span = |report: &EngineReport| {
        let windows = report
            .readings
            .iter()
            .filter_map(|(_, read)| Some(read.ok()?.window));
        windows.max().unwrap_or(Duration::ZERO)
    };
    let take_own = match (within(own, OLD), within(agents, OLD)) {
        (true, true) => {
            let overdue = !within(agents, OVERDUE);
            span(own) > span(agents) || overdue && (span(own) > Duration::ZERO || span(agents).is_zero())
        }
        (true, false) => true,
        (false, true) => false,
        (false, false) => own.answered_at > agents.answered_at,
    };
    if take_own { own } else { agents }
}

fn of_agent<'a>(fleet: &'a FleetView, node: &str, id: &TargetId) -> Option<&'a Arc<EngineReport>> {
    Some(&fleet.node(node)?.engine(id)?.report)
}

fn of_prometheus(query: &PrometheusQuery, result: Option<&Arc<QueryResult>>) -> Observed {
    let result = result.ok_or(Absent::NotYet)?;
    match (&result.answered, &result.failed) {
        // However old: its time says so, and the trigger says how old is too old.
        (Some(answered), _) => {
            // A sum over a part of the series is a wrong number, and mostly one that is too small.
            if let Some(warning) = answered.answer.partial() {
                return Err(Absent::Failed(format!("the result may be partial: {warning}")));
            }
            let number = query.number(&answered.answer.data.values())?;
            reading(number, answered.asked_at)
        }
        (None, Some(failed)) => Err(Absent::Failed(failed.reason.clone())),
        (None, None) => Err(Absent::NotYet),
    }
}

fn of_queue(work: Option<&Result<Work, String>>, count: KueueCount) -> Observed {
    let work = work
        .ok_or(Absent::NotYet)?
        .as_ref()
        .map_err(|reason| Absent::Failed(reason.clone()))?;
    let number = match count {
        KueueCount::Workloads => work.workloads,
        KueueCount::Gpus => work.gpus.ok_or_else(|| {
            Absent::Failed("a Workload that waits asks for a number of GPUs that cannot be read".into())
        })?,
    };
    reading(f64::from(number), work.as_of)
}

fn reading(number: f64, at: Timestamp) -> Observed {
    let amount = Amount::new(number, Unit::Count)
        .ok_or_else(|| Absent::Failed(format!("{number} is no finite number")))?;
    Ok(Reading {
        amount,
        at,
        window: Duration::ZERO,
        quality: Quality::Measured,
    })
}

#[cfg(test)]
mod tests {
    use rheostat_engines::Sleep;
    use rheostat_reading::{EngineQuantity, Readings};

    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_unix_nanos(second * 1_000_000_000)
    }

    /// A report that was given at a second and covers so many.
    fn report(second: u64, span: u64) -> Arc<EngineReport> {
        let mut readings = Readings::new();
        readings.put(
            EngineQuantity::Waiting,
            1.0,
            at(second),
            Duration::ZERO,
            Quality::Measured,
        );
        if span > 0 {
            let window = Duration::from_secs(span);
            readings.put(
                EngineQuantity::RequestRate,
                1.0,
                at(second),
                window,
                Quality::Derived,
            );
        }
        Arc::new(EngineReport {
            engine: None,
            answered_at: Some(at(second)),
            failure: None,
            sleep: Sleep::Unknown,
            readings,
            notes: Vec::new(),
        })
    }

    /// Whether our own report is taken at second 100, with a period of 2 s.
    fn takes_own(own: (u64, u64), agents: (u64, u64)) -> bool {
        let (own, agents) = (report(own.0, own.1), report(agents.0, agents.1));
        Arc::ptr_eq(better(&own, &agents, Duration::from_secs(2), at(100)), &own)
    }

    #[test]
    fn the_report_that_knows_more_is_taken_while_scraping_changes_hands() {
        assert!(!takes_own((99, 60), (99, 60)), "the agent's, where both know all");
        assert!(
            !takes_own((99, 2), (98, 60)),
            "ours after a restart, beside a whole window"
        );
        assert!(takes_own((99, 60), (99, 2)), "the agent's after its restart");
        assert!(
            !takes_own((99, 0), (93, 60)),
            "one that has no rates yet does not hide those that are there"
        );
        assert!(
            takes_own((99, 2), (93, 60)),
            "an overdue one gives way to one with rates"
        );
        assert!(
            takes_own((99, 0), (93, 0)),
            "where there are only gauges the newer one counts"
        );
        assert!(takes_own((99, 0), (80, 60)), "an old one is worth nothing");
        assert!(!takes_own((80, 60), (99, 0)));
    }
}
