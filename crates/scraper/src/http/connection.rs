use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::error::Failure;
use super::server::{Host, Server};
use super::tls::Security;

/// Bytes of a connection's read buffer, which is kept as long as the connection: a head that does not
/// fit is refused, a body passes through. Proxies allow heads of 4 or 8 KiB by default.
const BUFFER: usize = 8 * 1024;

/// Headers of an answer; more are refused.
const MAX_HEADERS: usize = 64;

/// An open HTTP/1.1 connection, closed when it is dropped.
pub(super) struct Connection {
    requests: SendRequest<Full<Bytes>>,
    /// Carries the bytes; a task of its own so that a server that hangs up is noticed at once.
    carrier: AbortHandle,
}

impl Connection {
    pub(super) async fn open(server: &Server) -> Result<Self, Failure> {
        let tcp = dial(server).await?;
        // Only latency depends on it.
        let _ = tcp.set_nodelay(true);
        match &server.security {
            Security::Plaintext => Self::over(tcp).await,
            Security::Tls { config, name } => {
                let tls = TlsConnector::from(config.clone())
                    .connect(name.clone(), tcp)
                    .await
                    .map_err(Failure::Tls)?;
                Self::over(tls).await
            }
        }
    }

    async fn over(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self, Failure> {
        let (requests, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(io))
            .await
            .map_err(Failure::Broken)?;
        // Its errors reach whoever waits for an answer.
        let carrier = tokio::spawn(async { drop(connection.await) }).abort_handle();
        Ok(Self { requests, carrier })
    }

    /// Whether it can be used again.
    pub(super) fn is_open(&self) -> bool {
        self.requests.is_ready()
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        request: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, hyper::Error> {
        self.requests.ready().await?;
        self.requests.send_request(request).await
    }

    /// Waits until the connection is at rest after a body has been read.
    pub(super) async fn settle(&mut self) -> bool {
        self.requests.ready().await.is_ok()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

/// The first address that answers.
async fn dial(server: &Server) -> Result<TcpStream, Failure> {
    let name = match &server.host {
        Host::Address(ip) => {
            return TcpStream::connect(SocketAddr::new(*ip, server.port))
                .await
                .map_err(Failure::Connect);
        }
        Host::Name(name) => name,
    };
    let addresses = tokio::net::lookup_host((name.as_str(), server.port))
        .await
        .map_err(Failure::Lookup)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(Failure::Connect(last))
}
