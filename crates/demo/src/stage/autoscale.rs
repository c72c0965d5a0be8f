use std::collections::{HashMap, VecDeque};

use rheostat_kubescale as model;
use rheostat_kubescale::hpa::{ConditionReason, ControllerSettings, Sync};
use rheostat_kubescale::{Answer, Autoscaler, Call, CallError, CallId, Event, Push, Request, Writer};
use rheostat_proto::keda::external_scaler_client::ExternalScalerClient;
use rheostat_proto::keda::{GetMetricsRequest, ScaledObjectRef};
use rheostat_reading::Timestamp;
use rheostat_scaler::Snapshots;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::transport::Channel;

use crate::manifest::Manifest;
use crate::stage::explain::Sight;
use crate::world;

/// KEDA and the HPA for one ScaledObject: the models decide, the scaler is asked over gRPC.
pub(crate) struct Autoscale {
    autoscaler: Autoscaler,
    object: ScaledObjectRef,
    client: ExternalScalerClient<Channel>,
    snapshots: Snapshots,
    sender: mpsc::UnboundedSender<(CallId, Push)>,
    pushes: mpsc::UnboundedReceiver<(CallId, Push)>,
    streams: HashMap<CallId, AbortOnDropHandle<()>>,
    /// What the last number rested on.
    number: Sight,
    /// What the last answer on activity rested on.
    activity: Sight,
    /// What kept the HPA's last sync from what the metrics alone asked for.
    limit: Option<String>,
}

/// A change of the replica count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    /// Who made it.
    pub(crate) by: Writer,
    /// Whether a message on the push stream brought it about.
    pub(crate) pushed: bool,
    /// Replicas before.
    pub(crate) from: i32,
    /// Replicas after.
    pub(crate) to: i32,
    /// Its reason in the writer's words.
    pub(crate) cause: String,
    /// The scaler's explanation of the number it gave.
    pub(crate) why: String,
}

impl Autoscale {
    /// For the ScaledObject of `manifest`, created at `now`.
    ///
    /// # Errors
    ///
    /// KEDA would refuse the ScaledObject.
    pub(crate) fn new(
        manifest: &Manifest,
        channel: Channel,
        snapshots: Snapshots,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let autoscaler = Autoscaler::new(manifest.scaled_object(), ControllerSettings::default(), now)?;
        let (sender, pushes) = mpsc::unbounded_channel();
        Ok(Self {
            // All ScaledObjects of the demo name the same scaler, so KEDA has one connection.
            autoscaler: autoscaler.with_shared_connection(),
            object: ScaledObjectRef {
                name: manifest.name().to_owned(),
                namespace: manifest.namespace().to_owned(),
                scaler_metadata: manifest.metadata().into_iter().collect(),
            },
            client: ExternalScalerClient::new(channel),
            snapshots,
            sender,
            pushes,
            streams: HashMap::new(),
            number: Sight::default(),
            activity: Sight::default(),
            limit: None,
        })
    }

    /// Does all that is due at `now`, and returns the changes of the replica count.
    pub(crate) async fn step(&mut self, now: Timestamp, workload: &world::Workload) -> Vec<Change> {
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let mut scale = model::Workload {
            spec_replicas: i32::try_from(workload.replicas()).unwrap_or(i32::MAX),
            status_replicas: count(workload.alive()),
            pods: count(workload.pods().len()),
            ready_pods: count(workload.ready()),
        };
        let mut changes = Vec::new();
        while let Ok((stream, push)) = self.pushes.try_recv() {
            if matches!(push, Push::Ended { .. }) {
                self.streams.remove(&stream);
            }
            self.activity = self.look();
            let output = self.autoscaler.push(now, stream, push, &mut scale);
            self.follow(now, output, &mut scale, &mut changes).await;
        }
        while self.autoscaler.next_due().is_some_and(|due| due <= now) {
            let output = self.autoscaler.poll(now, &mut scale);
            self.follow(now, output, &mut scale, &mut changes).await;
        }
        changes
    }

    /// Makes the calls of `output` and of what follows from their answers.
    async fn follow(
        &mut self,
        now: Timestamp,
        output: model::Output,
        scale: &mut model::Workload,
        changes: &mut Vec<Change>,
    ) {
        let mut calls = VecDeque::new();
        let mut output = output;
        loop {
            calls.extend(output.calls);
            for event in output.events {
                self.note(event, changes);
            }
            let Some(Call { id, request, .. }) = calls.pop_front() else {
                return;
            };
            let before = self.look();
            output = match self.ask(id, request).await {
                Some(answer) => {
                    self.remember(&before, &answer);
                    self.autoscaler.answer(now, id, answer, scale)
                }
                None => model::Output::default(),
            };
        }
    }

