//! Small HTTP servers that behave well or badly, and count what they are asked.

#![allow(dead_code, reason = "each test file uses what it needs")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a server was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `GET /metrics`.
    pub(crate) line: String,
    /// The head in lower case, and the body as it is.
    pub(crate) head: String,
    pub(crate) body: String,
    /// Which connection it came on, from 1.
    pub(crate) connection: usize,
    /// Which request of all, from 1.
    pub(crate) number: usize,
}

/// What a server does.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Sends a status, further header lines and a body.
    Status(u16, String, Vec<u8>),
    /// Sends these bytes and then does `After`.
    Raw(Vec<u8>, After),
    /// Sends these bytes one by one, so slowly that no one has so much time.
    Drip(Vec<u8>),
    /// Sends a head and then a body without end.
    Endless,
    /// Says nothing.
    Hang,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum After {
    Keep,
    Close,
    Reset,
    Hang,
}

/// Counts of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: usize,
    pub(crate) closed: usize,
    pub(crate) asked: Vec<Asked>,
}

/// A server on a free port of this machine; gone when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    counts: Arc<watch::Sender<Counts>>,
    reply: Arc<Mutex<Behaviour>>,
    accepting: AbortHandle,
}

type Behaviour = Box<dyn FnMut(&Asked) -> Reply + Send>;

pub(crate) fn page(text: impl Into<Vec<u8>>) -> Reply {
    Reply::Status(200, "Content-Type: text/plain\r\n".into(), text.into())
}

impl Server {
    pub(crate) async fn start(reply: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        Self::with_tls(None, reply).await
    }

    pub(crate) async fn with_tls(
        tls: Option<Arc<ServerConfig>>,
        reply: impl FnMut(&Asked) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(watch::Sender::new(Counts::default()));
        let reply: Arc<Mutex<Behaviour>> = Arc::new(Mutex::new(Box::new(reply)));
        let accepting = tokio::spawn(accept(listener, tls, Arc::clone(&counts), Arc::clone(&reply)));
        Self {
            address,
            counts,
            reply,
            accepting: accepting.abort_handle(),
        }
    }

    pub(crate) fn behave(&self, reply: impl FnMut(&Asked) -> Reply + Send + 'static) {
        *self.reply.lock() = Box::new(reply);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    pub(crate) fn asked(&self) -> usize {
        self.counts.borrow().asked.len()
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, condition: impl FnMut(&Counts) -> bool) -> Counts {
        let mut counts = self.counts.subscribe();
        let found = timeout(PATIENCE, counts.wait_for(condition)).await;
        found
            .unwrap_or_else(|_| panic!("still waiting: {:?}", self.counts()))
            .unwrap()
            .clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    counts: Arc<watch::Sender<Counts>>,
    reply: Arc<Mutex<Behaviour>>,
) {
    let mut connections = tokio::task::JoinSet::new();
    for number in 1.. {
        let Ok((tcp, _)) = listener.accept().await else {
            return;
        };
        counts.send_modify(|counts| counts.connections += 1);
        let (tls, counts, reply) = (tls.clone(), Arc::clone(&counts), Arc::clone(&reply));
        connections.spawn(async move {
            let outcome = match tls {
                None => serve(tcp, number, &counts, &reply).await,
                Some(config) => match TlsAcceptor::from(config).accept(tcp).await {
                    Ok(tls) => serve(tls, number, &counts, &reply).await,
                    Err(_) => None,
                },
            };
            let _ = outcome;
            counts.send_modify(|counts| counts.closed += 1);
        });
    }
}

trait Io: AsyncRead + AsyncWrite + Unpin {
    fn reset(&self) {}
}

impl Io for TcpStream {
    fn reset(&self) {
        self.set_zero_linger().unwrap();
    }
}

impl Io for tokio_rustls::server::TlsStream<TcpStream> {}

async fn serve(
    mut io: impl Io,
    connection: usize,
    counts: &watch::Sender<Counts>,
    reply: &Mutex<Behaviour>,
) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let mut asked = read_request(&mut io, &mut buffer).await?;
        asked.connection = connection;
        counts.send_modify(|counts| {
            asked.number = counts.asked.len() + 1;
            counts.asked.push(asked.clone());
        });
        let reply = (reply.lock())(&asked);
        let mut end = [0; 1];
        let after = match reply {
            Reply::Status(status, headers, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n");
                io.write_all(&[head.as_bytes(), &body].concat()).await.ok()?;
                After::Keep
            }
            Reply::Raw(bytes, after) => {
                io.write_all(&bytes).await.ok()?;
                after
            }
            Reply::Drip(bytes) => {
                for byte in bytes {
                    io.write_all(&[byte]).await.ok()?;
                    sleep(Duration::from_millis(20)).await;
                }
                After::Hang
            }
            Reply::Endless => {
                let head = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n";
                io.write_all(head).await.ok()?;
                let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
                loop {
                    io.write_all(chunk.as_bytes()).await.ok()?;
                }
            }
            Reply::Hang => After::Hang,
        };
        io.flush().await.ok()?;
        match after {
            After::Keep => {}
            After::Close => return None,
            After::Reset => {
                io.reset();
                return None;
            }
            // Until the other side hangs up.
            After::Hang => while io.read(&mut end).await.ok()? > 0 {},
        }
    }
}

async fn read_request(io: &mut impl Io, buffer: &mut Vec<u8>) -> Option<Asked> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let lower = head.to_lowercase();
            let length: usize = lower
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                let body = String::from_utf8(buffer[end + 4..end + 4 + length].to_vec()).unwrap();
                buffer.drain(..end + 4 + length);
                let line = head
                    .lines()
                    .next()
                    .unwrap()
                    .trim_end_matches(" HTTP/1.1")
                    .to_owned();
                return Some(Asked {
                    line,
                    head: lower,
                    body,
                    connection: 0,
                    number: 0,
                });
            }
        }
        if io.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// A CA in PEM form, and a server's configuration with a certificate of it for `names`.
pub(crate) fn certificates(names: &[&str]) -> (String, Arc<ServerConfig>) {
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (ca_pem, Arc::new(config))
}
