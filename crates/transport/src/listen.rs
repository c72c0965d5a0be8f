use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rheostat_promtext::Counter;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::incoming::Incoming;
use crate::security::ServerSecurity;

/// A bound socket that is not accepting yet: hand it to [`serve_grpc`](crate::serve_grpc),
/// [`serve_http`](crate::serve_http), or take its [`Listener::incoming`].
pub struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) local_addr: SocketAddr,
    pub(crate) security: ServerSecurity,
    pub(crate) stats: Arc<ListenerStats>,
    pub(crate) cut: CancellationToken,
}

/// What is spoken on a listener; TLS clients are told by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC: HTTP/2.
    Grpc,
    /// HTTP/1.1.
    Http,
}

/// What has happened on a listener; for metrics.
#[derive(Debug, Default)]
pub struct ListenerStats {
    /// Connections accepted from the system, before any handshake.
    pub accepted: Counter,
    /// Times the system could not give a connection, such as for want of file descriptors.
    pub accept_errors: Counter,
    /// TLS handshakes that failed, most often for want of a certificate the listener trusts.
    pub handshake_failures: Counter,
    /// TLS handshakes given up as too slow, or to make room for newer ones.
    pub handshake_timeouts: Counter,
}

/// A socket cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {source}")]
pub struct ListenError {
    /// Where.
    pub addr: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// Binds `addr`; port 0 takes a free one.
pub async fn listen(addr: SocketAddr, security: &ServerSecurity) -> Result<Listener, ListenError> {
    let failed = |source| ListenError { addr, source };
    let socket = TcpListener::bind(addr).await.map_err(failed)?;
    let local_addr = socket.local_addr().map_err(failed)?;
    Ok(Listener {
        socket,
        local_addr,
        security: security.clone(),
        stats: Arc::default(),
        cut: CancellationToken::new(),
    })
}

impl Listener {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What has happened on it; stays valid while it is served.
    #[must_use]
    pub fn stats(&self) -> Arc<ListenerStats> {
        Arc::clone(&self.stats)
    }

    /// Starts accepting, on the current Tokio runtime. For servers other than those of this crate.
    #[must_use]
    pub fn incoming(self, protocol: Protocol) -> Incoming {
        Incoming::start(self, protocol)
    }
}
