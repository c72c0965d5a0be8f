use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::listen::{Listener, ListenerStats, Protocol};
use crate::security::ServerSecurity;

/// Connections that a listener holds at once; more wait in the system's queue. KEDA opens one for
/// each distinct trigger address, every scaler one to each agent.
const MAX_CONNECTIONS: usize = 4096;

/// TLS handshakes in progress at once. One takes milliseconds unless the client stalls, so that
/// when there are this many the oldest is the one to give up.
const MAX_HANDSHAKES: usize = 256;

/// How long a TLS handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Connections past their handshake that wait to be served.
const READY: usize = 64;

/// How long to wait after the system refused a connection, doubled from the first to the last.
const ACCEPT_BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// When a silent peer is first asked whether it is there, and how often from then on.
const TCP_KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// The accepted connections of a [`Listener`]. Dropping it closes the listening socket.
pub struct Incoming {
    ready: mpsc::Receiver<Connection>,
    accepting: AbortHandle,
}

impl Incoming {
    pub(crate) fn start(listener: Listener, protocol: Protocol) -> Self {
        let (sender, ready) = mpsc::channel(READY);
        let accepting = tokio::spawn(accept(listener, protocol, sender)).abort_handle();
        Self { ready, accepting }
    }
}

impl Stream for Incoming {
    type Item = Result<Connection, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(context).map(|connection| connection.map(Ok))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: Listener, protocol: Protocol, ready: mpsc::Sender<Connection>) {
    let Listener {
        socket,
        security,
        stats,
        cut,
        ..
    } = listener;
    let rooms = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut handshakes = Handshakes {
        running: JoinSet::new(),
        by_age: VecDeque::new(),
    };
    let mut backoff = ACCEPT_BACKOFF.0;
    loop {
        let Ok(room) = Arc::clone(&rooms).acquire_owned().await else {
            return;
        };
        let (tcp, remote_addr) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) if concerns_one_client(&error) => continue,
            Err(error) => {
                stats.accept_errors.inc();
                tracing::warn!(%error, ?backoff, "cannot accept connections for now");
                sleep(backoff).await;
                backoff = (backoff * 2).min(ACCEPT_BACKOFF.1);
                continue;
            }
        };
        backoff = ACCEPT_BACKOFF.0;
        stats.accepted.inc();
        if let Err(error) = configure(&tcp) {
            tracing::debug!(%error, %remote_addr, "cannot set socket options");
        }
        match &security {
            ServerSecurity::Plaintext => {
                let cut = cut.clone().cancelled_owned();
                if ready
                    .send(Connection::new(Either::Left(tcp), remote_addr, cut, room))
                    .await
                    .is_err()
                {
                    return;
                }
            }
            ServerSecurity::Tls(tls) => {
                let acceptor = TlsAcceptor::from(tls.config(protocol));
                let done = Done {
                    remote_addr,
                    room,
                    cut: cut.clone(),
                    stats: Arc::clone(&stats),
                    ready: ready.clone(),
                };
                handshakes.start(handshake(acceptor, tcp, done), &stats);
            }
        }
    }
}

/// TLS handshakes in progress.
struct Handshakes {
    running: JoinSet<()>,
    by_age: VecDeque<AbortHandle>,
}

impl Handshakes {
    fn start(&mut self, handshake: impl Future<Output = ()> + Send + 'static, stats: &ListenerStats) {
        while self.running.try_join_next().is_some() {}
        while self.by_age.front().is_some_and(AbortHandle::is_finished) {
            self.by_age.pop_front();
        }
        if self.running.len() >= MAX_HANDSHAKES
            && let Some(oldest) = self.by_age.pop_front()
        {
            stats.handshake_timeouts.inc();
            oldest.abort();
        }
        self.by_age.push_back(self.running.spawn(handshake));
    }
}

/// What a connection needs once its handshake is over.
struct Done {
    remote_addr: SocketAddr,
    room: OwnedSemaphorePermit,
    cut: CancellationToken,
    stats: Arc<ListenerStats>,
    ready: mpsc::Sender<Connection>,
}

async fn handshake(acceptor: TlsAcceptor, tcp: TcpStream, done: Done) {
    let Done {
        remote_addr,
        room,
        cut,
        stats,
        ready,
    } = done;
    match timeout(HANDSHAKE_DEADLINE, acceptor.accept(tcp)).await {
        Ok(Ok(tls)) => {
            let connection = Connection::new(Either::Right(tls), remote_addr, cut.cancelled_owned(), room);
            // Nobody is left to serve it when this fails.
            let _ = ready.send(connection).await;
        }
        // Debug: whoever reaches the port can cause as many of these as they like.
        Ok(Err(error)) => {
            stats.handshake_failures.inc();
            tracing::debug!(%error, %remote_addr, "TLS handshake failed");
        }
        Err(_) => {
            stats.handshake_timeouts.inc();
            tracing::debug!(%remote_addr, "TLS handshake too slow");
        }
    }
}

/// Errors of `accept` that are over with the connection they are about.
fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Small messages leave at once, and a peer that vanished is noticed.
pub(crate) fn configure(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(TCP_KEEPALIVE.0)
        .with_interval(TCP_KEEPALIVE.1);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}
