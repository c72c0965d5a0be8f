//! The scripted scaler: KEDA's contract, answered as it was last told to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use parking_lot::Mutex;
use rheostat_proto::keda::external_scaler_server::{ExternalScaler, ExternalScalerServer};
use rheostat_proto::keda::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::recording::{Answer, By, Rpc, What};
use super::sequence::{DEFAULT_TRIGGER, Step};

/// The port that every scripted scaler listens on, at an address of its own.
pub(crate) const PORT: u16 = 6000;

/// What a trigger is answered.
#[derive(Clone, Debug)]
struct Answers {
    target: f64,
    value: f64,
    active: bool,
    fails: bool,
    spec_fails: bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            target: 10.0,
            value: 0.0,
            active: false,
            fails: false,
            spec_fails: false,
        }
    }
}

type ActivitySender = mpsc::Sender<Result<IsActiveResponse, Status>>;
type SpecSender = mpsc::Sender<Result<GetMetricSpecResponse, Status>>;

#[derive(Default)]
struct State {
    answers: HashMap<String, Answers>,
    activity: HashMap<String, Vec<ActivitySender>>,
    specs: HashMap<String, Vec<SpecSender>>,
    seen: Vec<(Timestamp, What)>,
}

impl State {
    fn answers(&self, trigger: &str) -> Answers {
        self.answers.get(trigger).cloned().unwrap_or_default()
    }

    fn note(&mut self, what: What) {
        self.seen.push((Timestamp::now(), what));
    }
}

/// A running scripted scaler. Dropping it ends it, with all its connections.
pub(crate) struct ScriptedScaler {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for ScriptedScaler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ScriptedScaler {
    /// Starts one at `address`.
    pub(crate) async fn start(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening at {address}"))?;
        let state = Arc::<Mutex<State>>::default();
        let service = ExternalScalerServer::new(Service {
            state: Arc::clone(&state),
        });
        let task = tokio::spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            // Else the second of two answers in a row waits 40 ms for the acknowledgement of the first.
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            if let Err(error) = server.serve_with_incoming(incoming).await {
                tracing::error!(%address, error = &error as &dyn std::error::Error, "the scripted scaler ended");
            }
        });
        Ok(Self { state, task })
    }

    /// Answers from now on as a step says. Returns since when: each answer is noted before or after it.
    pub(crate) fn take(&self, step: &Step) -> Timestamp {
        let mut state = self.state.lock();
        let since = Timestamp::now();
        let answers = state.answers.entry(step.trigger.clone()).or_default();
        answers.value = step.value.unwrap_or(answers.value);
        answers.active = step.active.unwrap_or(answers.active);
        answers.fails = step.fails.unwrap_or(answers.fails);
        answers.spec_fails = step.spec_fails.unwrap_or(answers.spec_fails);
        answers.target = step.target.unwrap_or(answers.target);
        let active = answers.active;
        if let Some(target) = step.target {
            let spec = spec(&step.trigger, target);
            let streams = state.specs.entry(step.trigger.clone()).or_default();
            streams.retain(|stream| stream.try_send(Ok(spec.clone())).is_ok());
        }
        if step.push {
            let streams = state.activity.entry(step.trigger.clone()).or_default();
            streams.retain(|stream| stream.try_send(Ok(IsActiveResponse { result: active })).is_ok());
            let streams = streams.len();
            state.note(What::Push {
                trigger: step.trigger.clone(),
                active,
                streams,
            });
        }
        since
    }

    /// How many streams of activity are open for a trigger.
    pub(crate) fn activity_streams(&self, trigger: &str) -> usize {
        let state = self.state.lock();
        state.activity.get(trigger).map_or(0, |streams| {
            streams.iter().filter(|stream| !stream.is_closed()).count()
        })
    }

    /// All that was seen so far. Who made a call is not known here.
    pub(crate) fn seen(&self) -> Vec<(Timestamp, What)> {
        self.state.lock().seen.clone()
    }
}

struct Service {
    state: Arc<Mutex<State>>,
}

