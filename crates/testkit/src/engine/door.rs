use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::misbehaviour::{GARBAGE, Misbehaviour};
use super::service::Service;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// An address at which an engine answers, as long as this lives.
#[derive(Debug)]
pub(super) struct Door {
    address: SocketAddr,
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<()>,
}

/// What is to be had behind a door.
#[derive(Clone)]
pub(super) struct Behind {
    pub(super) service: Arc<Service>,
    /// The routes of the engine's API.
    pub(super) api: Router,
    /// Whether the page with metrics is there.
    pub(super) has_page: bool,
}

/// An order to those who accept, and where to say that it is done.
enum Order {
    /// Behave as the service now says.
    Behave(oneshot::Sender<io::Result<()>>),
    /// End every connection.
    Cut(oneshot::Sender<io::Result<()>>),
}

impl Door {
    /// Listens on `address`; port 0 takes a free one.
    pub(super) fn open(address: SocketAddr, tls: Option<TlsAcceptor>, behind: Behind) -> io::Result<Self> {
        let listener = bind(address)?.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let (orders, received) = mpsc::unbounded_channel();
        let accepting = Accepting {
            address,
            socket: Socket::Listening(listener),
            tls,
            behind,
            cut: CancellationToken::new(),
            connections: JoinSet::new(),
        };
        Ok(Self {
            address,
            orders,
            task: tokio::spawn(accepting.run(received)),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes what the service says of its behaviour come true for connections too.
    pub(super) async fn behave(&self) -> io::Result<()> {
        self.order(Order::Behave).await
    }

    /// Ends every connection.
    pub(super) async fn cut(&self) -> io::Result<()> {
        self.order(Order::Cut).await
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Order) -> io::Result<()> {
        let (done, result) = oneshot::channel();
        let gone = || io::Error::other("the engine has stopped");
        self.orders.send(order(done)).map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

enum Socket {
    Listening(TcpListener),
    /// Bound, so that nobody else takes the port, but refusing connections.
    Closed(Option<TcpSocket>),
}

/// Accepts connections; with it they end.
struct Accepting {
    address: SocketAddr,
    socket: Socket,
    tls: Option<TlsAcceptor>,
    behind: Behind,
    cut: CancellationToken,
    connections: JoinSet<()>,
}

impl Accepting {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Behave(done)) => {
                        // Nobody waits any more when this fails.
                        let _ = done.send(self.behave());
                    }
                    Some(Order::Cut(done)) => {
                        self.cut_all();
                        let _ = done.send(Ok(()));
                    }
                    None => return,
                },
                accepted = accept(&self.socket) => {
                    // An error of accept is that connection's.
                    if let Ok((stream, remote)) = accepted {
                        self.connections.spawn(serve(
                            stream,
                            remote,
                            self.tls.clone(),
                            self.behind.clone(),
                            self.cut.clone(),
                        ));
                    }
                }
                Some(_) = self.connections.join_next(), if !self.connections.is_empty() => {}
            }
        }
    }

    fn behave(&mut self) -> io::Result<()> {
        let misbehaviour = self.behind.service.misbehaviour();
        if matches!(misbehaviour, Misbehaviour::Refuse | Misbehaviour::Garbage) {
            self.cut_all();
        }
        if misbehaviour == Misbehaviour::Refuse {
            // The port must be free before it is bound again.
            self.socket = Socket::Closed(None);
            self.socket = Socket::Closed(Some(bind(self.address)?));
        } else if let Socket::Closed(socket) = &mut self.socket {
            let socket = match socket.take() {
                Some(socket) => socket,
                None => bind(self.address)?,
            };
            self.socket = Socket::Listening(socket.listen(BACKLOG)?);
        }
        Ok(())
    }

    fn cut_all(&mut self) {
        std::mem::take(&mut self.cut).cancel();
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // Connections of before may still be dying on the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn accept(socket: &Socket) -> io::Result<(TcpStream, SocketAddr)> {
    match socket {
        Socket::Listening(listener) => listener.accept().await,
        Socket::Closed(_) => pending().await,
    }
}

async fn serve(
    mut stream: TcpStream,
    remote: SocketAddr,
    tls: Option<TlsAcceptor>,
    behind: Behind,
    cut: CancellationToken,
) {
    behind.service.connected();
    let serving = async {
        if behind.service.misbehaviour() == Misbehaviour::Garbage {
            // Whether the client takes it is its own affair.
            let _ = stream.write_all(GARBAGE).await;
            return;
        }
        // Tokens are small and must not wait for each other.
        let _ = stream.set_nodelay(true);
        match tls {
            None => converse(stream, remote, behind).await,
            Some(acceptor) => {
                if let Ok(stream) = acceptor.accept(stream).await {
                    converse(stream, remote, behind).await;
                }
            }
        }
    };
    tokio::select! {
        () = serving => {}
        () = cut.cancelled() => {}
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    remote: SocketAddr,
    behind: Behind,
) {
    let answer = service_fn(move |request| {
        let Behind {
            service,
            api,
            has_page,
        } = behind.clone();
        async move { service.answer(remote, request, has_page, api).await }
    });
    // An error here is how a connection ended, which is the client's affair or was ordered.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}
