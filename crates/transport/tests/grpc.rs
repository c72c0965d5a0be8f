//! gRPC over real sockets: who gets in, what happens when certificates change, and who cannot
//! keep others out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use rheostat_transport::{
    ClientOptions, ClientSecurity, ConnectOptions, ReloadStatus, ServerSecurity, connect,
};
use support::{Authority, Files, Server, causes, check, soon};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// `ca.crt` with `server` and `client` of it, `stranger.crt` with `intruder` of it.
fn two_authorities() -> (Files, Authority, Authority) {
    let (files, authority, stranger) = (Files::new(), Authority::new("ours"), Authority::new("another"));
    files.write("ca.crt", &authority.pem);
    files.write("stranger.crt", &stranger.pem);
    files.write_identity("server", &authority.issue("localhost"));
    files.write_identity("client", &authority.issue("scaler"));
    files.write_identity("intruder", &stranger.issue("scaler"));
    (files, authority, stranger)
}

#[tokio::test]
async fn plaintext_when_both_sides_want_it() {
    let mut server = Server::start(&ServerSecurity::Plaintext).await;
    server.ask(&ClientSecurity::Plaintext).await.unwrap();
    let caller = server.callers.recv().await.unwrap();
    assert!(caller.remote_addr.ip().is_loopback() && caller.certificates.is_empty());
    assert_eq!(ServerSecurity::Plaintext.reload_status(), None);
}

#[tokio::test]
async fn tls_is_only_for_those_who_trust_and_are_spoken_to_rightly() {
    let (files, ..) = two_authorities();
    let server = Server::start_tls(&files.server("server", None)).await;
    server.ask_tls(&files.client("ca.crt", None)).await.unwrap();

    let distrust = server
        .ask_tls(&files.client("stranger.crt", None))
        .await
        .unwrap_err();
    assert!(
        causes(&distrust).contains("UnknownIssuer"),
        "{}",
        causes(&distrust)
    );
    server.ask(&ClientSecurity::Plaintext).await.unwrap_err();

    let by_address = format!("127.0.0.1:{}", server.addr.port());
    let security = ClientSecurity::Tls(files.client("ca.crt", None));
    let wrong_name = check(connect(&by_address, &security, ConnectOptions::default()).unwrap())
        .await
        .unwrap_err();
    assert!(
        causes(&wrong_name).contains("not valid for name"),
        "{}",
        causes(&wrong_name)
    );
    let named = ClientOptions {
        ca: Some(files.path("ca.crt")),
        server_name: Some("localhost".into()),
        ..ClientOptions::default()
    };
    check(connect(&by_address, &named.load().unwrap(), ConnectOptions::default()).unwrap())
        .await
        .unwrap();
    assert!(server.stats.handshake_failures.get() >= 2);
}

#[tokio::test]
async fn mutual_tls_knows_the_caller_and_refuses_strangers() {
    let (files, ..) = two_authorities();
    let mut server = Server::start_tls(&files.server("server", Some("ca.crt"))).await;
    server
        .ask_tls(&files.client("ca.crt", Some("client")))
        .await
        .unwrap();
    assert_eq!(server.callers.recv().await.unwrap().certificates.len(), 1);

    server.ask_tls(&files.client("ca.crt", None)).await.unwrap_err();
    server
        .ask_tls(&files.client("ca.crt", Some("intruder")))
        .await
        .unwrap_err();
    assert!(
        server.callers.try_recv().is_err(),
        "a stranger's call reached the service"
    );
    assert!(server.stats.handshake_failures.get() >= 2);
}

