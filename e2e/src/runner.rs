//! Runs the named tests, several at a time.
//!
//! They share one thread: a test only waits, and may hold across a wait what another thread could
//! not take over.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use futures::future::LocalBoxFuture;
use tokio::time::Instant;

use crate::cluster::{Case, Cluster};
use crate::process::tail;
use crate::wait::closest;

/// The longest that a test may take.
const LIMIT: Duration = Duration::from_secs(600);

/// A named test.
pub(crate) struct Test {
    pub(crate) name: String,
    run: Box<dyn FnOnce(Case) -> LocalBoxFuture<'static, Result<()>>>,
}

impl Test {
    pub(crate) fn new<F>(name: impl Into<String>, run: impl FnOnce(Case) -> F + 'static) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        Self {
            name: name.into(),
            run: Box::new(move |case| Box::pin(run(case))),
        }
    }
}

/// Runs those tests whose names contain one of the filters (all without filters), at most `jobs` at
/// a time, and says whether all passed.
pub(crate) async fn run(cluster: &Arc<Cluster>, tests: Vec<Test>, filters: &[String], jobs: usize) -> bool {
    let chosen = tests
        .into_iter()
        .filter(|test| filters.is_empty() || filters.iter().any(|filter| test.name.contains(filter)));
    let outcomes: Vec<bool> = futures::stream::iter(chosen)
        .map(|test| run_one(Arc::clone(cluster), test))
        .buffer_unordered(jobs.max(1))
        .collect()
        .await;
    let passed = outcomes.iter().filter(|passed| **passed).count();
    let mut failed = outcomes.len() - passed;
    if let Err(error) = cluster.control_plane.still_runs() {
        println!("the control plane did not last: {error:#}");
        failed += 1;
    }
    for waited in closest(5) {
        println!("waited {waited}");
    }
    println!("{passed} passed, {failed} failed");
    failed == 0 && passed > 0
}

async fn run_one(cluster: Arc<Cluster>, test: Test) -> bool {
    let start = Instant::now();
    let name = test.name.clone();
    // A task of its own, so that a panic ends this test and no other.
    let task = tokio::task::spawn_local(attempt(cluster, test));
    let outcome = task
        .await
        .unwrap_or_else(|error| Err(error).context("the test panicked"));
    let seconds = start.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => println!("test {name} ... ok ({seconds:.1} s)"),
        Err(ref error) => println!("test {name} ... FAILED ({seconds:.1} s)\n{}", told(error)),
    }
    outcome.is_ok()
}

/// An error with its causes, one a line.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(|cause| format!("  {cause}\n")).collect()
}

async fn attempt(cluster: Arc<Cluster>, test: Test) -> Result<()> {
    let case = Case::open(cluster, &test.name).await?;
    // Again a task of its own: what the namespace looked like is told after a panic, too.
    let work = tokio::task::spawn_local(tokio::time::timeout(LIMIT, (test.run)(case.clone())));
    let outcome = match work.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => bail_after(LIMIT),
        Err(error) => Err(error).context("the test panicked"),
    };
    let outcome = match outcome {
        Ok(()) => Ok(()),
        Err(error) => {
            let scene = scene(&case).await;
            Err(error.context(scene))
        }
    };
    case.close().await?;
    outcome
}

fn bail_after(limit: Duration) -> Result<()> {
    bail!("the test did not end within {} s", limit.as_secs())
}

/// What may explain a failure: the namespace's events and the ends of the logs.
async fn scene(case: &Case) -> String {
    let mut text = format!("in the namespace {}, events:\n", case.namespace);
    match case.events().await {
        Ok(events) => events
            .iter()
            .for_each(|event| text.push_str(&format!("  {event}\n"))),
        Err(error) => text.push_str(&format!("  unknown: {error:#}\n")),
    }
    if let Ok(entries) = std::fs::read_dir(&case.folder) {
        for entry in entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|kind| kind == "log"))
        {
            text.push_str(&tail(&entry.path(), 20));
        }
    }
    text.push_str(&case.cluster.control_plane.last_words_about(&case.namespace));
    text
}
