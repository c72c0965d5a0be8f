use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;

/// An accepted connection, past its handshake.
pub struct Connection {
    io: Either<TcpStream, TlsStream<TcpStream>>,
    peer: PeerInfo,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Makes room for the next connection when this one is dropped.
    _room: OwnedSemaphorePermit,
}

/// Who is at the other end. An extension of every gRPC and HTTP request.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Where the connection comes from.
    pub remote_addr: SocketAddr,
    /// The verified certificate chain, the peer's own first; empty without mTLS.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

impl Connection {
    pub(crate) fn new(
        io: Either<TcpStream, TlsStream<TcpStream>>,
        remote_addr: SocketAddr,
        cut: WaitForCancellationFutureOwned,
        room: OwnedSemaphorePermit,
    ) -> Self {
        let certificates = match &io {
            Either::Left(_) => Arc::default(),
            Either::Right(tls) => tls.get_ref().1.peer_certificates().unwrap_or_default().into(),
        };
        Self {
            io,
            peer: PeerInfo {
                remote_addr,
                certificates,
            },
            cut: Box::pin(cut),
            _room: room,
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &PeerInfo {
        &self.peer
    }
}

impl Connected for Connection {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_read(context, buffer) {
            // Whoever serves a connection always reads: an error here ends it.
            Poll::Pending => self.cut.as_mut().poll(context).map(|()| {
                Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "the listener was shut down",
                ))
            }),
            ready => ready,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
