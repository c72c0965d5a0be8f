use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::{LocalQueue, QueueWatch, ValueRef, ValueWatch, Values, Work};
use rheostat_engines::{EngineReport, Target, TargetId};
use rheostat_fleet::{DcgmSource, EngineReader, Fleet, FleetView, NoAgent};
use rheostat_prometheus::{QueryId, QueryResult, Sampler, Servers, ServersFile};
use rheostat_reading::Timestamp;
use rheostat_scraper::{Scraper, Stats};

use crate::assignment::{Assigned, Assignment, Reader, Wanted};

/// Whom the scaler asks by itself, besides Kubernetes' watches and the agents. What only a missing part
/// could tell is not known.
#[derive(Debug, Default)]
pub struct Inquiries {
    /// Asks engines that no agent asks.
    pub scraper: Option<Scraper>,
    /// Asks Prometheus.
    pub prometheus: Option<Prometheus>,
    /// Watches Kueue's queues.
    pub queues: Option<QueueWatch>,
    /// Reads Secrets and ConfigMaps that triggers name.
    pub values: Option<ValueWatch>,
    /// Stands in for agents that are not there.
    pub dcgm: Option<DcgmSource>,
}

/// Asks, and remembers what it asks for.
#[derive(Debug)]
pub(crate) struct Inquirer {
    inquiries: Inquiries,
    assignment: Assignment,
    queries: BTreeSet<QueryId>,
    queues: BTreeSet<LocalQueue>,
}

/// The Prometheus servers that the operator has configured.
#[derive(Debug)]
pub struct Prometheus {
    file: ServersFile,
    sampler: Arc<Sampler>,
    servers: Arc<Servers>,
    /// What was wrong with the file when it was last read: told once, not at every look.
    problem: Option<String>,
}

/// What was found out, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// What engines said to this scaler itself.
    pub engines: HashMap<TargetId, Arc<EngineReport>>,
    /// The servers that may be asked.
    pub servers: Arc<Servers>,
    /// What they answered.
    pub queries: Arc<HashMap<QueryId, Arc<QueryResult>>>,
    /// How much work waits, or why that is not known.
    pub work: BTreeMap<LocalQueue, Result<Work, String>>,
    /// What Secrets and ConfigMaps say.
    pub values: Values,
}

/// What the triggers want to be found out.
#[derive(Debug, Default)]
pub struct Wishes {
    pub(crate) engines: Vec<Wanted>,
    pub(crate) queries: BTreeSet<QueryId>,
    pub(crate) queues: BTreeSet<LocalQueue>,
    pub(crate) values: BTreeSet<ValueRef>,
}

/// How the asking fares, for metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct InquiryStats {
    pub(crate) scraper: Option<Arc<Stats>>,
    pub(crate) prometheus: Option<Arc<Sampler>>,
    pub(crate) dcgm: Option<DcgmSource>,
}

impl Inquiries {
    pub(crate) fn stats(&self) -> InquiryStats {
        InquiryStats {
            scraper: self.scraper.as_ref().map(Scraper::stats),
            prometheus: self.prometheus.as_ref().map(|one| Arc::clone(&one.sampler)),
            dcgm: self.dcgm.clone(),
        }
    }
}

/// For how long an agent must have been silent before a dcgm-exporter stands in for it.
const SILENCE: Duration = Duration::from_secs(5);

impl Inquirer {
    pub(crate) fn new(inquiries: Inquiries) -> Self {
        Self {
            inquiries,
            assignment: Assignment::default(),
            queries: BTreeSet::new(),
            queues: BTreeSet::new(),
        }
    }

    /// `view` with dcgm-exporters in the place of agents that are not there.
    pub(crate) fn stand_in(&self, view: &Arc<FleetView>, now: Timestamp) -> Arc<FleetView> {
        match &self.inquiries.dcgm {
            Some(dcgm) => dcgm.stand_in(view, SILENCE, now),
            None => Arc::clone(view),
        }
    }

