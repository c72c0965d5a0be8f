use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rheostat_engines::Secret;
use rheostat_promql::{QueryError, check_query};

/// The servers that may be asked, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers(pub(crate) BTreeMap<Arc<str>, Arc<ServerConfig>>);

/// Where a server is, how it is asked, and what it may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// `http://` or `https://`, host, and path where the API is not at the root.
    pub url: String,
    /// File with the certificates (PEM) that the server's must lead to; `None` for the system's.
    pub ca: Option<PathBuf>,
    /// Name in the server's certificate; `None` for the URL's host.
    pub server_name: Option<String>,
    /// Whether any certificate is taken.
    pub insecure_skip_verify: bool,
    /// File with a token, read again for each query.
    pub bearer_token_file: Option<PathBuf>,
    /// User name, and file with the password, read again for each query.
    pub basic_auth: Option<(String, PathBuf)>,
    /// Further headers, such as `X-Scope-OrgID`.
    pub headers: BTreeMap<String, Secret>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whether queries are bound to the workload's namespace.
    pub enforcement: Enforcement,
    /// How many different queries are asked.
    pub max_queries: usize,
    /// How many are asked at once.
    pub max_concurrent: usize,
}

/// Whether a server's queries are bound to the namespace of the workload they are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// Every selector matches the namespace by this label.
    Label(String),
    /// Queries see whatever the server has.
    Off,
}

/// A query as it is sent to a server. Triggers that ask for the same share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId {
    /// The server's name.
    pub server: Arc<str>,
    /// PromQL, bound to a namespace where the server's queries are.
    pub query: Arc<str>,
}

/// A trigger's query that is not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// No such server.
    #[error("no Prometheus is configured as \"{name}\"; {}", Known(known))]
    UnknownServer {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The query is wrong or asks for too much.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl Servers {
    /// The server called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<ServerConfig>> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<ServerConfig>)> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is sent to `server` for a workload of `namespace` whose trigger says `query`.
    ///
    /// # Errors
    ///
    /// There is no such server, `query` is not PromQL, or it asks for another namespace where that is
    /// not allowed.
    pub fn bind(&self, server: &str, namespace: &str, query: &str) -> Result<QueryId, BindError> {
        let Some((name, config)) = self.0.get_key_value(server) else {
            return Err(BindError::UnknownServer {
                name: server.chars().take(64).collect(),
                known: self.0.keys().map(ToString::to_string).collect(),
            });
        };
        let checked = check_query(query)?;
        let query = match &config.enforcement {
            Enforcement::Off => checked.canonical(),
            Enforcement::Label(label) => checked.enforced(label, namespace)?,
        };
        Ok(QueryId {
            server: Arc::clone(name),
            query: query.into(),
        })
    }
}

impl FromIterator<(String, ServerConfig)> for Servers {
    fn from_iter<I: IntoIterator<Item = (String, ServerConfig)>>(servers: I) -> Self {
        let shared = |(name, config): (String, ServerConfig)| (name.into(), Arc::new(config));
        Self(servers.into_iter().map(shared).collect())
    }
}

impl ServerConfig {
    /// The server at `url` with everything else as it is by default: queries bound by the label
    /// `namespace`, 10 s for an answer, 200 queries, 4 at once.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ca: None,
            server_name: None,
            insecure_skip_verify: false,
            bearer_token_file: None,
            basic_auth: None,
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(10),
            enforcement: Enforcement::Label("namespace".to_owned()),
            max_queries: 200,
            max_concurrent: 4,
        }
    }
}

impl fmt::Display for QueryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.server, self.query)
    }
}

pub(crate) struct Known<'a>(pub(crate) &'a [String]);

impl fmt::Display for Known<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => out.write_str("none is configured"),
            names => write!(out, "configured are {}", names.join(", ")),
        }
    }
}
