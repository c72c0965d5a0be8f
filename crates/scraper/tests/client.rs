//! The bounds of the HTTP client, against servers that pass each of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::error::Error as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rheostat_engines::Secret;
use rheostat_scraper::{
    Authorization, Client, Failure, FailureKind, Host, Limits, Page, Request, Security, Server as Remote,
    TlsOptions,
};
use support::{After, Reply, Server, certificates, page};

/// Enough for what is to succeed, on a busy machine too.
const AMPLE: Duration = Duration::from_secs(30);

/// Enough to be sure that what hangs does.
const SHORT: Duration = Duration::from_millis(400);

fn client(address: SocketAddr, time: Duration) -> Client {
    Client::new(Remote::at(address, Security::Plaintext), Limits::within(time))
}

fn metrics() -> Request {
    Request::get("/metrics").unwrap()
}

async fn fetch(server: &Server, time: Duration) -> Result<Page, Failure> {
    fetch_from(server.address, time).await
}

async fn fetch_from(address: SocketAddr, time: Duration) -> Result<Page, Failure> {
    client(address, time)
        .fetch(&metrics())
        .await
        .map_err(|error| error.failure)
}

async fn answering(reply: Reply, time: Duration) -> Result<Page, Failure> {
    let server = Server::start(move |_| reply.clone()).await;
    fetch(&server, time).await
}

fn raw(text: &str, after: After) -> Reply {
    Reply::Raw(text.as_bytes().to_vec(), after)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn gzipped(body: Vec<u8>) -> Reply {
    Reply::Status(200, "Content-Encoding: gzip\r\n".into(), body)
}

#[tokio::test]
async fn a_page_comes_with_its_type_over_a_connection_that_is_kept() {
    let server = Server::start(|asked| page(format!("up {}\n", asked.number))).await;
    let client = client(server.address, AMPLE);
    for number in 1..=5 {
        let page = client.fetch(&metrics()).await.unwrap();
        assert_eq!(page.content, format!("up {number}\n").into_bytes());
        assert_eq!(page.content_type.as_deref(), Some("text/plain"));
        assert_eq!((page.sent, page.connected), (5, number == 1));
    }
    let counts = server.counts();
    assert_eq!((counts.connections, counts.asked.len()), (1, 5));
    let asked = &counts.asked[0];
    assert_eq!(asked.line, "GET /metrics");
    for header in [
        format!("host: {}", server.address),
        "accept-encoding: gzip".into(),
        concat!("user-agent: rheostat/", env!("CARGO_PKG_VERSION")).into(),
    ] {
        assert!(
            asked.head.lines().any(|line| line == header),
            "{header} in {}",
            asked.head
        );
    }
    assert!(!asked.head.contains("authorization"));
    drop(client);
    server.until(|counts| counts.closed == 1).await;
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced() {
    let body = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    let server = Server::start(move |_| raw(body, After::Close)).await;
    let client = client(server.address, AMPLE);
    for _ in 0..5 {
        assert_eq!(client.fetch(&metrics()).await.unwrap().content, b"a");
    }
    assert_eq!(server.asked(), 5);
    // One that closes as soon as it is asked again.
    server.behave(move |asked| match asked.number % 2 {
        0 => raw(body, After::Keep),
        _ => raw("", After::Reset),
    });
    for _ in 0..3 {
        let _ = client.fetch(&metrics()).await;
    }
    server.behave(move |_| raw(body, After::Keep));
    assert_eq!(client.fetch(&metrics()).await.unwrap().content, b"a");
}

#[tokio::test]
async fn requests_run_side_by_side() {
    let server = Server::start(|_| page("a")).await;
    let client = client(server.address, AMPLE);
    let request = metrics();
    let (one, two, three) = tokio::join!(
        client.fetch(&request),
        client.fetch(&request),
        client.fetch(&request)
    );
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert!(server.counts().connections <= 3);
}

#[tokio::test]
async fn a_compressed_page_is_decompressed() {
    let text = "metric 1\n".repeat(10_000);
    let page = answering(gzipped(gzip(text.as_bytes())), AMPLE).await.unwrap();
    assert_eq!(page.content, text.as_bytes());
    assert!(page.sent < text.len() / 50);

    let odd = Reply::Status(200, "Content-Encoding: br\r\n".into(), vec![1]);
    let failure = answering(odd, AMPLE).await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Encoding(coding) if coding == "br"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_bomb_ends_at_the_limit() {
    let mut limits = Limits::within(AMPLE);
    limits.page = 1 << 20;
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < limits.page);
    for reply in [
        gzipped(bomb),
        Reply::Endless,
        raw(
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            After::Hang,
        ),
    ] {
        let hangs = matches!(reply, Reply::Raw(..));
        let server = Server::start(move |_| reply.clone()).await;
        let client = Client::new(Remote::at(server.address, Security::Plaintext), limits);
        let failure = client.fetch(&metrics()).await.unwrap_err().failure;
        assert!(
            matches!(failure, Failure::TooLarge { limit: 1_048_576 }),
            "{hangs}: {failure}"
        );
    }
}

#[tokio::test]
async fn a_page_that_ends_early_is_no_page() {
    let whole = gzip(&b"metric 1\n".repeat(1000));
    let cut = whole[..whole.len() - 4].to_vec();
    let failure = answering(gzipped(cut), AMPLE).await.unwrap_err();
    assert!(matches!(failure, Failure::Gzip(_)), "{failure}");
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nmetric 1\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nmetric 1\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "",
    ] {
        for after in [After::Close, After::Reset] {
            let failure = answering(raw(cut, after), AMPLE).await.unwrap_err();
            assert!(matches!(failure, Failure::Broken(_)), "{cut:?}: {failure}");
            assert_eq!(failure.kind(), FailureKind::Broken);
        }
    }
}

#[tokio::test]
async fn a_page_that_ends_with_its_connection_may_not_be_whole() {
    let old = raw("HTTP/1.0 200 OK\r\n\r\nmetric 1\nmetr", After::Close);
    let page = answering(old, AMPLE).await.unwrap();
    assert_eq!(
        (page.content.as_slice(), page.delimited),
        (b"metric 1\nmetr".as_slice(), false)
    );
    let compressed = gzip(b"metric 1\n");
    let old = [
        b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
        compressed.as_slice(),
    ]
    .concat();
    let page = answering(Reply::Raw(old, After::Close), AMPLE).await.unwrap();
    assert!(page.delimited);
    let page = answering(support::page("metric 1\n"), AMPLE).await.unwrap();
    assert!(page.delimited);
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(1000));
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(1 << 20));
    for text in ["SSH-2.0-OpenSSH_9.2\r\n", "\0\0\0\0\0\0\0\0\0", &many, &long] {
        let failure = answering(raw(text, After::Hang), AMPLE).await.unwrap_err();
        assert!(matches!(failure, Failure::Broken(_)), "{failure}");
        assert!(failure.source().is_some());
    }
}

