use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rheostat_engines::Secret;
use rheostat_scraper::{Authorization, Client, Failure, Limits, Request, Server, TlsOptions};

use crate::answer::{Answer, api_error};
use crate::failure::QueryFailure;
use crate::file::read_at_most;
use crate::servers::ServerConfig;

/// Asks one server, with the certificates and credentials that are in their files at that moment.
pub(crate) struct Asker {
    config: Arc<ServerConfig>,
    kept: Mutex<Option<Kept>>,
}

/// A client that can be used again while its CA is the same.
struct Kept {
    ca_pem: Option<String>,
    client: Arc<Client>,
    /// What the URL has before the API's path.
    path: String,
}

/// What is in a server's files.
struct Files {
    ca_pem: Option<String>,
    authorization: Option<Authorization>,
}

/// Bytes of a certificate file, and of a token's or password's.
const MAX_CA: u64 = 1 << 20;
const MAX_SECRET: u64 = 64 << 10;

/// Bytes of an answer: a thousand series with long labels.
const MAX_ANSWER: usize = 2 << 20;

/// How much longer we wait than the server is told to try, so that its own error can come.
const MARGIN: Duration = Duration::from_millis(500);

const LONGEST_CONNECT: Duration = Duration::from_secs(5);

impl Asker {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Self {
        Self {
            config,
            kept: Mutex::default(),
        }
    }

    /// What the server answers to `query` at this moment.
    pub(crate) async fn ask(&self, query: &str) -> Result<Answer, QueryFailure> {
        let config = Arc::clone(&self.config);
        // Files of a hanging volume must not hold up others' queries.
        let read = tokio::task::spawn_blocking(move || Files::read(&config));
        let files = read.await.map_err(|error| QueryFailure::File {
            path: "credentials".into(),
            source: io::Error::other(error),
        })??;
        let (client, path) = self.client(files.ca_pem)?;
        let timeout = format!("{}ms", self.config.timeout.as_millis());
        let fields = [
            ("query", query),
            ("timeout", &timeout),
            // Thanos and VictoriaMetrics: an error rather than the sum of what is left. Others ignore them.
            ("partial_response", "false"),
            ("deny_partial_response", "1"),
        ];
        let mut request = Request::post_form(&format!("{path}/api/v1/query"), fields)?
            .accept("application/json")
            // Answers are small, and a refusal must be readable as far as it came.
            .compressed(false);
        for (name, value) in &self.config.headers {
            request = request.header(name, value)?;
        }
        if let Some(authorization) = &files.authorization {
            request = request.authorized(authorization)?;
        }
        match client.fetch(&request).await {
            Ok(page) => Answer::parse(&page.content),
            Err(error) => Err(match &error.failure {
                Failure::Status { start, .. } => api_error(start).unwrap_or(QueryFailure::Fetch(error)),
                _ => QueryFailure::Fetch(error),
            }),
        }
    }

    /// The client that trusts `ca_pem`, and the path before the API's.
    fn client(&self, ca_pem: Option<String>) -> Result<(Arc<Client>, String), QueryFailure> {
        let mut kept = self.kept.lock();
        if let Some(kept) = kept.as_ref().filter(|kept| kept.ca_pem == ca_pem) {
            return Ok((Arc::clone(&kept.client), kept.path.clone()));
        }
        let tls = TlsOptions {
            ca_pem,
            server_name: self.config.server_name.clone(),
            skip_verification: self.config.insecure_skip_verify,
        };
        let (server, path) = Server::from_url(&self.config.url, &tls)?;
        let whole = self.config.timeout + MARGIN;
        let limits = Limits {
            connect: LONGEST_CONNECT.min(whole),
            head: whole,
            whole,
            page: MAX_ANSWER,
        };
        let client = Arc::new(Client::new(server, limits));
        *kept = Some(Kept {
            ca_pem: tls.ca_pem,
            client: Arc::clone(&client),
            path: path.clone(),
        });
        Ok((client, path))
    }
}

impl Files {
    fn read(config: &ServerConfig) -> Result<Self, QueryFailure> {
        let secret = |path| read_text(path, MAX_SECRET).map(|text| Secret::new(text.trim().to_owned()));
        let authorization = match (&config.bearer_token_file, &config.basic_auth) {
            (Some(path), _) => Some(Authorization::Bearer(secret(path)?)),
            (None, Some((user, path))) => Some(Authorization::Basic {
                user: user.clone(),
                password: secret(path)?,
            }),
            (None, None) => None,
        };
        let ca_pem = config
            .ca
            .as_deref()
            .map(|path| read_text(path, MAX_CA))
            .transpose()?;
        Ok(Self {
            ca_pem,
            authorization,
        })
    }
}

fn read_text(path: &Path, most: u64) -> Result<String, QueryFailure> {
    let failed = |source| QueryFailure::File {
        path: path.into(),
        source,
    };
    let content = read_at_most(path, most)
        .map_err(failed)?
        .ok_or_else(|| failed(io::Error::other(format!("it has more than {most} bytes"))))?;
    String::from_utf8(content).map_err(|_| failed(io::Error::other("it is not UTF-8")))
}