#[tokio::test]
async fn a_new_server_certificate_is_used_at_once() {
    let (files, _, stranger) = two_authorities();
    let tls = files.server("server", None);
    let server = Server::start_tls(&tls).await;
    let (old, new) = (files.client("ca.crt", None), files.client("stranger.crt", None));
    let open = server.channel(&ClientSecurity::Tls(old.clone()));
    check(open.clone()).await.unwrap();
    server.ask_tls(&new).await.unwrap_err();

    files.write_identity("server", &stranger.issue("localhost"));
    assert!(tls.reload_now().unwrap());
    assert!(!tls.reload_now().unwrap(), "nothing changed since");
    assert_eq!(
        tls.reload_status(),
        ReloadStatus {
            reloads: 1,
            failures: 0,
            error: None
        }
    );
    server.ask_tls(&new).await.unwrap();
    server.ask_tls(&old).await.unwrap_err();
    check(open).await.expect("an open connection lives on");
}

#[tokio::test]
async fn a_new_client_ca_shuts_the_old_clients_out() {
    let (files, _, stranger) = two_authorities();
    files.write("clients.crt", &files_text(&files, "ca.crt"));
    let tls = files.server("server", Some("clients.crt"));
    let server = Server::start_tls(&tls).await;
    let (old, new) = (
        files.client("ca.crt", Some("client")),
        files.client("ca.crt", Some("intruder")),
    );
    server.ask_tls(&old).await.unwrap();
    server.ask_tls(&new).await.unwrap_err();

    files.write("clients.crt", &stranger.pem);
    assert!(tls.reload_now().unwrap());
    server.ask_tls(&new).await.unwrap();
    server
        .ask_tls(&old)
        .await
        .expect_err("its session must not be resumed either");
}

#[tokio::test]
async fn a_clients_new_certificate_is_shown_on_its_next_connection() {
    let (files, authority, _) = two_authorities();
    files.write_identity("rotating", &Authority::new("outdated").issue("scaler"));
    let server = Server::start_tls(&files.server("server", Some("ca.crt"))).await;
    let client = files.client("ca.crt", Some("rotating"));
    let channel = server.channel(&ClientSecurity::Tls(client.clone()));
    check(channel.clone()).await.unwrap_err();

    files.write_identity("rotating", &authority.issue("scaler"));
    assert!(client.reload_now().unwrap());
    check(channel)
        .await
        .expect("the same channel connects with the new certificate");
}

