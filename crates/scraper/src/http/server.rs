use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::Uri;

use super::tls::{Security, TlsError, TlsOptions};

/// Where something is fetched from, and how the connection is protected.
#[derive(Clone, Debug)]
pub struct Server {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) security: Security,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// By address.
    Address(IpAddr),
    /// By a name, looked up by the system each time a connection is opened.
    Name(String),
}

/// A URL that names no server.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Not a URL as is needed.
    #[error("\"{url}\": expected http://HOST:PORT or https://HOST:PORT, with or without a path")]
    Malformed {
        /// What was given.
        url: String,
    },
    /// Credentials in a URL end up in logs.
    #[error("a URL must not hold a user or password; give them as authorization")]
    Credentials,
    /// TLS cannot be set up.
    #[error("\"{url}\": {source}")]
    Tls {
        /// What was given.
        url: String,
        /// Why not.
        source: TlsError,
    },
}

impl Server {
    /// The server at an address.
    #[must_use]
    pub const fn at(address: SocketAddr, security: Security) -> Self {
        Self {
            host: Host::Address(address.ip()),
            port: address.port(),
            security,
        }
    }

    /// The server that `url` names, and the path in it without a final `/` (empty where there is
    /// none), to be put before what is asked. `tls` is for `https` only.
    pub fn from_url(url: &str, tls: &TlsOptions) -> Result<(Self, String), UrlError> {
        let malformed = || UrlError::Malformed { url: url.into() };
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        let authority = uri.authority().ok_or_else(malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::Credentials);
        }
        let (protected, default_port) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(malformed()),
        };
        let name = authority.host();
        let bare = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        if bare.is_empty() || uri.query().is_some() {
            return Err(malformed());
        }
        let host = bare
            .parse()
            .map_or_else(|_| Host::Name(bare.to_ascii_lowercase()), Host::Address);
        let port = match (authority.port_u16(), authority.as_str().ends_with(name)) {
            (Some(port), _) if port > 0 => port,
            (None, true) => default_port,
            _ => return Err(malformed()),
        };
        let security = if protected {
            tls.build(&host).map_err(|source| UrlError::Tls {
                url: url.into(),
                source,
            })?
        } else {
            Security::Plaintext
        };
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok((Self { host, port, security }, path))
    }

    /// `host:port`, as the `Host` header has it.
    #[must_use]
    pub fn authority(&self) -> String {
        match &self.host {
            Host::Address(ip) => SocketAddr::new(*ip, self.port).to_string(),
            Host::Name(name) => format!("{name}:{}", self.port),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.security {
            Security::Plaintext => "http",
            Security::Tls { .. } => "https",
        };
        write!(out, "{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<(String, String), UrlError> {
        Server::from_url(url, &TlsOptions::default()).map(|(server, path)| (server.to_string(), path))
    }

    #[test]
    fn a_url_names_host_port_and_path() {
        let is = |url: &str, server: &str, path: &str| {
            assert_eq!(parsed(url).unwrap(), (server.into(), path.into()), "{url}");
        };
        is(
            "http://prometheus.monitoring:9090",
            "http://prometheus.monitoring:9090",
            "",
        );
        is("http://Mimir/prometheus/", "http://mimir:80", "/prometheus");
        is("http://[fd00::1]:9090/", "http://[fd00::1]:9090", "");
        is("http://10.0.0.1", "http://10.0.0.1:80", "");
    }

    #[test]
    fn what_is_no_such_url_is_refused() {
        for bad in [
            "",
            "prometheus:9090",
            "ftp://a",
            "http://",
            "http:///x",
            "http://a:0",
            "http://a:99999",
            "/x",
            "http://a?b=c",
        ] {
            assert!(matches!(parsed(bad), Err(UrlError::Malformed { .. })), "{bad}");
        }
        assert!(matches!(parsed("http://u:p@a"), Err(UrlError::Credentials)));
    }
}
