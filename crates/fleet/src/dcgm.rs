//! dcgm-exporters as stand-ins for agents.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rheostat_backoff::Backoff;
use rheostat_dcgm::{Attribution, DcgmClaim, DcgmDevice, DcgmPage, PageError, read_page};
use rheostat_reading::{Clock, Timestamp};
use rheostat_scraper::{Client, FetchError, Limits, Request, RequestError, Security, Server};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::view::{ClaimView, DeviceView, FleetView, NodeView, SourceState};

/// Where a dcgm-exporter serves its page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DcgmEndpoint {
    /// The node that it runs on; its page does not tell reliably.
    pub node: String,
    /// Address and port of its pod.
    pub address: SocketAddr,
    /// Path of the page, usually `/metrics`.
    pub path: String,
}

/// How exporters are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DcgmOptions {
    /// Time between two fetches. Shorter than what counts as silence, however seldom the exporter
    /// collects: what is silent is not read at all.
    pub period: Duration,
    /// What the exporter was told as its `--collect-interval`: the window of its means.
    pub collect_interval: Duration,
    /// How long a fetch may take.
    pub timeout: Duration,
    /// Bytes of a page.
    pub max_page: usize,
    /// Fetches at once.
    pub concurrency: usize,
    /// The longest pause after failures.
    pub max_pause: Duration,
    /// Where the randomness starts; different in each process.
    pub seed: u64,
}

impl Default for DcgmOptions {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(2),
            // The exporter's own default.
            collect_interval: Duration::from_secs(30),
            timeout: Duration::from_secs(3),
            max_page: 4 << 20,
            concurrency: 32,
            max_pause: Duration::from_secs(15),
            seed: std::hash::RandomState::new().hash_one("dcgm"),
        }
    }
}

/// Every exporter's newest page, as the view of its node. Cheap to clone; the last clone dropped ends
/// the fetching.
///
/// As with agents, silence does not empty a view: it grows old until its endpoint is gone.
#[derive(Clone, Debug)]
pub struct DcgmSource {
    state: Arc<Mutex<BTreeMap<DcgmEndpoint, Exporter>>>,
    _driver: Arc<Task>,
}

/// How an exporter fares.
#[derive(Clone, Debug, Default)]
pub struct Exporter {
    /// What its last good page said.
    pub view: Option<Arc<NodeView>>,
    /// Why there is none newer, and since when; `None` while there is nothing wrong.
    pub failure: Option<(Timestamp, String)>,
    /// Good pages so far.
    pub pages: u64,
    /// Failures so far.
    pub failures: u64,
    /// Lines that made no sense, so far.
    pub malformed: u64,
}