    /// What is known now. May read a small file.
    pub(crate) fn findings(&mut self) -> Findings {
        let inquiries = &mut self.inquiries;
        let (servers, queries) = match &mut inquiries.prometheus {
            Some(prometheus) => (prometheus.servers(), prometheus.sampler.board().all()),
            None => Default::default(),
        };
        let work = inquiries.queues.as_ref().map_or_else(BTreeMap::new, |watch| {
            let work = |queue: &LocalQueue| (queue.clone(), watch.work(queue));
            self.queues.iter().map(work).collect()
        });
        Findings {
            engines: inquiries.scraper.as_ref().map_or_else(HashMap::new, |scraper| {
                scraper.board().all().into_iter().collect()
            }),
            servers,
            queries,
            work,
            values: inquiries
                .values
                .as_ref()
                .map(ValueWatch::latest)
                .unwrap_or_default(),
        }
    }

    /// Asks for what is wished from now on, and for nothing else: agents for the engines of their node,
    /// this scaler itself where no agent does.
    pub(crate) fn ask(&mut self, now: Timestamp, wishes: Wishes, fleet: &Fleet, view: &FleetView) {
        let Wishes {
            engines,
            queries,
            queues,
            values,
        } = wishes;
        // A token is not sent over a stream that anybody on the way can read.
        let is_secret = |target: &Target| target.endpoint.bearer.is_some() && !fleet.is_protected();
        let reader = |wanted: &Wanted| match view.engine_reader(&wanted.node, &wanted.id, now) {
            _ if is_secret(&wanted.target) => Reader::Nobody,
            EngineReader::Agent(_) => Reader::Agent,
            // Not asked for until now: the agent is told in a moment.
            EngineReader::Undecided | EngineReader::NoAgent(NoAgent::NotWanted) => Reader::Undecided,
            EngineReader::NoAgent(_) => Reader::Nobody,
        };
        let Assigned { mut agents, own } = self.assignment.decide(now, &engines, reader);
        for targets in agents.values_mut() {
            targets.retain(|target| !is_secret(target));
        }
        fleet.set_engines(agents);
        if let Some(scraper) = &self.inquiries.scraper {
            scraper.set_targets(own.into_iter().map(|(id, target)| (id, (*target).clone())));
        }
        let is_new = self.queries != queries;
        if let Some(prometheus) = self.inquiries.prometheus.as_ref().filter(|_| is_new) {
            prometheus.sampler.set_queries(queries.iter().cloned());
            self.queries = queries;
        }
        if let Some(watch) = &self.inquiries.queues {
            watch.want(queues.clone());
            self.queues = queues;
        }
        if let Some(watch) = &self.inquiries.values {
            watch.want(values);
        }
    }
}

impl Prometheus {
    /// The servers of `file`, which is followed, asked by `sampler`.
    #[must_use]
    pub fn new(file: ServersFile, sampler: Sampler) -> Self {
        let mut prometheus = Self {
            file,
            sampler: Arc::new(sampler),
            servers: Arc::default(),
            problem: None,
        };
        prometheus.servers();
        prometheus
    }

    /// The servers as they are configured now; what cannot be read changes nothing.
    fn servers(&mut self) -> Arc<Servers> {
        match self.file.poll() {
            Some(Ok(servers)) => {
                let names: Vec<_> = servers.iter().map(|(name, _)| name.as_ref()).collect();
                tracing::info!(servers = names.join(", "), "Prometheus servers configured");
                self.sampler.set_servers(&servers);
                self.servers = Arc::new(servers);
                self.problem = None;
            }
            Some(Err(error)) => {
                let problem = Some(error.to_string());
                if self.problem != problem {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(
                        error,
                        "the Prometheus servers cannot be read; those that were stay"
                    );
                    self.problem = problem;
                }
            }
            None => {}
        }
        Arc::clone(&self.servers)
    }
}
