use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rheostat_engines::Secret;
use rheostat_scraper::{Request, Server, TlsOptions};
use serde::Deserialize;

use crate::servers::{Enforcement, ServerConfig, Servers};

/// The file that names the servers; YAML or JSON. Its schema is documented in
/// `docs/prometheus.md`.
#[derive(Debug)]
pub struct ServersFile {
    path: PathBuf,
    last: Option<Vec<u8>>,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is larger than any such file.
    #[error("{} has more than {MAX_FILE} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not UTF-8.
    #[error("the servers' file is not UTF-8")]
    NotUtf8,
    /// It is neither YAML nor JSON, or has keys or values of other kinds than are known.
    #[error("the servers' file: {0}")]
    Syntax(#[source] Box<serde_saphyr::Error>),
    /// A value is not one of those that are allowed.
    #[error("{key}: {value:?}: {allowed}")]
    Value {
        /// Where it stands, such as `main.timeout`.
        key: String,
        /// What stands there.
        value: String,
        /// What is allowed.
        allowed: String,
    },
}

/// Bytes of the file.
const MAX_FILE: u64 = 256 << 10;

/// Servers in the file.
const MAX_SERVERS: usize = 64;

/// How a server is written in the file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    url: String,
    ca: Option<PathBuf>,
    server_name: Option<String>,
    #[serde(default)]
    insecure_skip_verify: bool,
    bearer_token_file: Option<PathBuf>,
    basic_auth: Option<BasicAuth>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    timeout: Option<String>,
    enforce_namespace: Option<String>,
    max_queries: Option<usize>,
    max_concurrent: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BasicAuth {
    username: String,
    password_file: PathBuf,
}

impl ServersFile {
    /// The file at `path`, not read yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            last: None,
        }
    }

    /// The servers, if the file has changed since it was last asked for, or never was.
    ///
    /// Blocks while it reads. An error is told once for each content of the file, so that whoever polls
    /// it every few seconds can log it; the servers that were read before stay good.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or says something that is not allowed.
    pub fn poll(&mut self) -> Option<Result<Servers, ConfigError>> {
        let content = match self.read() {
            Ok(content) => content,
            Err(error) => {
                // What could not be read is not the content that was seen last: when it comes back,
                // it is new.
                self.last = None;
                return Some(Err(error));
            }
        };
        if self.last.as_ref() == Some(&content) {
            return None;
        }
        let text = std::str::from_utf8(&content).map_err(|_| ConfigError::NotUtf8);
        let servers = text.and_then(str::parse);
        self.last = Some(content);
        Some(servers)
    }

    fn read(&self) -> Result<Vec<u8>, ConfigError> {
        let path = || self.path.clone();
        read_at_most(&self.path, MAX_FILE)
            .map_err(|source| ConfigError::Read { path: path(), source })?
            .ok_or_else(|| ConfigError::TooLarge { path: path() })
    }
}

impl std::str::FromStr for Servers {
    type Err = ConfigError;

    /// Reads the servers from YAML or JSON.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let written: BTreeMap<String, Written> = if text.trim().is_empty() {
            BTreeMap::new()
        } else {
            serde_saphyr::from_str(text).map_err(|error| ConfigError::Syntax(Box::new(error)))?
        };
        if written.len() > MAX_SERVERS {
            return Err(wrong("servers", &written.len(), format!("at most {MAX_SERVERS}")));
        }
        written
            .into_iter()
            .map(|(name, written)| {
                check_name(&name)?;
                let config = written.checked(&name)?;
                Ok((name, config))
            })
            .collect()
    }
}