#[tokio::test]
async fn a_broken_replacement_keeps_the_old_certificate_serving() {
    let (files, authority, _) = two_authorities();
    let tls = files.server("server", None);
    let server = Server::start_tls(&tls).await;
    let client = files.client("ca.crt", None);
    let next = authority.issue("localhost");

    // The new certificate without its key.
    files.write("server.crt", &next.cert);
    tls.reload_now().unwrap_err();
    assert!(!tls.reload_now().unwrap(), "the same broken files are tried once");
    let status = tls.reload_status();
    assert_eq!((status.reloads, status.failures), (0, 1));
    assert!(status.error.unwrap().contains("server.key"));
    server.ask_tls(&client).await.unwrap();

    std::fs::remove_file(files.path("server.crt")).unwrap();
    tls.reload_now().unwrap_err();
    tls.reload_now().unwrap_err();
    assert_eq!(tls.reload_status().failures, 2);
    assert!(tls.reload_status().error.unwrap().starts_with("cannot read"));
    server.ask_tls(&client).await.unwrap();

    files.write_identity("server", &next);
    assert!(tls.reload_now().unwrap());
    assert_eq!(
        tls.reload_status(),
        ReloadStatus {
            reloads: 1,
            failures: 2,
            error: None
        }
    );
    server.ask_tls(&client).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_swapped_secret_is_found_without_being_told() {
    use std::os::unix::fs::symlink;
    let (files, authority) = (Files::new(), Authority::new("ours"));
    for version in ["..1", "..2"] {
        std::fs::create_dir(files.path(version)).unwrap();
        files.write_identity(&format!("{version}/tls"), &authority.issue("localhost"));
    }
    symlink("..1", files.path("..data")).unwrap();
    symlink("..data/tls.crt", files.path("tls.crt")).unwrap();
    symlink("..data/tls.key", files.path("tls.key")).unwrap();
    let tls = files.server("tls", None);

    symlink("..2", files.path("..data_tmp")).unwrap();
    std::fs::rename(files.path("..data_tmp"), files.path("..data")).unwrap();
    for _ in 0..1000 {
        if tls.reload_status().reloads > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(
        tls.reload_status(),
        ReloadStatus {
            reloads: 1,
            failures: 0,
            error: None
        }
    );
}

#[tokio::test]
async fn silent_clients_keep_nobody_out() {
    let (files, ..) = two_authorities();
    let server = Server::start_tls(&files.server("server", None)).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(soon(TcpStream::connect(server.addr)).await.unwrap());
    }
    server.ask_tls(&files.client("ca.crt", None)).await.unwrap();
    // More than may shake hands at once: the oldest had to go, long before their deadline.
    assert!(server.stats.handshake_timeouts.get() >= 300 - 256);
    let mut byte = [0];
    assert_eq!(
        soon(silent[0].read(&mut byte)).await.unwrap_or(0),
        0,
        "the oldest is closed"
    );
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_noticed() {
    let server = Server::start(&ServerSecurity::Plaintext).await;
    let relay = TcpListener::bind(support::LOOPBACK).await.unwrap();
    let target = relay.local_addr().unwrap().to_string();
    let (silence, mut silenced) = tokio::sync::oneshot::channel::<()>();
    let relaying = tokio::spawn(async move {
        let (mut near, _) = relay.accept().await.unwrap();
        let mut far = TcpStream::connect(server.addr).await.unwrap();
        tokio::select! {
            ended = tokio::io::copy_bidirectional(&mut near, &mut far) => panic!("ended early: {ended:?}"),
            _ = &mut silenced => {}
        }
        // From now on it carries neither bytes nor an end.
        std::future::pending::<()>().await;
    });
    let options = ConnectOptions {
        keepalive_interval: Duration::from_secs(1),
        keepalive_timeout: Duration::from_secs(1),
        ..ConnectOptions::default()
    };
    let channel = connect(&target, &ClientSecurity::Plaintext, options).unwrap();
    let mut health = HealthClient::new(channel);
    let watching = soon(health.watch(HealthCheckRequest {
        service: String::new(),
    }))
    .await
    .unwrap();
    let mut states = watching.into_inner();
    soon(states.message()).await.unwrap().expect("the present state");
    silence.send(()).unwrap();
    soon(states.message())
        .await
        .expect_err("nothing but keepalive can end this stream");
    relaying.abort();
}

#[tokio::test]
async fn stopping_waits_for_running_calls_and_frees_the_port() {
    let mut server = Server::start(&ServerSecurity::Plaintext).await;
    server.ask(&ClientSecurity::Plaintext).await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    soon(server.task).await.unwrap().unwrap();
    TcpListener::bind(server.addr).await.expect("the port is free");
}

/// Takes the ten seconds of the drain.
#[tokio::test]
async fn a_stream_that_never_ends_cannot_hold_the_stop_up() {
    let mut server = Server::start(&ServerSecurity::Plaintext).await;
    let mut health = HealthClient::new(server.channel(&ClientSecurity::Plaintext));
    let watching = soon(health.watch(HealthCheckRequest {
        service: String::new(),
    }))
    .await
    .unwrap();
    let mut states = watching.into_inner();
    soon(states.message()).await.unwrap().expect("the present state");
    server.stop.take().unwrap().send(()).unwrap();
    soon(server.task).await.unwrap().unwrap();
    soon(states.message()).await.expect_err("the stream is cut off");
}

#[tokio::test]
async fn dropping_a_server_cuts_its_streams() {
    let server = Server::start(&ServerSecurity::Plaintext).await;
    let mut health = HealthClient::new(server.channel(&ClientSecurity::Plaintext));
    let watching = soon(health.watch(HealthCheckRequest {
        service: String::new(),
    }))
    .await
    .unwrap();
    let mut states = watching.into_inner();
    soon(states.message()).await.unwrap().expect("the present state");
    server.task.abort();
    soon(states.message())
        .await
        .expect_err("the stream ends with the server");
}

fn files_text(files: &Files, name: &str) -> String {
    std::fs::read_to_string(files.path(name)).unwrap()
}
