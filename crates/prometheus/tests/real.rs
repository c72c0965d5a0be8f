//! A real Prometheus: scraping pages that this test serves, asked, stopped and started again.
//!
//! Runs where `RHEOSTAT_PROMETHEUS` is the path of the program; `cargo xtask prometheus` fetches
//! Debian's and sets it. Without it there is nothing to test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "tests"
)]

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rheostat_prometheus::{
    Data, Enforcement, QueryId, QueryResult, Sampler, SamplerOptions, ServerConfig, Servers,
};
use rheostat_reading::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(60);

/// Two tenants and a page as dcgm-exporter's; the other tenant's numbers are larger than any sum of
/// one's own.
const PAGE: &str = r#"# TYPE waiting gauge
waiting{namespace="a",pod="p1"} 3
waiting{namespace="a",pod="p2"} 4
waiting{namespace="b",pod="secret"} 1e9
# TYPE odd gauge
odd{namespace="a"} NaN
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a",modelName="NVIDIA H100",Hostname="n1",namespace="a",pod="p1",container="c"} 95
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-b",modelName="NVIDIA H100",Hostname="n1",namespace="b",pod="secret",container="c"} 1e9
"#;

/// A running Prometheus, below `/prefix`.
struct Prometheus {
    process: Child,
}

impl Prometheus {
    fn start(program: &Path, folder: &Path, address: SocketAddr, target: SocketAddr) -> Self {
        let config = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
             scrape_configs: [{{job_name: test, honor_labels: true, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        let file = folder.join("prometheus.yaml");
        std::fs::write(&file, config).unwrap();
        let process = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.external-url=http://localhost/prefix")
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Self { process }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn serve_page() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let head =
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n\r\n";
                let _ = stream.write_all(format!("{head}{PAGE}").as_bytes()).await;
            });
        }
    });
    address
}