/// A page could not be had.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("{0}")]
    Page(#[from] PageError),
}

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl DcgmSource {
    /// Asks every exporter of `endpoints`, as they come and go. Needs a tokio runtime.
    #[must_use]
    pub fn start(options: DcgmOptions, clock: Clock, endpoints: watch::Receiver<Vec<DcgmEndpoint>>) -> Self {
        let state = Arc::default();
        let driver = drive(options, clock, endpoints, Arc::clone(&state));
        Self {
            state,
            _driver: Arc::new(Task(tokio::spawn(driver))),
        }
    }

    /// What the exporter on `node` last said; the newest, where there are several.
    #[must_use]
    pub fn node(&self, node: &str) -> Option<Arc<NodeView>> {
        let state = self.state.lock();
        let of_node = state.iter().filter(|(endpoint, _)| endpoint.node == node);
        of_node
            .filter_map(|(_, exporter)| exporter.view.as_ref())
            .max_by_key(|view| view.received_at)
            .map(Arc::clone)
    }

    /// All exporters, in the order of their nodes.
    #[must_use]
    pub fn exporters(&self) -> Vec<(DcgmEndpoint, Exporter)> {
        let state = self.state.lock();
        state
            .iter()
            .map(|(endpoint, exporter)| (endpoint.clone(), exporter.clone()))
            .collect()
    }

    /// `view` with exporters in the place of agents that are not there, or were silent for longer than
    /// `silent_after` at `now`. A live agent always wins: it knows more, and knows it earlier.
    ///
    /// An exporter that is silent as well takes nobody's place: the agent's last word stands, and its
    /// age is told.
    #[must_use]
    pub fn stand_in(&self, view: &Arc<FleetView>, silent_after: Duration, now: Timestamp) -> Arc<FleetView> {
        let mut stand_ins: HashMap<Arc<str>, Arc<NodeView>> = HashMap::new();
        for exporter in self.state.lock().values() {
            let Some(stand_in) = &exporter.view else { continue };
            let agent = view.node(&stand_in.node);
            let known = stand_ins.get(&stand_in.node).or(agent);
            let is_wanted = match (agent, known) {
                (Some(agent), _) if agent.age(now) <= silent_after => false,
                (Some(_), _) if stand_in.age(now) > silent_after => false,
                (_, Some(known)) => stand_in.received_at > known.received_at,
                (_, None) => true,
            };
            if is_wanted {
                stand_ins.insert(Arc::clone(&stand_in.node), Arc::clone(stand_in));
            }
        }
        if stand_ins.is_empty() {
            return Arc::clone(view);
        }
        let mut view = FleetView::clone(view);
        for (node, stand_in) in stand_ins {
            // An exporter says nothing of engines: what the agent said last stands, with its age.
            let engines = view.node(&node).map(|agent| agent.engines.clone());
            let stand_in = match engines.filter(|engines| !engines.is_empty()) {
                Some(engines) => Arc::new(NodeView {
                    engines,
                    ..NodeView::clone(&stand_in)
                }),
                None => stand_in,
            };
            view.nodes.insert(node, stand_in);
        }
        Arc::new(view)
    }
}

/// What `page`, fetched at `now` from the exporter on `node`, says in place of an agent.
///
/// `agent_version` is `dcgm-exporter`; claims have no resource, since the page names none, and as the
/// kubelet's id the device's with the replica's number.
///
/// # Errors
///
/// Nothing can be made of the page.
pub fn dcgm_view(
    page: &[u8],
    node: &str,
    now: Timestamp,
    collect_interval: Duration,
) -> Result<NodeView, PageError> {
    Ok(view_of(read_page(page, now, collect_interval)?, node, now))
}

fn view_of(page: DcgmPage, node: &str, now: Timestamp) -> NodeView {
    let attribution = match page.attribution {
        Attribution::Known => SourceState::Current,
        Attribution::NoPods => SourceState::Unknown {
            reason: "dcgm-exporter names no pod: nobody holds a GPU, or it was started without DCGM_EXPORTER_KUBERNETES, or cannot reach the kubelet".into(),
        },
    };
    let devices: Vec<DeviceView> = page.devices.into_iter().map(device).collect();
    let mut claims: Vec<ClaimView> = page
        .claims
        .into_iter()
        .map(|found| claim(found, &devices))
        .collect();
    claims.sort_by(|a, b| a.key().cmp(&b.key()));
    NodeView {
        node: node.into(),
        received_at: now,
        heard_since: now,
        agent_version: "dcgm-exporter".into(),
        sequence: 0,
        gpus: SourceState::Current,
        attribution,
        devices,
        claims,
        scrapes_engines: false,
        engines: Vec::new(),
    }
}

fn device(device: DcgmDevice) -> DeviceView {
    DeviceView {
        id: device.id.into(),
        parent: device.parent.map(Into::into),
        index: device.index,
        model: device.model.into(),
        profile: device.profile.map(Into::into),
        partitioned: device.partitioned,
        // The exporter leaves a lost GPU out.
        fault: None,
        readings: device.readings,
        throttle_reasons: Vec::new(),
    }
}

fn claim(claim: DcgmClaim, devices: &[DeviceView]) -> ClaimView {
    let device = devices.iter().find(|device| *device.id == *claim.device);
    ClaimView {
        namespace: claim.namespace,
        pod: claim.pod,
        container: claim.container,
        resource: String::new(),
        kubelet_id: match &claim.replica {
            Some(replica) => format!("{}::{replica}", claim.device),
            None => claim.device,
        },
        device: device.map(|device| Arc::clone(&device.id)),
        unresolved: None,
        shared: claim.shared,
        share: claim.share,
    }
}

