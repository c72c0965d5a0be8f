use super::*;

const WHOLE: &str = r#"
main:
  url: https://mimir.monitoring.svc:8443/prometheus/
  ca: /etc/rheostat/ca.crt
  serverName: mimir
  basicAuth:
    username: rheostat
    passwordFile: /etc/rheostat/password
  headers:
    X-Scope-OrgID: team-a
  timeout: 2500ms
  enforceNamespace: kubernetes_namespace
  maxQueries: 7
  maxConcurrent: 2
everything:
  url: http://prometheus:9090
  enforceNamespace: off
"#;

fn servers(text: &str) -> Servers {
    text.parse()
        .unwrap_or_else(|error: ConfigError| panic!("{error}"))
}

fn refused(text: &str) -> String {
    text.parse::<Servers>().unwrap_err().to_string()
}

#[test]
fn every_key_is_read() {
    let servers = servers(WHOLE);
    let main = servers.get("main").unwrap();
    assert_eq!(main.url, "https://mimir.monitoring.svc:8443/prometheus/");
    assert_eq!(main.ca.as_deref(), Some(Path::new("/etc/rheostat/ca.crt")));
    assert_eq!(main.server_name.as_deref(), Some("mimir"));
    assert_eq!(
        main.basic_auth,
        Some(("rheostat".into(), "/etc/rheostat/password".into()))
    );
    assert_eq!(main.headers["X-Scope-OrgID"].reveal(), "team-a");
    assert_eq!(main.timeout, Duration::from_millis(2500));
    assert_eq!(
        main.enforcement,
        Enforcement::Label("kubernetes_namespace".into())
    );
    assert_eq!((main.max_queries, main.max_concurrent), (7, 2));
    let other = servers.get("everything").unwrap();
    let expected = ServerConfig {
        enforcement: Enforcement::Off,
        ..ServerConfig::at("http://prometheus:9090")
    };
    assert_eq!(**other, expected);
}

#[test]
fn json_is_read_too_and_an_empty_file_names_no_server() {
    let json =
        r#"{"main": {"url": "http://p:9090", "bearerTokenFile": "/token", "insecureSkipVerify": true}}"#;
    let servers_read = servers(json);
    let main = servers_read.get("main").unwrap();
    assert_eq!(main.bearer_token_file.as_deref(), Some(Path::new("/token")));
    assert_eq!(
        main.enforcement,
        Enforcement::Label("namespace".into()),
        "bound unless said otherwise"
    );
    for empty in ["", "\n", "{}"] {
        assert!(servers(empty).is_empty());
    }
}

#[test]
fn a_mistake_is_told_with_its_key_and_what_is_allowed() {
    let with = |line: &str| refused(&format!("main:\n  url: https://p\n  {line}\n"));
    for (line, key, allowed) in [
        ("timeout: 10", "main.timeout", "100ms to 60s"),
        ("timeout: 2m", "main.timeout", "100ms to 60s"),
        ("timeout: 1s500ms", "main.timeout", "100ms to 60s"),
        (
            "enforceNamespace: a b",
            "main.enforceNamespace",
            "off, or the name of a label",
        ),
        (
            "enforceNamespace: __name__",
            "main.enforceNamespace",
            "off, or the name of a label",
        ),
        ("maxQueries: 0", "main.maxQueries", "1 to 10000"),
        ("maxConcurrent: 65", "main.maxConcurrent", "1 to 64"),
        ("headers: {Host: x}", "main.headers", "the client's own"),
        ("headers: {'a b': x}", "main.headers", "not the name of a header"),
        (
            "headers: {X: \"a\\nb\"}",
            "main.headers",
            "other than visible ASCII",
        ),
        (
            "bearerTokenFile: /t\n  headers: {authorization: x}",
            "main.headers",
            "set this header",
        ),
        (
            "bearerTokenFile: /t\n  basicAuth: {username: u, passwordFile: /p}",
            "main.bearerTokenFile",
            "either",
        ),
        (
            "basicAuth: {username: 'a:b', passwordFile: /p}",
            "main.basicAuth.username",
            "without colons",
        ),
        (
            "ca: /ca\n  insecureSkipVerify: true",
            "main.insecureSkipVerify",
            "leave one of the two out",
        ),
        // Keys and kinds are the parser's matter.
        ("tokenFile: /t", "tokenFile", "bearerTokenFile"),
        (
            "basicAuth: {username: u, password: p}",
            "password",
            "passwordFile",
        ),
        ("basicAuth: {username: u}", "passwordFile", "missing"),
        ("maxQueries: many", "servers' file", "line 3"),
    ] {
        let error = with(line);
        assert!(error.contains(key) && error.contains(allowed), "{line}: {error}");
    }
    assert!(
        !with("headers: {'a b': hush}").contains("hush"),
        "values of headers can be secrets"
    );
    for url in [
        "prometheus:9090",
        "ftp://p",
        "http://",
        "http://u:p@host",
        "http://p?x=y",
        "https:///x",
    ] {
        let error = refused(&format!("main: {{url: '{url}'}}"));
        assert!(
            error.contains("main.url") && error.contains("https://HOST:PORT"),
            "{url}: {error}"
        );
    }
    assert!(refused("main: {url: 'http://p', ca: /ca}").contains("needs an https:// url"));
    assert!(refused("Main: {url: 'http://p'}").contains("a to z"));
    assert!(refused("main: {}").contains("url"));
    assert!(refused("main: {url: 'http://p'}\nmain: {url: 'http://q'}").contains("main"));
    assert!(refused("- a").contains("servers' file"));
    let many: String = (0..65)
        .map(|number| format!("s{number}: {{url: 'http://p'}}\n"))
        .collect();
    assert!(refused(&many).contains("at most 64"));
}

#[test]
fn a_file_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("servers.yaml");
    let mut file = ServersFile::new(&path);
    assert!(matches!(file.poll(), Some(Err(ConfigError::Read { .. }))));
    std::fs::write(&path, "a: {url: 'http://p'}").unwrap();
    assert_eq!(file.poll().unwrap().unwrap().len(), 1);
    assert!(file.poll().is_none());
    std::fs::write(&path, "a: {url: 'http://p'}\nb: {url: 5}").unwrap();
    assert!(file.poll().unwrap().is_err());
    assert!(file.poll().is_none(), "an error is told once");
    std::fs::write(&path, vec![b'#'; 300_000]).unwrap();
    assert!(matches!(file.poll(), Some(Err(ConfigError::TooLarge { .. }))));
    std::fs::write(&path, "a: {url: 'http://q'}").unwrap();
    assert_eq!(file.poll().unwrap().unwrap().get("a").unwrap().url, "http://q");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(file.poll(), Some(Err(ConfigError::NotUtf8))));
}