#[tokio::test]
async fn whoever_hangs_is_left_after_its_time() {
    let kind = |reply| async {
        let failure = answering(reply, SHORT).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Timeout);
        failure
    };
    assert!(matches!(kind(Reply::Hang).await, Failure::HeadTimeout(SHORT)));
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n".to_vec();
    assert!(matches!(
        kind(Reply::Drip(head.clone())).await,
        Failure::HeadTimeout(SHORT)
    ));
    let start = [&head, b"a".as_slice()].concat();
    match kind(Reply::Raw(start, After::Hang)).await {
        Failure::BodyTimeout { limit, received } => assert_eq!((limit, received), (SHORT, 1)),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_slow_page_is_left_in_the_middle() {
    let server = Server::start(|_| {
        let body = "a".repeat(1000);
        Reply::Drip(format!("HTTP/1.1 200 OK\r\n\r\n{body}").into_bytes())
    })
    .await;
    let failure = fetch(&server, Duration::from_secs(2)).await.unwrap_err();
    assert!(
        matches!(failure, Failure::BodyTimeout { received: 1.., .. }),
        "{failure}"
    );
    // And is hung up on.
    server.until(|counts| counts.closed == 1).await;
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn nobody_who_does_not_accept_is_waited_for() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // The kernel accepts some by itself, and then no more.
    let mut queue = Vec::new();
    while let Ok(connected) = tokio::time::timeout(SHORT, tokio::net::TcpStream::connect(address)).await {
        queue.push(connected.unwrap());
    }
    let failure = fetch_from(address, SHORT).await.unwrap_err();
    assert!(matches!(failure, Failure::ConnectTimeout(SHORT)), "{failure}");
}

#[tokio::test]
async fn a_closed_port_is_told_at_once() {
    let server = Server::start(|_| Reply::Hang).await;
    let address = server.address;
    drop(server);
    let error = loop {
        // The socket may live a moment longer.
        let error = client(address, SHORT).fetch(&metrics()).await.unwrap_err();
        if matches!(error.failure, Failure::Connect(_)) {
            break error;
        }
    };
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("GET http://{address}/metrics: cannot connect: ")),
        "{text}"
    );
}

