//! The whole demo, as fast as this machine allows: every real part runs, and the demo's own checks
//! judge it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use rheostat_demo::DemoOptions;
use tokio_util::sync::CancellationToken;

fn options(directory: &std::path::Path) -> DemoOptions {
    DemoOptions {
        speed: Some(120.0),
        seed: 3,
        trace: None,
        report: directory.join("report.html"),
        plain: true,
        fake_nvml: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_happens_and_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path());
    let report = options.report.clone();
    rheostat_demo::run(options, CancellationToken::new())
        .await
        .unwrap();
    let page = std::fs::read_to_string(report).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "it stands by itself"
    );
    assert_eq!(page.matches("<svg").count(), 5);
    for text in [
        "team-a/chat",
        "profile: vllm",
        "is restarted",
        "GPU lost",
        "KEDA (push)",
        "the HPA computes",
        "0 → ",
    ] {
        assert!(page.contains(text), "{text} is not in the report");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_drives_the_load() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.csv");
    let mut trace = String::from("TIMESTAMP,ContextTokens,GeneratedTokens\r\n");
    for second in 0..300 {
        let (minute, second) = (second / 60, second % 60);
        trace.push_str(&format!(
            "2023-11-16 18:{minute:02}:{second:02}.2500000,400,120\r\n"
        ));
    }
    std::fs::write(&path, trace).unwrap();
    let options = DemoOptions {
        trace: Some(path),
        ..options(directory.path())
    };
    let report = options.report.clone();
    rheostat_demo::run(options, CancellationToken::new())
        .await
        .unwrap();
    let page = std::fs::read_to_string(report).unwrap();
    assert!(
        page.contains("300 of 300 requests in 5 min"),
        "the report says what was played"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_is_not_judged() {
    let directory = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    // Wherever this finds the run, it ends in order and without a verdict.
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        stop.cancel();
    });
    // Slow enough that it cannot have come to its end.
    let options = DemoOptions {
        speed: Some(1.0),
        ..options(directory.path())
    };
    rheostat_demo::run(options, shutdown).await.unwrap();
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let refusal = async |options: DemoOptions| {
        format!(
            "{:#}",
            rheostat_demo::run(options, CancellationToken::new())
                .await
                .unwrap_err()
        )
    };
    let good = options(directory.path());
    let speed = refusal(DemoOptions {
        speed: Some(0.0),
        ..good.clone()
    })
    .await;
    assert!(
        speed.contains("--speed is 0") && speed.contains("0.1 to 240"),
        "{speed}"
    );
    let missing = directory.path().join("missing.csv");
    let trace = refusal(DemoOptions {
        trace: Some(missing.clone()),
        ..good.clone()
    })
    .await;
    assert!(
        trace.contains("missing.csv") && trace.contains("No such file"),
        "{trace}"
    );
    let library = refusal(DemoOptions {
        fake_nvml: Some(missing.clone()),
        ..good.clone()
    })
    .await;
    assert!(library.contains("missing.csv"), "{library}");
    let report = directory.path().join("no-such-directory").join("report.html");
    let report = refusal(DemoOptions { report, ..good }).await;
    assert!(
        report.contains("--report") && report.contains("no-such-directory"),
        "{report}"
    );
}