    fn note(&mut self, event: Event, changes: &mut Vec<Change>) {
        match event {
            Event::Scaled(decision) => {
                let by = decision.by();
                changes.push(Change {
                    by,
                    pushed: matches!(
                        decision.cause,
                        model::Cause::Keda(model::keda::ScaleCause::Pushed)
                    ),
                    from: decision.from,
                    to: decision.to,
                    cause: match decision.cause {
                        model::Cause::Keda(cause) => cause.to_string(),
                        model::Cause::Hpa(cause) => match self.limit.take() {
                            Some(limit) => format!("{cause}; {limit}"),
                            None => cause.to_string(),
                        },
                    },
                    why: match by {
                        Writer::Keda => self.activity.activity(),
                        Writer::Hpa => self.number.number(),
                    },
                });
            }
            Event::Synced(sync) => self.limit = limit(&sync),
            Event::PushCut { stream, .. } => {
                self.streams.remove(&stream);
            }
            Event::Polled { errors, .. } if !errors.is_empty() => {
                tracing::debug!(object = %self.object.name, ?errors, "a poll failed");
            }
            Event::Polled { .. } | Event::Reconciled { .. } | Event::PushDropped { .. } => {}
        }
    }

    /// Makes one call; a stream is opened in the background and has no answer.
    async fn ask(&mut self, id: CallId, request: Request) -> Option<Answer> {
        let object = self.object.clone();
        let failed = |status: Status| CallError(format!("{:?}: {}", status.code(), status.message()));
        Some(match request {
            Request::MetricSpec => {
                Answer::MetricSpec(self.client.get_metric_spec(object).await.map_err(failed).map(
                    |response| {
                        let specs = response.into_inner().metric_specs.into_iter();
                        specs
                            .map(|spec| model::MetricSpec {
                                metric_name: spec.metric_name,
                                target_size: spec.target_size,
                                target_size_float: spec.target_size_float,
                            })
                            .collect()
                    },
                ))
            }
            Request::Metrics { metric_name } => {
                let request = GetMetricsRequest {
                    scaled_object_ref: Some(object),
                    metric_name,
                };
                Answer::Metrics(
                    self.client
                        .get_metrics(request)
                        .await
                        .map_err(failed)
                        .map(|response| {
                            let values = response.into_inner().metric_values.into_iter();
                            values
                                .map(|value| model::MetricValue {
                                    metric_value: value.metric_value,
                                    metric_value_float: value.metric_value_float,
                                })
                                .collect()
                        }),
                )
            }
            Request::IsActive => Answer::IsActive(
                self.client
                    .is_active(object)
                    .await
                    .map_err(failed)
                    .map(|response| response.into_inner().result),
            ),
            Request::StreamIsActive => {
                let task = listen(self.client.clone(), object, id, self.sender.clone());
                self.streams
                    .insert(id, AbortOnDropHandle::new(tokio::spawn(task)));
                return None;
            }
        })
    }

    /// What the scaler sees now.
    fn look(&self) -> Sight {
        let snapshot = self.snapshots.latest();
        let named = snapshot.named(&self.object.namespace, &self.object.name);
        named.first().map(|state| Sight::of(state)).unwrap_or_default()
    }

    /// Keeps what an answer rested on: the snapshot before the call or the one after it.
    fn remember(&mut self, before: &Sight, answer: &Answer) {
        let from = |same: bool| if same { before.clone() } else { self.look() };
        match answer {
            Answer::MetricSpec(_) => {}
            Answer::Metrics(values) => {
                let value = values.as_ref().ok().and_then(|values| values.first());
                self.number = from(before.value() == value.map(|value| value.metric_value_float));
            }
            Answer::IsActive(active) => {
                self.activity = from(before.active() == active.as_ref().ok().copied());
            }
        }
    }
}

/// What kept `sync` from what the metrics alone asked for.
fn limit(sync: &Sync) -> Option<String> {
    let alone = sync.recommendation.filter(|alone| *alone != sync.to)?;
    let limited = sync
        .conditions
        .scaling_limited
        .filter(|condition| condition.is_true);
    let by = match (limited.map(|condition| condition.reason), sync.stabilization) {
        (Some(ConditionReason::ScaleUpLimit | ConditionReason::ScaleDownLimit), _) => {
            "the rate of its behaviour"
        }
        (Some(ConditionReason::TooManyReplicas), _) => "maxReplicaCount",
        (Some(ConditionReason::TooFewReplicas), _) => "minReplicaCount",
        (_, Some(_)) => "its stabilisation window",
        _ => "its limits",
    };
    Some(format!(
        "the metric alone asks for {alone}, {by} makes it {}",
        sync.to
    ))
}

/// Reads a push stream to its end.
async fn listen(
    mut client: ExternalScalerClient<Channel>,
    object: ScaledObjectRef,
    id: CallId,
    out: mpsc::UnboundedSender<(CallId, Push)>,
) {
    let clean = match client.stream_is_active(object).await {
        Ok(response) => {
            let mut messages = response.into_inner();
            loop {
                match messages.message().await {
                    // The receiver lives as long as this task.
                    Ok(Some(message)) => drop(out.send((id, Push::Message(message.result)))),
                    Ok(None) => break true,
                    Err(_) => break false,
                }
            }
        }
        Err(_) => false,
    };
    let _ = out.send((id, Push::Ended { clean }));
}