#[tokio::test]
async fn a_redirect_is_an_error_that_says_where_it_pointed() {
    let to = "Location: http://169.254.169.254/latest/\r\n";
    let failure = answering(Reply::Status(302, to.into(), Vec::new()), AMPLE)
        .await
        .unwrap_err();
    assert_eq!(
        failure.to_string(),
        "302 Found: redirects are not followed (to \"http://169.254.169.254/latest/\")"
    );
    assert_eq!(failure.kind(), FailureKind::Status);
}

#[tokio::test]
async fn a_refusal_shows_how_it_begins_and_keeps_the_connection() {
    let server = Server::start(|_| {
        let body = format!("Internal\r\n\tServer\x1b Error {}", "!".repeat(2000));
        Reply::Status(500, String::new(), body.into_bytes())
    })
    .await;
    let client = client(server.address, AMPLE);
    for _ in 0..3 {
        let failure = client.fetch(&metrics()).await.unwrap_err().failure;
        let text = failure.to_string();
        assert!(
            text.starts_with("500 Internal Server Error: \"Internal Server Error !!!!"),
            "{text}"
        );
        assert!(text.len() < 400);
    }
    assert_eq!(server.counts().connections, 1);
    server.behave(|_| Reply::Status(500, String::new(), b"no! ".repeat(100_000)));
    let failure = client.fetch(&metrics()).await.unwrap_err().failure;
    assert!(
        failure
            .to_string()
            .starts_with("500 Internal Server Error: \"no! no!")
    );
    // An error page without end is not read to its end.
    let endless = "HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nno!\r\n";
    server.behave(move |_| raw(endless, After::Hang));
    let slow = self::client(server.address, SHORT);
    let failure = slow.fetch(&metrics()).await.unwrap_err().failure;
    assert_eq!(failure.to_string(), "503 Service Unavailable: \"no!\"");
}

#[tokio::test]
async fn a_compressed_refusal_shows_how_it_begins_whole_or_not() {
    let refused = |body: Vec<u8>| Reply::Status(500, "Content-Encoding: gzip\r\n".into(), body);
    let says = async |body: Vec<u8>| answering(refused(body), AMPLE).await.unwrap_err().to_string();
    let told = "500 Internal Server Error: \"out of memory\"";
    let whole = gzip(b"out of memory");
    assert_eq!(says(whole.clone()).await, told);
    // Without the checksum at its end.
    assert_eq!(says(whole[..whole.len() - 8].to_vec()).await, told);
    let long = gzip(format!("out of memory {}", "!".repeat(1 << 20)).as_bytes());
    let text = says(long).await;
    assert!(
        text.starts_with("500 Internal Server Error: \"out of memory !!!"),
        "{text}"
    );
    assert!(text.len() < 400);
    assert_eq!(says(b"no gzip".to_vec()).await, "500 Internal Server Error");
    let strange = Reply::Status(404, "Content-Encoding: br\r\n".into(), b"?".to_vec());
    let failure = answering(strange, AMPLE).await.unwrap_err();
    assert_eq!(failure.to_string(), "404 Not Found");
}

