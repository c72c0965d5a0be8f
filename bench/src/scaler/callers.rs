//! The callers: GetMetrics and IsActive back to back for one workload after another, as KEDA calls.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use rheostat_policy::Trigger;
use rheostat_proto::keda::external_scaler_client::ExternalScalerClient;
use rheostat_proto::keda::{GetMetricsRequest, ScaledObjectRef};
use rheostat_transport::{ClientSecurity, ConnectOptions, connect};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tonic::Status;
use tonic::transport::Channel;

use super::layout::{self, Layout};

/// Callers that go through all workloads, each through its part.
#[derive(Clone)]
pub(crate) struct Callers {
    questions: Arc<[Question]>,
    clients: Vec<ExternalScalerClient<Channel>>,
    concurrent: usize,
}

/// What is asked of one workload.
struct Question {
    object: ScaledObjectRef,
    metrics: GetMetricsRequest,
}

/// What some callers saw.
pub(crate) struct Seen {
    /// Pairs of calls that were answered.
    pub(crate) pairs: u64,
    /// Pairs of which a call was answered with an error.
    pub(crate) errors: u64,
    /// Nanoseconds that a pair took.
    pub(crate) latency: Histogram<u64>,
}

/// How long the scaler may take until it knows all agents.
const PATIENCE: Duration = Duration::from_secs(120);

impl Callers {
    pub(crate) fn new(layout: &Layout, address: &str, concurrent: usize, connections: usize) -> Result<Self> {
        let questions = (0..layout.workloads).map(|number| {
            let object = Layout::object(number);
            let trigger = Trigger::parse(&layout::metadata(number))?.trigger;
            let metrics = GetMetricsRequest {
                scaled_object_ref: Some(object.clone()),
                metric_name: trigger.metric_name().to_owned(),
            };
            Ok(Question { object, metrics })
        });
        let clients = (0..connections.max(1)).map(|_| {
            let channel = connect(address, &ClientSecurity::Plaintext, ConnectOptions::default())?;
            Ok(ExternalScalerClient::new(channel))
        });
        Ok(Self {
            questions: questions.collect::<Result<_>>()?,
            clients: clients.collect::<Result<_>>()?,
            concurrent,
        })
    }

    /// Waits until every workload is answered with a value.
    pub(crate) async fn until_all_is_known(&self) -> Result<()> {
        let ready = async {
            for question in self.questions.iter() {
                while let Err(status) = question.ask(&mut self.clients[0].clone()).await {
                    let temporary = [tonic::Code::Unavailable, tonic::Code::FailedPrecondition];
                    if !temporary.contains(&status.code()) {
                        bail!("{}/{}: {status}", question.object.namespace, question.object.name);
                    }
                    sleep(Duration::from_millis(100)).await;
                }
            }
            Ok(())
        };
        timeout(PATIENCE, ready)
            .await
            .context("the scaler does not get to know all workloads")?
    }

    /// Calls for `span`, with `pairs_per_second` in all, or without a pause.
    pub(crate) async fn call(&self, span: Duration, pairs_per_second: Option<f64>) -> Result<Seen> {
        let period = pairs_per_second.map(|rate| Duration::from_secs_f64(self.concurrent as f64 / rate));
        let began = Instant::now();
        let mut callers = JoinSet::new();
        for number in 0..self.concurrent {
            callers.spawn(self.clone().caller(number, began, span, period));
        }
        let mut all = Seen::nothing()?;
        while let Some(seen) = callers.join_next().await {
            let seen = seen??;
            all.pairs += seen.pairs;
            all.errors += seen.errors;
            all.latency.add(seen.latency)?;
        }
        Ok(all)
    }

    async fn caller(
        self,
        number: usize,
        began: Instant,
        span: Duration,
        period: Option<Duration>,
    ) -> Result<Seen> {
        let mut client = self.clients[number % self.clients.len()].clone();
        let mut seen = Seen::nothing()?;
        let mut beats = period.map(|period| {
            let first = began + period.mul_f64(number as f64 / self.concurrent as f64);
            let mut beats = interval_at(first, period);
            beats.set_missed_tick_behavior(MissedTickBehavior::Burst);
            beats
        });
        for question in self
            .questions
            .iter()
            .cycle()
            .skip(number)
            .step_by(self.concurrent)
        {
            if let Some(beats) = &mut beats {
                beats.tick().await;
            }
            let asked = Instant::now();
            if asked.duration_since(began) >= span {
                break;
            }
            match question.ask(&mut client).await {
                Ok(()) => seen.pairs += 1,
                Err(_) => seen.errors += 1,
            }
            seen.latency.record(u64::try_from(asked.elapsed().as_nanos())?)?;
        }
        Ok(seen)
    }
}

impl Question {
    async fn ask(&self, client: &mut ExternalScalerClient<Channel>) -> Result<(), Status> {
        let reply = client.get_metrics(self.metrics.clone()).await?.into_inner();
        client.is_active(self.object.clone()).await?;
        match reply.metric_values.len() {
            1 => Ok(()),
            count => Err(Status::internal(format!("{count} values instead of one"))),
        }
    }
}

impl Seen {
    fn nothing() -> Result<Self> {
        Ok(Self {
            pairs: 0,
            errors: 0,
            latency: Histogram::new(3)?,
        })
    }

    /// Microseconds of a pair at `quantile`.
    pub(crate) fn micros(&self, quantile: f64) -> f64 {
        Duration::from_nanos(self.latency.value_at_quantile(quantile)).as_secs_f64() * 1e6
    }
}
