//! Servers of models of any kind: an inference is one pass, and counts for one token of answer.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::generate::{begin, finish};
use super::{Asked, error, healthy, number, prompt_tokens, words};
use crate::engine::cores::NotTaken;
use crate::engine::service::Service;

/// Triton's HTTP API (KServe's V2 protocol), and its generate extension for LLMs.
pub(super) fn triton() -> Router<Arc<Service>> {
    Router::new()
        .route("/v2/health/ready", get(healthy))
        .route("/v2/health/live", get(healthy))
        .route("/v2/models/{model}/ready", get(healthy))
        .route("/v2/models/{model}/infer", post(triton_infer))
        .route("/v2/models/{model}/generate", post(triton_generate))
}

async fn triton_infer(
    State(service): State<Arc<Service>>,
    Path(model): Path<String>,
    Asked(body): Asked,
) -> Result<Json<Value>, NotTaken> {
    let inputs = body.get("inputs").and_then(Value::as_array);
    let size = inputs
        .into_iter()
        .flatten()
        .map(|input| prompt_tokens(input.get("data").unwrap_or(&Value::Null)))
        .fold(0, u32::saturating_add);
    let outputs = json!([{"name": "OUTPUT0", "datatype": "FP32", "shape": [1], "data": [1.0]}]);
    infer(
        &service,
        &model,
        size.max(1),
        json!({"model_name": &model, "outputs": outputs}),
    )
    .await
}

async fn triton_generate(
    State(service): State<Arc<Service>>,
    Path(model): Path<String>,
    Asked(body): Asked,
) -> Result<Json<Value>, NotTaken> {
    let prompt = prompt_tokens(body.get("text_input").unwrap_or(&Value::Null));
    let ticket = begin(&service, Some(&model), prompt, number(&body, "max_tokens"))?;
    let text = finish(ticket).await.text();
    Ok(Json(
        json!({"model_name": model, "model_version": "1", "text_output": text}),
    ))
}

/// TorchServe's inference API.
pub(super) fn torchserve() -> Router<Arc<Service>> {
    Router::new()
        .route("/ping", get(async || Json(json!({"status": "Healthy"}))))
        .route("/predictions/{model}", post(predict))
}

async fn predict(
    State(service): State<Arc<Service>>,
    Path(model): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, NotTaken> {
    let size = words(&String::from_utf8_lossy(&body)).max(1);
    infer(&service, &model, size, json!([1.0])).await
}

/// TensorFlow Serving's REST API.
pub(super) fn tensorflow_serving() -> Router<Arc<Service>> {
    Router::new().route(
        "/v1/models/{call}",
        get(tensorflow_status).post(tensorflow_predict),
    )
}

async fn tensorflow_status(State(service): State<Arc<Service>>, Path(model): Path<String>) -> Response {
    if service.cores.models().contains(&model) {
        Json(json!({"model_version_status": [{"version": "1", "state": "AVAILABLE"}]})).into_response()
    } else {
        error(StatusCode::NOT_FOUND, "NOT_FOUND", "there is no such model")
    }
}

async fn tensorflow_predict(
    State(service): State<Arc<Service>>,
    Path(call): Path<String>,
    Asked(body): Asked,
) -> Response {
    let Some(model) = call.strip_suffix(":predict") else {
        return error(
            StatusCode::BAD_REQUEST,
            "INVALID_ARGUMENT",
            "only :predict is known",
        );
    };
    let size = prompt_tokens(body.get("instances").unwrap_or(&Value::Null));
    infer(&service, model, size.max(1), json!({"predictions": [1.0]}))
        .await
        .into_response()
}

async fn infer(service: &Service, model: &str, size: u32, answer: Value) -> Result<Json<Value>, NotTaken> {
    finish(begin(service, Some(model), size, Some(1))?).await;
    Ok(Json(answer))
}