/// Starts and ends the fetching as endpoints come and go.
async fn drive(
    options: DcgmOptions,
    clock: Clock,
    mut endpoints: watch::Receiver<Vec<DcgmEndpoint>>,
    state: Arc<Mutex<BTreeMap<DcgmEndpoint, Exporter>>>,
) {
    let lanes = Arc::new(Semaphore::new(options.concurrency));
    let mut running: HashMap<DcgmEndpoint, Task> = HashMap::new();
    loop {
        let wanted: HashSet<DcgmEndpoint> = endpoints.borrow_and_update().iter().cloned().collect();
        running.retain(|endpoint, task| wanted.contains(endpoint) && !task.0.is_finished());
        state.lock().retain(|endpoint, _| wanted.contains(endpoint));
        for endpoint in wanted {
            state.lock().entry(endpoint.clone()).or_default();
            running.entry(endpoint).or_insert_with_key(|endpoint| {
                let poller = Poller {
                    endpoint: endpoint.clone(),
                    options,
                    clock: clock.clone(),
                    lanes: Arc::clone(&lanes),
                    state: Arc::clone(&state),
                };
                Task(tokio::spawn(poller.run()))
            });
        }
        if endpoints.changed().await.is_err() {
            // Nobody can change the endpoints any more: they stay as they are.
            std::future::pending::<()>().await;
        }
    }
}

/// Fetches one exporter's page for ever.
struct Poller {
    endpoint: DcgmEndpoint,
    options: DcgmOptions,
    clock: Clock,
    lanes: Arc<Semaphore>,
    state: Arc<Mutex<BTreeMap<DcgmEndpoint, Exporter>>>,
}

impl Poller {
    async fn run(self) {
        let DcgmOptions {
            period, max_pause, ..
        } = self.options;
        let own = BuildHasherDefault::<DefaultHasher>::new().hash_one(&self.endpoint);
        let mut backoff = Backoff::new(period.min(max_pause), max_pause, self.options.seed ^ own);
        let server = Server::at(self.endpoint.address, Security::Plaintext);
        let limits = Limits {
            page: self.options.max_page,
            ..Limits::within(self.options.timeout)
        };
        let client = Client::new(server, limits);
        sleep(backoff.spread(period)).await;
        loop {
            let lane = self.lanes.acquire().await;
            let start = Instant::now();
            let outcome = self.fetch(&client).await;
            drop(lane);
            let next = match outcome {
                Ok((view, malformed)) => {
                    backoff.reset();
                    self.update(|exporter| {
                        let before = exporter.view.take();
                        // Since when it has been heard without a gap, as of an agent's stream.
                        let heard_since = before
                            .filter(|_| exporter.failure.is_none())
                            .map_or(view.received_at, |before| before.heard_since);
                        exporter.pages += 1;
                        exporter.malformed += malformed;
                        exporter.failure = None;
                        exporter.view = Some(Arc::new(NodeView {
                            sequence: exporter.pages,
                            heard_since,
                            ..view
                        }));
                    });
                    start + period
                }
                Err(failed) => {
                    let now = self.clock.now();
                    self.update(|exporter| {
                        exporter.failures += 1;
                        let since = exporter.failure.take().map(|(since, _)| since);
                        if since.is_none() {
                            let node = &self.endpoint.node;
                            tracing::warn!(node, reason = %failed, "no page from dcgm-exporter");
                        }
                        exporter.failure = Some((since.unwrap_or(now), failed.to_string()));
                    });
                    Instant::now() + backoff.pause()
                }
            };
            sleep_until(next).await;
        }
    }

    async fn fetch(&self, client: &Client) -> Result<(NodeView, u64), Failed> {
        let request = Request::get(&self.endpoint.path)?.accept("text/plain;version=0.0.4");
        let page = client.fetch(&request).await?;
        let now = self.clock.now();
        let page = read_page(&page.content, now, self.options.collect_interval)?;
        let malformed = page.malformed as u64;
        Ok((view_of(page, &self.endpoint.node, now), malformed))
    }

    /// Changes what is known of this exporter, unless it is gone.
    fn update(&self, change: impl FnOnce(&mut Exporter)) {
        if let Some(exporter) = self.state.lock().get_mut(&self.endpoint) {
            change(exporter);
        }
    }
}
