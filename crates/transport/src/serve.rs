use std::future::{Future, pending};
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Router as GrpcRouter;
use tower::Service;

use crate::connection::Connection;
use crate::listen::{Listener, Protocol};

/// How long running requests may go on after the order to stop. Well within the 30 s that
/// Kubernetes leaves a pod.
const DRAIN: Duration = Duration::from_secs(10);

/// How long an HTTP client may take for the head of a request, counted from the answer before it:
/// also how long an idle connection is kept.
const HEADER_DEADLINE: Duration = Duration::from_secs(30);

/// How often an idle gRPC client is asked whether it is there, and how long it may take to answer.
const GRPC_KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));

/// Bytes of metadata that a gRPC request may carry.
const GRPC_HEADER_LIMIT: u32 = 64 * 1024;

/// A gRPC server with our keepalive and limits; add services, then hand it to [`serve_grpc`].
///
/// Wherever clients balance by DNS, also set
/// [`max_connection_age`](Server::max_connection_age): grpc-go resolves again only when a
/// connection ends.
#[must_use]
pub fn grpc_server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(GRPC_KEEPALIVE.0))
        .http2_keepalive_timeout(Some(GRPC_KEEPALIVE.1))
        .http2_max_header_list_size(GRPC_HEADER_LIMIT)
}

/// Serves gRPC until `shutdown`; then accepts no more, lets running calls finish for ten seconds
/// and cuts the rest off. Streams are the service's to end: it should do so on the same signal.
///
/// Dropping the future cuts everything off at once, as the death of the process would.
pub async fn serve_grpc(
    listener: Listener,
    router: GrpcRouter,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let _cut = listener.cut.clone().drop_guard();
    let (stopping, stopped) = oneshot::channel();
    let shutdown = async {
        shutdown.await;
        // Nobody listens any more when serving has ended first.
        let _ = stopping.send(());
    };
    let overdue = async {
        match stopped.await {
            Ok(()) => sleep(DRAIN).await,
            Err(_) => pending().await,
        }
    };
    tokio::select! {
        ended = router.serve_with_incoming_shutdown(listener.incoming(Protocol::Grpc), shutdown) => ended,
        () = overdue => {
            tracing::warn!(after = ?DRAIN, "gRPC calls were still running and are cut off");
            Ok(())
        }
    }
}

/// Serves HTTP/1.1 until `shutdown`; then accepts no more, lets running requests finish for ten
/// seconds and cuts the rest off. Requests carry [`PeerInfo`](crate::PeerInfo) as an extension.
pub async fn serve_http(listener: Listener, router: Router, shutdown: impl Future<Output = ()>) {
    let mut incoming = listener.incoming(Protocol::Http);
    let stop = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(Ok(connection)) = incoming.next() => {
                connections.spawn(serve_connection(connection, router.clone(), stop.clone()));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(incoming);
    stop.cancel();
    let drained = timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(after = ?DRAIN, "HTTP requests were still running and are cut off");
    }
}

async fn serve_connection(connection: Connection, router: Router, stop: CancellationToken) {
    let peer = connection.peer().clone();
    let remote_addr = peer.remote_addr;
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.clone().call(request)
    });
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_DEADLINE)
            .serve_connection(TokioIo::new(connection), service)
    );
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    // Debug: clients end connections as they please.
    if let Err(error) = ended {
        tracing::debug!(%error, %remote_addr, "HTTP connection ended");
    }
}