#[tokio::test]
async fn credentials_and_forms_are_sent() {
    let server = Server::start(|_| page("{}")).await;
    let client = client(server.address, AMPLE);
    let bearer = Authorization::Bearer(Secret::new("t0ken".into()));
    let request = Request::post_form("/api/v1/query", [("query", "a b")])
        .unwrap()
        .accept("application/json")
        .compressed(false)
        .authorized(&bearer)
        .unwrap()
        .header("X-Scope-OrgID", &Secret::new("team-a".into()))
        .unwrap();
    client.fetch(&request).await.unwrap();
    let asked = server.counts().asked.remove(0);
    assert_eq!(asked.line, "POST /api/v1/query");
    assert_eq!(asked.body, "query=a+b");
    for header in [
        "authorization: bearer t0ken",
        "x-scope-orgid: team-a",
        "accept: application/json",
        "accept-encoding: identity",
        "content-type: application/x-www-form-urlencoded",
        "content-length: 9",
    ] {
        assert!(
            asked.head.lines().any(|line| line == header),
            "{header} in {}",
            asked.head
        );
    }
}

#[tokio::test]
async fn only_whom_the_ca_vouches_for_is_trusted() {
    let (ca, config) = certificates(&["127.0.0.1"]);
    let (other_ca, _) = certificates(&["127.0.0.1"]);
    let server = Server::with_tls(Some(config), |_| page("a")).await;
    let fetched = |options: TlsOptions| {
        let security = options.build(&Host::Address(server.address.ip())).unwrap();
        let client = Client::new(Remote::at(server.address, security), Limits::within(AMPLE));
        async move { client.fetch(&metrics()).await.map_err(|error| error.failure) }
    };
    let with = |ca: &str| TlsOptions {
        ca_pem: Some(ca.to_owned()),
        ..TlsOptions::default()
    };
    assert_eq!(fetched(with(&ca)).await.unwrap().content, b"a");

    let failure = fetched(with(&other_ca)).await.unwrap_err();
    assert!(matches!(failure, Failure::Tls(_)), "{failure}");
    assert!(failure.to_string().contains("certificate"), "{failure}");

    let skip = TlsOptions {
        skip_verification: true,
        ..TlsOptions::default()
    };
    assert_eq!(fetched(skip).await.unwrap().content, b"a");

    let named = TlsOptions {
        server_name: Some("engine.example".into()),
        ..with(&ca)
    };
    assert!(matches!(fetched(named).await, Err(Failure::Tls(_))));
}

#[tokio::test]
async fn a_certificate_may_be_for_a_name() {
    let (ca, config) = certificates(&["engine.example"]);
    let server = Server::with_tls(Some(config), |_| page("a")).await;
    let options = |server_name: Option<&str>| TlsOptions {
        ca_pem: Some(ca.clone()),
        server_name: server_name.map(Into::into),
        skip_verification: false,
    };
    let fetched = |options: TlsOptions| {
        let url = format!("https://{}/base/", server.address);
        let (remote, base) = Remote::from_url(&url, &options).unwrap();
        assert_eq!(base, "/base");
        let client = Client::new(remote, Limits::within(AMPLE));
        async move { client.fetch(&metrics()).await }
    };
    assert!(fetched(options(Some("engine.example"))).await.is_ok());
    assert!(fetched(options(None)).await.is_err());
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_not_waited_for() {
    let options = TlsOptions {
        skip_verification: true,
        ..TlsOptions::default()
    };
    let server = Server::start(|_| Reply::Hang).await;
    let security = options.build(&Host::Address(server.address.ip())).unwrap();
    let client = Client::new(Remote::at(server.address, security), Limits::within(SHORT));
    let failure = client.fetch(&metrics()).await.unwrap_err().failure;
    assert!(matches!(failure, Failure::ConnectTimeout(SHORT)), "{failure}");
}

#[test]
fn a_ca_that_is_none_is_refused() {
    let build = |pem: &str| {
        let options = TlsOptions {
            ca_pem: Some(pem.into()),
            ..TlsOptions::default()
        };
        options
            .build(&Host::Name("engine.example".into()))
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(build(""), "the CA holds no certificate in PEM form");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(build(broken).starts_with("the CA holds a certificate that cannot be used"));
    let bad_name = TlsOptions {
        skip_verification: true,
        server_name: Some("no name".into()),
        ..TlsOptions::default()
    };
    assert!(bad_name.build(&Host::Name("a".into())).is_err());
}
