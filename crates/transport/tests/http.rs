//! HTTP over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::routing::get;
use axum::{Extension, Router};
use rheostat_transport::{PeerInfo, ServerSecurity, listen, serve_http};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use support::{Authority, Files, LOOPBACK, soon};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

async fn start(
    security: &ServerSecurity,
    router: Router,
) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = listen(LOOPBACK, security).await.unwrap();
    let addr = listener.local_addr();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(serve_http(listener, router, async move {
        stopped.await.expect("the test tells when to stop");
    }));
    (addr, stop, task)
}

async fn answer(mut io: impl AsyncRead + AsyncWrite + Unpin) -> String {
    soon(io.write_all(REQUEST)).await.unwrap();
    let mut text = Vec::new();
    // A peer that closes without close_notify has still answered.
    let _ = soon(io.read_to_end(&mut text)).await;
    String::from_utf8(text).unwrap()
}

fn router() -> Router {
    Router::new().route(
        "/",
        get(|Extension(peer): Extension<PeerInfo>| async move {
            format!(
                "{} with {} certificates",
                peer.remote_addr.ip(),
                peer.certificates.len()
            )
        }),
    )
}

#[tokio::test]
async fn a_router_is_served_in_plaintext() {
    let (addr, _stop, _) = start(&ServerSecurity::Plaintext, router()).await;
    let text = answer(TcpStream::connect(addr).await.unwrap()).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.ends_with("127.0.0.1 with 0 certificates"), "{text}");
}

#[tokio::test]
async fn a_router_is_served_over_tls_to_those_who_speak_http_1() {
    let (files, authority) = (Files::new(), Authority::new("ours"));
    files.write_identity("server", &authority.issue("localhost"));
    let (addr, _stop, _) = start(&ServerSecurity::Tls(files.server("server", None)), router()).await;
    let dial = async |protocol: &[u8]| {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let tcp = TcpStream::connect(addr).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        soon(TlsConnector::from(Arc::new(config)).connect(name, tcp)).await
    };
    let tls = dial(b"http/1.1").await.unwrap();
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    assert!(answer(tls).await.starts_with("HTTP/1.1 200"));
    dial(b"h2")
        .await
        .expect_err("a client that speaks only HTTP/2 is told so in the handshake");
    let plain = answer(TcpStream::connect(addr).await.unwrap()).await;
    assert!(!plain.contains("200"), "{plain}");
}

#[tokio::test]
async fn stopping_lets_a_running_request_finish() {
    let (begun, finish) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let router = Router::new().route(
        "/",
        get({
            let (begun, finish) = (Arc::clone(&begun), Arc::clone(&finish));
            || async move {
                begun.add_permits(1);
                let _done = finish.acquire().await.unwrap();
                "finished"
            }
        }),
    );
    let (addr, stop, task) = start(&ServerSecurity::Plaintext, router).await;
    let running = tokio::spawn(async move { answer(TcpStream::connect(addr).await.unwrap()).await });
    let idle = TcpStream::connect(addr).await.unwrap();
    let _begun = soon(begun.acquire()).await.unwrap();
    stop.send(()).unwrap();
    // Until the order has reached the accept loop a bind may still fail.
    soon(async {
        while TcpListener::bind(addr).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!task.is_finished(), "a request is still running");
    finish.add_permits(1);
    assert!(soon(running).await.unwrap().ends_with("finished"));
    soon(task).await.unwrap();
    drop(idle);
}
