//! Nothing is open by accident.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::path::PathBuf;

use rheostat_transport::{
    ClientOptions, ClientSecurity, ConnectOptions, ServerOptions, ServerSecurity, connect,
};
use support::{Authority, Files};

#[test]
fn plaintext_must_be_asked_for() {
    let error = ServerOptions {
        prefix: "keda-",
        ..ServerOptions::default()
    }
    .load()
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "no TLS certificates: give --keda-tls-cert and --keda-tls-key, or ask for unprotected connections with \
         --keda-plaintext"
    );
    let error = ClientOptions::default().load().unwrap_err();
    assert_eq!(
        error.to_string(),
        "no TLS certificates: give --tls-ca, or ask for unprotected connections with --plaintext"
    );
    let server = ServerOptions {
        plaintext: true,
        ..ServerOptions::default()
    };
    assert!(matches!(server.load(), Ok(ServerSecurity::Plaintext)));
    let client = ClientOptions {
        plaintext: true,
        ..ClientOptions::default()
    };
    assert!(matches!(client.load(), Ok(ClientSecurity::Plaintext)));
}

#[test]
fn options_that_contradict_or_lack_each_other_are_named() {
    let file = || Some(PathBuf::from("/nowhere"));
    let server = |options: ServerOptions| options.load().unwrap_err().to_string();
    let client = |options: ClientOptions| options.load().unwrap_err().to_string();
    assert_eq!(
        server(ServerOptions {
            plaintext: true,
            client_ca: file(),
            ..ServerOptions::default()
        }),
        "--plaintext contradicts --tls-client-ca: give one of them"
    );
    assert_eq!(
        server(ServerOptions {
            cert: file(),
            ..ServerOptions::default()
        }),
        "--tls-cert needs --tls-key too"
    );
    assert_eq!(
        server(ServerOptions {
            key: file(),
            ..ServerOptions::default()
        }),
        "--tls-key needs --tls-cert too"
    );
    assert_eq!(
        server(ServerOptions {
            client_ca: file(),
            ..ServerOptions::default()
        }),
        "--tls-client-ca needs --tls-cert too"
    );
    assert_eq!(
        client(ClientOptions {
            plaintext: true,
            ca: file(),
            ..ClientOptions::default()
        }),
        "--plaintext contradicts --tls-ca: give one of them"
    );
    assert_eq!(
        client(ClientOptions {
            cert: file(),
            key: file(),
            ..ClientOptions::default()
        }),
        "--tls-cert needs --tls-ca too"
    );
    assert_eq!(
        client(ClientOptions {
            ca: file(),
            key: file(),
            prefix: "agent-",
            ..ClientOptions::default()
        }),
        "--agent-tls-key needs --agent-tls-cert too"
    );
    assert_eq!(
        client(ClientOptions {
            ca: file(),
            server_name: Some("a b".into()),
            ..ClientOptions::default()
        }),
        "--tls-server-name \"a b\" is neither a DNS name nor an IP address"
    );
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_cause() {
    let files = Files::new();
    let authority = Authority::new("one");
    let identity = authority.issue("localhost");
    files.write_identity("server", &identity);
    let load = |cert: PathBuf, key: PathBuf, client_ca: Option<PathBuf>| {
        let options = ServerOptions {
            cert: Some(cert),
            key: Some(key),
            client_ca,
            ..ServerOptions::default()
        };
        options.load().unwrap_err().to_string()
    };
    let (cert, key) = (files.path("server.crt"), files.path("server.key"));
    let missing = load(files.path("none"), key.clone(), None);
    assert!(
        missing.starts_with("cannot read ") && missing.contains("none: No such file"),
        "{missing}"
    );
    let empty = load(files.write("empty", ""), key.clone(), None);
    assert!(
        empty.ends_with("empty holds no certificate in PEM form"),
        "{empty}"
    );
    let keyless = load(cert.clone(), cert.clone(), None);
    assert!(
        keyless.ends_with("server.crt holds no private key in PEM form"),
        "{keyless}"
    );
    let torn = load(files.write("torn", &identity.cert[..200]), key.clone(), None);
    assert!(torn.contains("torn is not PEM"), "{torn}");
    let other = files.write("other.key", &authority.issue("localhost").key);
    let mismatch = load(cert.clone(), other, None);
    assert!(mismatch.contains("server.crt with the key of"), "{mismatch}");
    let large = load(
        files.write("large", &" ".repeat((1 << 20) + 1)),
        key.clone(),
        None,
    );
    assert!(large.contains("more than 1048576 bytes"), "{large}");
    let no_authority = load(cert, key, Some(files.path("server.key")));
    assert!(
        no_authority.ends_with("server.key holds no certificate in PEM form"),
        "{no_authority}"
    );
}

#[test]
fn certificates_need_a_runtime_to_be_watched() {
    let files = Files::new();
    let ca = files.write("ca.crt", &Authority::new("one").pem);
    let error = ClientOptions {
        ca: Some(ca),
        ..ClientOptions::default()
    }
    .load()
    .unwrap_err();
    assert!(error.to_string().contains("Tokio runtime"), "{error}");
}

#[tokio::test]
async fn addresses_are_checked_before_they_are_dialled() {
    let files = Files::new();
    files.write("ca.crt", &Authority::new("one").pem);
    let tls = ClientSecurity::Tls(files.client("ca.crt", None));
    let plain = ClientSecurity::Plaintext;
    let error = |target: &str, security: &ClientSecurity| {
        connect(target, security, ConnectOptions::default())
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    for target in [
        "",
        "host",
        ":1",
        "host:0",
        "host:70000",
        "user@host:1",
        "http://host:1/path",
        "ftp://host:1",
        "::1:5",
    ] {
        assert!(error(target, &plain).contains("is not an address"), "{target}");
    }
    assert!(error("http://host:1", &tls).contains("https:// is needed"));
    assert!(error("https://host:1", &plain).contains("http:// is needed"));
    assert!(error("under_score!:1", &tls).contains("is neither a DNS name nor an IP address"));
    for target in ["host:1", "10.0.0.1:1", "[::1]:1"] {
        connect(target, &plain, ConnectOptions::default()).unwrap();
        connect(target, &tls, ConnectOptions::default()).unwrap();
    }
    connect("https://host:1/", &tls, ConnectOptions::default()).unwrap();
}
