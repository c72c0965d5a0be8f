use std::sync::Arc;

use rheostat_policy::Trigger;
use rheostat_proto::keda::external_scaler_server::ExternalScaler;
use rheostat_proto::keda::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, ScaledObjectRef,
};
use tonic::{Request, Response, Status};

use super::streams::{Stream, Streams};
use super::{StreamLimits, reply};
use crate::metrics::Calls;
use crate::snapshot::{Snapshots, TriggerState};

/// KEDA's five calls.
pub(crate) struct KedaService {
    snapshots: Snapshots,
    streams: Streams,
    calls: Arc<Calls>,
}

impl KedaService {
    pub(crate) fn new(
        snapshots: Snapshots,
        calls: Arc<Calls>,
        limits: StreamLimits,
        shutdown: tokio_util::sync::CancellationToken,
    ) -> Self {
        let streams = Streams::new(snapshots.clone(), limits, shutdown, Arc::clone(&calls));
        Self {
            snapshots,
            streams,
            calls,
        }
    }

    fn metric_spec(object: &ScaledObjectRef) -> GetMetricSpecResponse {
        reply::spec(parse(object).ok().as_ref())
    }

    fn metrics(&self, request: &GetMetricsRequest) -> Result<GetMetricsResponse, Status> {
        let object = request
            .scaled_object_ref
            .as_ref()
            .ok_or_else(|| Status::invalid_argument("scaledObjectRef is missing"))?;
        self.answer(object, |state, trigger| {
            let name = trigger.metric_name();
            // The name has been lower-cased on its way through the API server (http-add-on #870).
            if !request.metric_name.eq_ignore_ascii_case(name) {
                return Err(Status::invalid_argument(format!(
                    "metricName: {:?} is not this trigger's metric, which is {name:?}",
                    shortened(&request.metric_name)
                )));
            }
            let (value, _) = reply::known(state.answer())?;
            Ok(reply::value(&request.metric_name, value))
        })
    }

    fn is_active(&self, object: &ScaledObjectRef) -> Result<IsActiveResponse, Status> {
        self.answer(object, |state, _| {
            let (_, result) = reply::known(state.answer())?;
            Ok(IsActiveResponse { result })
        })
    }

    /// `reply` of the trigger that `object` means, in the newest snapshot.
    fn answer<T>(
        &self,
        object: &ScaledObjectRef,
        reply: impl FnOnce(&TriggerState, &Trigger) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let snapshot = self.snapshots.latest();
        let (state, trigger) = snapshot.find(object)?;
        reply(state, trigger)
    }
}

/// The trigger that `object`'s metadata describe.
pub(super) fn parse(object: &ScaledObjectRef) -> Result<Trigger, Status> {
    let metadata = object
        .scaler_metadata
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Trigger::parse(&metadata)
        .map(|parsed| parsed.trigger)
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

/// Text from outside in a message of ours: its beginning is enough to recognise it.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(80).map_or(text, |(end, _)| &text[..end])
}

#[tonic::async_trait]
impl ExternalScaler for KedaService {
    type StreamIsActiveStream = Stream<IsActiveResponse>;
    type StreamMetricSpecStream = Stream<GetMetricSpecResponse>;

    async fn is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<IsActiveResponse>, Status> {
        self.calls
            .count("IsActive", Self::is_active(self, request.get_ref()))
            .map(Response::new)
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        self.calls
            .count("GetMetricSpec", Ok(Self::metric_spec(request.get_ref())))
            .map(Response::new)
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        self.calls
            .count("GetMetrics", self.metrics(request.get_ref()))
            .map(Response::new)
    }

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let opened = self.streams.activity(request.into_inner());
        self.calls.count("StreamIsActive", opened).map(Response::new)
    }

    async fn stream_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        let opened = self.streams.specs(&request.into_inner());
        self.calls.count("StreamMetricSpec", opened).map(Response::new)
    }
}
