//! How long it takes from a request's arrival at an engine to the changed answer to KEDA.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rheostat_proto::keda::external_scaler_client::ExternalScalerClient;
use rheostat_proto::keda::{GetMetricsRequest, ScaledObjectRef};
use rheostat_testkit::engine::Request;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::cluster::{Case, PATIENCE};
use crate::serving::{Serving, scaled_object, trigger};
use crate::wait::{Seen, eventually};

/// How many arrivals are timed, each way.
const ARRIVALS: usize = 12;

/// Requests arrive one after the other at an engine; each time, the answer to `GetMetrics` grows by
/// one. Prints how long that takes, where the agent scrapes and where the scaler does.
pub(crate) async fn arrival_to_answer(case: Case) -> Result<()> {
    let serving = Serving::start(&case, 1, 1, Vec::new()).await?;
    let proof = async {
        let metadata = [
            ("signal", "engine.concurrency"),
            ("engine", "vllm"),
            ("target", "100"),
        ];
        let object = scaled_object("chat", 1, &[trigger(&metadata)]);
        serving.serve("chat", 1, 0, &object).await?;
        let mut keda = Keda::of(&case, &serving, &metadata).await?;
        keda.until(|value| value == 0.0).await?;
        println!(
            "arrival_to_answer_by_agent_ms: {}",
            arrivals(&serving, &mut keda).await?
        );

        serving.nodes.kill_agents().await?;
        let engine = serving
            .engines
            .of("chat")
            .into_iter()
            .next()
            .context("no engine")?;
        let agents = serving.nodes.agents();
        let before = engine.scrapes_by(&agents).by_others;
        eventually("the scaler to scrape", PATIENCE, async || {
            let now = engine.scrapes_by(&agents).by_others;
            Ok(Seen::when(now > before + 2, now))
        })
        .await?;
        println!(
            "arrival_to_answer_by_scaler_ms: {}",
            arrivals(&serving, &mut keda).await?
        );
        Ok(())
    };
    serving.explained("chat", proof).await
}

/// Times arrivals, and waits until all of them have been served.
async fn arrivals(serving: &Serving, keda: &mut Keda) -> Result<String> {
    let engine = serving
        .engines
        .of("chat")
        .into_iter()
        .next()
        .context("no engine")?;
    let mut times = Vec::new();
    for known in 0..ARRIVALS {
        // Away from a step of the scrapes, which the last answer came right after.
        let rest = Duration::from_millis(170 * (known as u64 + 1) % 2000);
        tokio::time::sleep(rest).await;
        let request = Request {
            prompt_tokens: 20,
            output_tokens: 4000,
            max_tokens: Some(4000),
            ..Request::default()
        };
        let arrived = Instant::now();
        engine.submit(request).context("submitting a request")?;
        keda.until(|value| value > known as f64).await?;
        times.push(arrived.elapsed().as_secs_f64() * 1000.0);
    }
    engine.restart().await.context("ending the requests")?;
    keda.until(|value| value == 0.0).await?;
    times.sort_by(f64::total_cmp);
    let at = |index: usize| times.get(index).copied().unwrap_or(f64::NAN);
    Ok(format!(
        "min {:.0}, median {:.0}, max {:.0} ({ARRIVALS} arrivals)",
        at(0),
        at(times.len() / 2),
        at(times.len().saturating_sub(1))
    ))
}

/// Asks the scaler as KEDA does.
struct Keda {
    client: ExternalScalerClient<Channel>,
    request: GetMetricsRequest,
}

impl Keda {
    async fn of(case: &Case, serving: &Serving, metadata: &[(&str, &str)]) -> Result<Self> {
        let scaler = serving.scalers.running.first().context("no scaler runs")?;
        let address = format!("http://{}", scaler.grpc());
        let endpoint = Endpoint::from_shared(address).context("the scaler's address")?;
        let channel = endpoint.connect().await.context("connecting")?;
        let mut client = ExternalScalerClient::new(channel);
        let mut scaler_metadata: HashMap<String, String> = metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        scaler_metadata.insert("scalerAddress".to_owned(), serving.scalers.address());
        let reference = ScaledObjectRef {
            name: "chat".to_owned(),
            namespace: case.namespace.clone(),
            scaler_metadata,
        };
        let spec = client
            .get_metric_spec(reference.clone())
            .await
            .context("GetMetricSpec")?;
        let spec = spec.into_inner().metric_specs.into_iter().next();
        Ok(Self {
            client,
            request: GetMetricsRequest {
                scaled_object_ref: Some(reference),
                metric_name: spec.context("no metric")?.metric_name,
            },
        })
    }

    /// Asks again and again until the value is as wanted.
    async fn until(&mut self, wanted: impl Fn(f64) -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            let answer = self.client.get_metrics(self.request.clone()).await;
            let seen = match answer.map(|answer| answer.into_inner().metric_values) {
                Ok(values) => match values.as_slice() {
                    [value] if wanted(value.metric_value_float) => return Ok(()),
                    values => format!("{values:?}"),
                },
                Err(status) => format!("{status}"),
            };
            ensure!(start.elapsed() < PATIENCE, "the answer stays {seen}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
