use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rheostat_reading::Clock;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::batcher::{Occupancy, Request, RequestId};
use super::cores::{Cores, CoresError, NotTaken};
use super::door::{Behind, Door};
use super::flavour::Flavour;
use super::http;
use super::load::LOOK;
use super::misbehaviour::Misbehaviour;
use super::page::Gauges;
use super::service::Service;
use super::settings::ModelSettings;
use super::tally::{Quantity, Totals};

/// An engine on a socket. It must be started within a tokio runtime and ends when it is dropped.
pub struct MockEngine {
    service: Arc<Service>,
    api: Door,
    /// Where the page is, if not beside the API.
    page: Option<Door>,
    driving: JoinHandle<()>,
}

/// What a mock engine is like.
#[derive(Clone)]
pub struct EngineOptions {
    /// Which engine it passes for.
    pub flavour: Flavour,
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// Where its page is, and only there, as with Triton and TorchServe; beside the API if `None`.
    pub metrics_address: Option<SocketAddr>,
    /// Names of the models that it serves; the first answers requests that name none.
    pub models: Vec<String>,
    /// Data-parallel ranks of each model.
    pub ranks: usize,
    /// How many adapters (LoRA) can be loaded; vLLM's flavours only.
    pub max_adapters: usize,
    /// Each model on each rank.
    pub model: ModelSettings,
    /// Tokens of an answer where a request does not limit it.
    pub output_tokens: u32,
    /// Where time comes from: iterations take their time on this clock.
    pub clock: Clock,
    /// How often a clock that is not real time is looked at; one that is may be left alone for long.
    pub look: Duration,
    /// A bearer token without which nothing is answered.
    pub token: Option<String>,
    /// TLS; plain HTTP if `None`.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// An engine cannot be started or changed as wanted.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The settings make no engine.
    #[error(transparent)]
    Cores(#[from] CoresError),
    /// There is nothing to serve.
    #[error("{0} is empty; at least 1 is needed")]
    Nothing(&'static str),
    /// The flavour's page cannot tell several of these apart.
    #[error("{given} {what}, but the page of {flavour} cannot tell more than 1 apart")]
    Several {
        /// Which flavour.
        flavour: Flavour,
        /// Several of what.
        what: &'static str,
        /// How many.
        given: usize,
    },
    /// It cannot listen, or has stopped.
    #[error("{address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

impl Default for EngineOptions {
    /// A vLLM with Llama-3.1-8B on an H100, on a free port of the loopback, in real time.
    fn default() -> Self {
        Self {
            flavour: Flavour::default(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            metrics_address: None,
            models: vec!["llama-3.1-8b".into()],
            ranks: 1,
            max_adapters: 4,
            model: ModelSettings::default(),
            output_tokens: 128,
            clock: Clock::system(),
            look: LOOK,
            token: None,
            tls: None,
        }
    }
}

impl EngineOptions {
    /// The default engine of another flavour.
    #[must_use]
    pub fn of(flavour: Flavour) -> Self {
        Self {
            flavour,
            ..Self::default()
        }
    }

    fn check(&self) -> Result<(), EngineError> {
        let flavour = self.flavour;
        let several = |what, given: usize, can: bool| match given {
            0 => Err(EngineError::Nothing(what)),
            1 => Ok(()),
            _ if can => Ok(()),
            _ => Err(EngineError::Several { flavour, what, given }),
        };
        several("models", self.models.len(), flavour.tells_models_apart())?;
        several("ranks", self.ranks, flavour.tells_ranks_apart())
    }
}

impl MockEngine {
    /// Starts an engine.
    ///
    /// # Errors
    ///
    /// The options make no engine, or an address is taken.
    pub async fn start(options: EngineOptions) -> Result<Self, EngineError> {
        options.check()?;
        let cores = Arc::new(Cores::new(
            options.flavour,
            options.model,
            options.models,
            options.ranks,
            options.max_adapters,
            options.clock,
        )?);
        let service = Arc::new(Service::new(
            options.flavour,
            Arc::clone(&cores),
            options.token,
            options.output_tokens,
        ));
        let tls = options.tls.map(TlsAcceptor::from);
        let open = |address, api, has_page| {
            let behind = Behind {
                service: Arc::clone(&service),
                api,
                has_page,
            };
            Door::open(address, tls.clone(), behind).map_err(|source| EngineError::Listen { address, source })
        };
        let api = open(
            options.address,
            http::router(&service),
            options.metrics_address.is_none(),
        )?;
        let page = match options.metrics_address {
            Some(address) => Some(open(address, axum::Router::new(), true)?),
            None => None,
        };
        let look = options.look;
        let driving = tokio::spawn(async move { cores.drive(look).await });
        Ok(Self {
            service,
            api,
            page,
            driving,
        })
    }

    /// Where its API is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.api.address()
    }

    /// Where its page with metrics is.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        self.page.as_ref().unwrap_or(&self.api).address()
    }

    /// Which engine it passes for.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.service.flavour
    }

    /// Behaves like this from now on; when this returns, new connections see it.
    ///
    /// # Errors
    ///
    /// The port cannot be bound again.
    pub async fn misbehave(&self, misbehaviour: Misbehaviour) -> Result<(), EngineError> {
        self.service.set_misbehaviour(misbehaviour);
        for door in self.doors() {
            let address = door.address();
            door.behave()
                .await
                .map_err(|source| EngineError::Listen { address, source })?;
        }
        Ok(())
    }

    /// Dies and comes back at once: connections end, requests are gone, counters start at zero,
    /// adapters are not loaded. Misbehaviour stays.
    ///
    /// # Errors
    ///
    /// It has stopped.
    pub async fn restart(&self) -> Result<(), EngineError> {
        for door in self.doors() {
            let address = door.address();
            door.cut()
                .await
                .map_err(|source| EngineError::Listen { address, source })?;
        }
        Ok(self.service.cores.restart()?)
    }

    /// Falls asleep, its weights offloaded: no iteration begins, requests wait.
    pub fn sleep(&self) {
        self.service.cores.set_sleep(1);
    }

    /// Wakes up.
    pub fn wake(&self) {
        self.service.cores.set_sleep(0);
    }

    /// Hands a request to the first model, without HTTP. It arrives now, on the engine's clock.
    ///
    /// # Errors
    ///
    /// The model cannot serve it.
    pub fn submit(&self, request: Request) -> Result<RequestId, NotTaken> {
        Ok(self.service.cores.begin(None, request)?.detach())
    }

    /// As [`MockEngine::submit`], for a model or a loaded adapter.
    ///
    /// # Errors
    ///
    /// There is no such model, or it cannot serve the request.
    pub fn submit_to(&self, model: &str, request: Request) -> Result<RequestId, NotTaken> {
        Ok(self.service.cores.begin(Some(model), request)?.detach())
    }

    /// Has every model on every rank say these on its page, whatever is so.
    pub fn set_gauges(&self, gauges: Gauges) {
        self.service.cores.set_gauges(None, gauges);
    }

    /// As [`MockEngine::set_gauges`], for one core alone: all ranks of the first model come first.
    pub fn set_core_gauges(&self, core: usize, gauges: Gauges) {
        self.service.cores.set_gauges(Some(core), gauges);
    }

    /// Adds a value of `quantity` to the first core's histograms, as if it had been measured.
    pub fn measure(&self, quantity: Quantity, value: f64) {
        self.service.cores.measure(quantity, value);
    }

    /// How full each core is now.
    #[must_use]
    pub fn occupancy(&self) -> Vec<Occupancy> {
        self.service.cores.occupancy()
    }

    /// What each core has counted until now.
    #[must_use]
    pub fn totals(&self) -> Vec<Totals> {
        self.service.cores.totals()
    }

    /// The page as it would be served now; `None` where the flavour has none.
    #[must_use]
    pub fn page(&self) -> Option<String> {
        let not_a_number = self.service.misbehaviour() == Misbehaviour::NotANumber;
        self.service.cores.page(not_a_number)
    }

    /// How often its page was asked for, by client address, also when it did not answer.
    #[must_use]
    pub fn scrapes(&self) -> BTreeMap<IpAddr, u64> {
        self.service.scrapes()
    }

    /// Connections accepted so far, of all clients.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.service.connections()
    }

    fn doors(&self) -> impl Iterator<Item = &Door> {
        std::iter::once(&self.api).chain(&self.page)
    }
}

impl fmt::Debug for MockEngine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("MockEngine")
            .field("flavour", &self.flavour())
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

impl Drop for MockEngine {
    fn drop(&mut self) {
        self.driving.abort();
    }
}