async fn known(sampler: &Sampler, query: &QueryId, is: impl Fn(&QueryResult) -> bool) -> Arc<QueryResult> {
    let board = sampler.board();
    let mut changes = board.changes();
    let waiting = async {
        loop {
            if let Some(result) = board.get(query).filter(|result| is(result)) {
                return result;
            }
            changes.changed().await.unwrap();
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("{query}: only {:?}", board.get(query)))
}

fn values(result: &QueryResult) -> Vec<f64> {
    let answered = result.answered.as_ref();
    answered
        .map(|answered| answered.answer.data.values())
        .unwrap_or_default()
}

/// Queries that try to see more than their own namespace, or that are hard to bind.
const HARD: &[&str] = &[
    "waiting",
    "waiting{}",
    r#"{__name__=~".+"}"#,
    r#"{__name__!="x",pod=~".*"}"#,
    r#"waiting{pod!="p1"}"#,
    "waiting or DCGM_FI_DEV_GPU_UTIL",
    "sum(waiting) + sum(DCGM_FI_DEV_GPU_UTIL)",
    "sum by (namespace) (waiting)",
    "SUM(waiting) BY (pod, namespace,)",
    "topk(10, waiting)",
    "max_over_time(waiting[1m])",
    "max_over_time(sum by (pod) (waiting)[1m:1s])",
    "max_over_time(max_over_time(waiting[30s:1s])[1m:1s] offset 1s)",
    "waiting offset 1s",
    "waiting @ end()",
    r#"label_replace(waiting, "namespace", "b", "pod", "(.*)")"#,
    r#"label_join(waiting, "namespace", "", "pod")"#,
    "waiting * on (pod) group_left (gpu) DCGM_FI_DEV_GPU_UTIL",
    "waiting / ignoring (gpu, UUID, modelName, Hostname, container) group_left DCGM_FI_DEV_GPU_UTIL",
    "waiting unless on (pod) DCGM_FI_DEV_GPU_UTIL",
    "waiting and ignoring (pod) waiting",
    "-waiting ^ 2 % 7 atan2 3",
    "waiting > bool 3 == 1",
    "scalar(sum(waiting)) + vector(1)",
    "count_values('v', waiting)",
    "quantile(.9, waiting)",
    "absent(waiting{pod='none'})",
    "absent_over_time(waiting{pod=`}{`}[1m])",
    "waiting # {namespace=\"b\"}\n or waiting",
    "waiting{pod=~'p1|secret'} # '",
    "waiting{pod=\"secret\\\"} or waiting{namespace=\\\"b\"}",
    "waiting{pod='\\x73\\145cret'}",
    "histogram_quantile(0.9, sum by (le) (rate(waiting[1m])))",
    "sum(sum)",
    "{by='x',or_='y',pod=~\".*\"}",
    "clamp_max(waiting, Inf) - NaN",
    "time() - timestamp(waiting)",
    "count(up) or count({job=~\".+\"})",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_is_asked_stopped_and_started_again() {
    let Some(program) = std::env::var_os("RHEOSTAT_PROMETHEUS") else {
        eprintln!("RHEOSTAT_PROMETHEUS is not set: no Prometheus to ask (cargo xtask prometheus)");
        return;
    };
    let program = Path::new(&program);
    let folder = tempfile::tempdir().unwrap();
    let target = serve_page().await;
    let address = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let prometheus = Prometheus::start(program, folder.path(), address, target);

    let url = format!("http://{address}/prefix/");
    let limits = ServerConfig {
        max_concurrent: 16,
        ..ServerConfig::at(&url)
    };
    let off = ServerConfig {
        enforcement: Enforcement::Off,
        ..limits.clone()
    };
    let servers: Servers = [("bound".to_owned(), limits), ("off".to_owned(), off)]
        .into_iter()
        .collect();
    let options = SamplerOptions {
        period: Duration::from_millis(200),
        max_pause: Duration::from_millis(400),
        spread: Duration::from_millis(50),
        seed: 7,
    };
    let clock = Clock::system();
    let sampler = Sampler::start(options, clock.clone());
    sampler.set_servers(&servers);
    let bind = |server: &str, namespace: &str, query: &str| servers.bind(server, namespace, query).unwrap();

    let sum = bind("bound", "a", "sum(waiting)");
    let all = bind("off", "a", "sum(waiting)");
    let gpu = bind("bound", "a", "DCGM_FI_DEV_GPU_UTIL");
    let odd = bind("bound", "a", "odd");
    let number = bind("bound", "a", "42");
    let nothing = bind("bound", "a", "no_such_metric");
    let wrong = bind("bound", "a", "no_such_function(waiting)");
    let hard: Vec<QueryId> = HARD.iter().map(|query| bind("bound", "a", query)).collect();
    let named = [&sum, &all, &gpu, &odd, &number, &nothing, &wrong];
    sampler.set_queries(named.into_iter().cloned().chain(hard.iter().cloned()));

    known(&sampler, &sum, |result| values(result) == [7.0]).await;
    known(&sampler, &all, |result| values(result) == [1e9 + 7.0]).await;
    known(&sampler, &odd, |result| {
        values(result).first().is_some_and(|value| value.is_nan())
    })
    .await;
    known(&sampler, &number, |result| values(result) == [42.0]).await;
    let result = known(&sampler, &nothing, |result| result.answered.is_some()).await;
    assert!(values(&result).is_empty());
    let result = known(&sampler, &wrong, |result| {
        result
            .failed
            .as_ref()
            .is_some_and(|failed| failed.reason.contains("bad_data"))
    })
    .await;
    assert!(
        result
            .failed
            .as_ref()
            .unwrap()
            .reason
            .contains("no_such_function")
    );
    let result = known(&sampler, &gpu, |result| values(result) == [95.0]).await;
    let answered = result.answered.as_ref().unwrap();
    let Data::Vector(series) = &answered.answer.data else {
        panic!("{answered:?}")
    };
    assert_eq!(series[0].labels["UUID"], "GPU-a");
    let off_by = series[0].sample.at.since(answered.asked_at) + answered.asked_at.since(series[0].sample.at);
    assert!(
        off_by < PATIENCE,
        "the server's time and ours are of one machine: {off_by:?}"
    );

    let since = clock.now();
    for (id, query) in hard.iter().zip(HARD) {
        let is_new = |result: &QueryResult| {
            result.failed.is_some()
                || result
                    .answered
                    .as_ref()
                    .is_some_and(|answered| answered.asked_at > since)
        };
        let result = known(&sampler, id, is_new).await;
        if let Some(failed) = &result.failed {
            // Vectors that do not match one to one are an answer too; a query that is none is not.
            assert!(
                failed.reason.contains("execution"),
                "{query}: {id}: {}",
                failed.reason
            );
            continue;
        }
        if let Data::Vector(series) = &result.answered.as_ref().unwrap().answer.data {
            for series in series {
                assert_ne!(
                    series.labels.get("pod").map(String::as_str),
                    Some("secret"),
                    "{query}: {id}"
                );
            }
        }
        // Times are large too.
        assert!(
            query.contains("time()")
                || values(&result)
                    .iter()
                    .all(|value| value.abs() < 1e8 || value.is_infinite() || value.is_nan()),
            "{query}: {id}: {result:?}"
        );
    }

    drop(prometheus);
    let result = known(&sampler, &sum, |result| {
        result.failed.as_ref().is_some_and(|failed| failed.attempts > 2)
    })
    .await;
    assert_eq!(values(&result), [7.0], "frozen, not zero");
    let old = result.answered.as_ref().unwrap().asked_at;
    assert!(
        result.failed.as_ref().unwrap().reason.contains("cannot connect"),
        "{result:?}"
    );

    let _prometheus = Prometheus::start(program, folder.path(), address, target);
    let is_new = |result: &QueryResult| {
        result.failed.is_none()
            && values(result) == [7.0]
            && result
                .answered
                .as_ref()
                .is_some_and(|answered| answered.asked_at > old)
    };
    known(&sampler, &sum, is_new).await;
    println!(
        "{} queries asked of the real Prometheus",
        hard.len() + named.len()
    );
}
