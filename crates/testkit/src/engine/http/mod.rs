//! The engines' HTTP APIs, as far as clients of inference and autoscalers use them.

mod generate;
mod native;
mod ollama;
mod openai;
mod servers;
mod vllm;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::cores::NotTaken;
use super::flavour::Flavour;
use super::service::Service;

/// The routes of an engine, without its page.
pub(super) fn router(service: &Arc<Service>) -> Router {
    let flavour = service.flavour;
    let routes = match flavour {
        Flavour::Vllm | Flavour::VllmOld | Flavour::VllmBoth | Flavour::KserveVllm => {
            openai::routes().merge(vllm::routes())
        }
        Flavour::RayVllm | Flavour::LmDeploy | Flavour::TrtllmServe => openai::routes(),
        Flavour::Nim => openai::routes()
            .route("/v1/health/ready", get(healthy))
            .route("/v1/health/live", get(healthy)),
        Flavour::Sglang => openai::routes().merge(native::sglang()),
        Flavour::Tgi => openai::routes().merge(native::tgi()),
        Flavour::LlamaCpp => openai::routes().merge(native::llamacpp()),
        Flavour::Tei => native::tei(),
        Flavour::Triton | Flavour::TritonTrtLlm => servers::triton(),
        Flavour::TorchServe => servers::torchserve(),
        Flavour::TensorFlowServing => servers::tensorflow_serving(),
        Flavour::Ollama => openai::routes().merge(ollama::routes()),
    };
    routes.with_state(Arc::clone(service))
}

async fn healthy() -> StatusCode {
    StatusCode::OK
}

/// A request that was not taken, as OpenAI-compatible servers say it.
impl IntoResponse for NotTaken {
    fn into_response(self) -> Response {
        let (status, kind) = match &self {
            Self::UnknownModel(_) => (StatusCode::NOT_FOUND, "NotFoundError"),
            Self::Refused(_) => (StatusCode::BAD_REQUEST, "BadRequestError"),
        };
        error(status, kind, &self.to_string())
    }
}

fn error(status: StatusCode, kind: &str, message: &str) -> Response {
    let body = json!({"error": {"message": message, "type": kind, "code": status.as_u16()}});
    (status, axum::Json(body)).into_response()
}

/// A body as JSON, whatever it calls itself.
struct Asked(Value);

/// The body is no JSON.
struct NotJson(String);

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = NotJson;

    async fn from_request(request: Request, state: &S) -> Result<Self, NotJson> {
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|problem| NotJson(problem.body_text()))?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|problem| NotJson(problem.to_string()))
    }
}

impl IntoResponse for NotJson {
    fn into_response(self) -> Response {
        error(StatusCode::BAD_REQUEST, "BadRequestError", &self.0)
    }
}

/// How many tokens `text` counts for: words, which is near enough and easy to foresee.
fn words(text: &str) -> u32 {
    u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX)
}

/// How many tokens a prompt has: words of a text, or as many as there are token ids; of a list of
/// prompts, all together.
fn prompt_tokens(prompt: &Value) -> u32 {
    match prompt {
        Value::String(text) => words(text),
        Value::Array(parts) => parts.iter().map(prompt_tokens).fold(0, u32::saturating_add),
        Value::Number(_) => 1,
        _ => 0,
    }
}

/// A whole number of `body`.
fn number(body: &Value, name: &str) -> Option<u32> {
    body.get(name)?
        .as_u64()
        .map(|value| u32::try_from(value).unwrap_or(u32::MAX))
}

/// The model that `body` names.
fn model(body: &Value) -> Option<&str> {
    body.get("model")?.as_str().filter(|name| !name.is_empty())
}

fn flag(body: &Value, name: &str) -> bool {
    body.get(name).and_then(Value::as_bool).unwrap_or(false)
}