impl Written {
    fn checked(self, name: &str) -> Result<ServerConfig, ConfigError> {
        let key = |key: &str| format!("{name}.{key}");
        let is_https = check_url(&self.url).map_err(|why| wrong(&key("url"), &self.url, why))?;
        let tls_only = "needs an https:// url".to_owned();
        if let (Some(ca), false) = (&self.ca, is_https) {
            return Err(wrong(&key("ca"), &ca.display(), tls_only));
        }
        if let (Some(server), false) = (&self.server_name, is_https) {
            return Err(wrong(&key("serverName"), server, tls_only));
        }
        if self.insecure_skip_verify && self.ca.is_some() {
            let allowed = "a ca means nothing where certificates are not verified; leave one of the two out";
            return Err(wrong(&key("insecureSkipVerify"), &true, allowed.to_owned()));
        }
        if let (Some(file), Some(_)) = (&self.bearer_token_file, &self.basic_auth) {
            let allowed = "either bearerTokenFile or basicAuth".to_owned();
            return Err(wrong(&key("bearerTokenFile"), &file.display(), allowed));
        }
        if let Some(BasicAuth { username, .. }) = &self.basic_auth
            && (username.is_empty() || username.contains(':'))
        {
            let allowed = "a name without colons".to_owned();
            return Err(wrong(&key("basicAuth.username"), username, allowed));
        }
        let authenticates = self.bearer_token_file.is_some() || self.basic_auth.is_some();
        let headers = self
            .headers
            .into_iter()
            .map(|(header, value)| {
                check_header(&header, &value, authenticates)
                    // Its value may be a secret.
                    .map_err(|why| wrong(&key("headers"), &header, why))?;
                Ok((header, Secret::new(value)))
            })
            .collect::<Result<_, _>>()?;
        let defaults = ServerConfig::at(&self.url);
        let within = |what: &str, value: Option<usize>, default: usize, most: usize| match value {
            None => Ok(default),
            Some(value) if (1..=most).contains(&value) => Ok(value),
            Some(value) => Err(wrong(&key(what), &value, format!("1 to {most}"))),
        };
        Ok(ServerConfig {
            timeout: match &self.timeout {
                None => defaults.timeout,
                Some(text) => duration(text)
                    .filter(|time| (SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(time))
                    .ok_or_else(|| {
                        let allowed = "a duration from 100ms to 60s, such as 10s".to_owned();
                        wrong(&key("timeout"), text, allowed)
                    })?,
            },
            enforcement: match self.enforce_namespace {
                None => defaults.enforcement,
                Some(text) if text == "off" => Enforcement::Off,
                Some(text) if is_label(&text) => Enforcement::Label(text),
                Some(text) => {
                    let allowed = "off, or the name of a label such as namespace".to_owned();
                    return Err(wrong(&key("enforceNamespace"), &text, allowed));
                }
            },
            max_queries: within("maxQueries", self.max_queries, defaults.max_queries, 10_000)?,
            max_concurrent: within("maxConcurrent", self.max_concurrent, defaults.max_concurrent, 64)?,
            url: self.url,
            ca: self.ca,
            server_name: self.server_name,
            insecure_skip_verify: self.insecure_skip_verify,
            bearer_token_file: self.bearer_token_file,
            basic_auth: self.basic_auth.map(|basic| (basic.username, basic.password_file)),
            headers,
        })
    }
}

const SHORTEST_TIMEOUT: Duration = Duration::from_millis(100);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What is in `path`; `None` where that is more than `most` bytes.
pub(crate) fn read_at_most(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    Ok((content.len() as u64 <= most).then_some(content))
}

fn wrong(key: &str, value: &dyn fmt::Display, allowed: String) -> ConfigError {
    ConfigError::Value {
        key: key.to_owned(),
        value: value.to_string().chars().take(256).collect(),
        allowed,
    }
}

/// Names stand in triggers and in metrics.
fn check_name(name: &str) -> Result<(), ConfigError> {
    let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=63).contains(&name.len()) && name.bytes().all(is_fine) && !name.starts_with('-') {
        Ok(())
    } else {
        let allowed = "1 to 63 of a to z, 0 to 9 and -, not beginning with -";
        Err(wrong("name of a server", &name, allowed.to_owned()))
    }
}

/// Whether the URL is one of HTTPS. Certificates are no matter of its form: it is looked at as if it
/// were of HTTP.
fn check_url(url: &str) -> Result<bool, String> {
    let is_https = url.starts_with("https://");
    let plain = url.replacen("https://", "http://", 1);
    let (_, path) = Server::from_url(&plain, &TlsOptions::default()).map_err(|_| {
        "expected http://HOST:PORT or https://HOST:PORT, with or without a path, and without user and password"
            .to_owned()
    })?;
    Request::get(&format!("{path}/")).map_err(|error| error.to_string())?;
    Ok(is_https)
}

fn check_header(name: &str, value: &str, authenticates: bool) -> Result<(), String> {
    if authenticates && name.eq_ignore_ascii_case("authorization") {
        return Err("bearerTokenFile and basicAuth set this header".to_owned());
    }
    Request::get("/")
        .and_then(|request| request.header(name, &Secret::new(value.to_owned())))
        .map(drop)
        .map_err(|error| error.to_string())
}

fn is_label(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        // Those are Prometheus' own.
        && !text.starts_with("__")
}

/// `500ms`, `10s` or `1m`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