impl Service {
    /// Answers a call and notes it.
    fn answer<T>(
        &self,
        reference: &ScaledObjectRef,
        rpc: Rpc,
        choose: impl FnOnce(&Answers) -> Answer,
        reply: impl FnOnce(&str, &Answer) -> T,
    ) -> Result<Response<T>, Status> {
        let trigger = trigger(reference);
        let mut state = self.state.lock();
        let answer = choose(&state.answers(&trigger));
        state.note(What::Call {
            rpc,
            by: By::Either,
            trigger: trigger.clone(),
            answer: answer.clone(),
        });
        match answer {
            Answer::Error(message) => Err(Status::unavailable(message)),
            answer => Ok(Response::new(reply(&trigger, &answer))),
        }
    }

    /// Opens a stream and notes when it opens and when the client closes it.
    fn open<T: Send + 'static>(
        &self,
        rpc: Rpc,
        trigger: String,
        keep: impl FnOnce(&mut State, mpsc::Sender<Result<T, Status>>),
    ) -> Response<ReceiverStream<Result<T, Status>>> {
        let (sender, receiver) = mpsc::channel(16);
        let closed = sender.clone();
        let mut state = self.state.lock();
        state.note(What::Stream {
            rpc,
            trigger: trigger.clone(),
            open: true,
        });
        keep(&mut state, sender);
        let shared = Arc::clone(&self.state);
        tokio::spawn(async move {
            closed.closed().await;
            shared.lock().note(What::Stream {
                rpc,
                trigger,
                open: false,
            });
        });
        Response::new(ReceiverStream::new(receiver))
    }
}

/// The name that the script knows a trigger by.
fn trigger(reference: &ScaledObjectRef) -> String {
    reference
        .scaler_metadata
        .get("trigger")
        .map_or(DEFAULT_TRIGGER, String::as_str)
        .to_owned()
}

fn spec(trigger: &str, target: f64) -> GetMetricSpecResponse {
    let spec = MetricSpec {
        metric_name: trigger.to_owned(),
        target_size_float: target,
        ..MetricSpec::default()
    };
    GetMetricSpecResponse {
        metric_specs: vec![spec],
    }
}

#[tonic::async_trait]
impl ExternalScaler for Service {
    type StreamIsActiveStream = ReceiverStream<Result<IsActiveResponse, Status>>;
    type StreamMetricSpecStream = ReceiverStream<Result<GetMetricSpecResponse, Status>>;

    async fn is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<IsActiveResponse>, Status> {
        self.answer(
            request.get_ref(),
            Rpc::IsActive,
            |answers| {
                if answers.fails {
                    failure()
                } else {
                    Answer::Active(answers.active)
                }
            },
            |_, answer| IsActiveResponse {
                result: matches!(answer, Answer::Active(true)),
            },
        )
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        self.answer(
            request.get_ref(),
            Rpc::GetMetricSpec,
            |answers| {
                if answers.spec_fails {
                    failure()
                } else {
                    Answer::Target(answers.target)
                }
            },
            |trigger, answer| {
                spec(
                    trigger,
                    if let Answer::Target(target) = answer {
                        *target
                    } else {
                        0.0
                    },
                )
            },
        )
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let reference = request.get_ref().scaled_object_ref.clone().unwrap_or_default();
        self.answer(
            &reference,
            Rpc::GetMetrics,
            |answers| {
                if answers.fails {
                    failure()
                } else {
                    Answer::Value(answers.value)
                }
            },
            |trigger, answer| GetMetricsResponse {
                metric_values: vec![MetricValue {
                    metric_name: trigger.to_owned(),
                    metric_value_float: if let Answer::Value(value) = answer {
                        *value
                    } else {
                        0.0
                    },
                    ..MetricValue::default()
                }],
            },
        )
    }

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let trigger = trigger(request.get_ref());
        Ok(self.open(Rpc::StreamIsActive, trigger.clone(), |state, stream| {
            let active = state.answers(&trigger).active;
            let _ = stream.try_send(Ok(IsActiveResponse { result: active }));
            state.activity.entry(trigger).or_default().push(stream);
        }))
    }

    async fn stream_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        let trigger = trigger(request.get_ref());
        Ok(
            self.open(Rpc::StreamMetricSpec, trigger.clone(), |state, stream| {
                let target = state.answers(&trigger).target;
                let _ = stream.try_send(Ok(spec(&trigger, target)));
                state.specs.entry(trigger).or_default().push(stream);
            }),
        )
    }
}

fn failure() -> Answer {
    Answer::Error("the script says so".to_owned())
}
