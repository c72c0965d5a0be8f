use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::generate::{Answered, Step, TOKEN, begin, finish, stream};
use super::{Asked, model, number, prompt_tokens};
use crate::engine::cores::NotTaken;
use crate::engine::service::Service;

/// Bytes that a loaded model of 8B takes in VRAM at 4 bits.
const MODEL_BYTES: u64 = 6_654_289_920;

/// Ollama's own API. It has no page with metrics.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/", get(async || "Ollama is running"))
        .route("/api/version", get(async || Json(json!({"version": "0.12.6"}))))
        .route("/api/tags", get(tags))
        .route("/api/ps", get(ps))
        .route("/api/generate", post(generate))
}

async fn tags(State(service): State<Arc<Service>>) -> Json<Value> {
    let models: Vec<Value> = service
        .cores
        .models()
        .iter()
        .map(|name| json!({"name": name, "model": name, "size": MODEL_BYTES, "details": {"family": "llama"}}))
        .collect();
    Json(json!({"models": models}))
}

/// Models that are loaded: all, unless the engine sleeps.
async fn ps(State(service): State<Arc<Service>>) -> Json<Value> {
    let models: Vec<Value> = service
        .cores
        .models()
        .iter()
        .filter(|_| !service.cores.is_asleep())
        .map(|name| {
            json!({
                "name": name, "model": name, "size": MODEL_BYTES, "size_vram": MODEL_BYTES,
                "context_length": service.cores.settings().context_limit(),
                "details": {"family": "llama", "parameter_size": "8.0B", "quantization_level": "Q4_K_M"},
                "expires_at": "2318-06-04T12:00:00Z",
            })
        })
        .collect();
    Json(json!({"models": models}))
}

async fn generate(State(service): State<Arc<Service>>, Asked(body): Asked) -> Result<Response, NotTaken> {
    let prompt = prompt_tokens(body.get("prompt").unwrap_or(&Value::Null));
    let max_tokens = body
        .get("options")
        .and_then(|options| number(options, "num_predict"));
    let ticket = begin(&service, model(&body), prompt, max_tokens)?;
    let name = model(&body).unwrap_or_default().to_owned();
    let end = move |name: &str, text: String, answered: Answered| {
        json!({
            "model": name, "response": text, "done": true, "done_reason": answered.reason(),
            "prompt_eval_count": prompt, "eval_count": answered.tokens,
        })
    };
    // Unlike others it streams unless told not to.
    if body.get("stream").and_then(Value::as_bool) == Some(false) {
        let answered = finish(ticket).await;
        return Ok(Json(end(&name, answered.text(), answered)).into_response());
    }
    let lines = stream(ticket, "application/x-ndjson", move |step| {
        let event = match step {
            Step::Token(_) => json!({"model": name, "response": TOKEN, "done": false}),
            Step::End(answered) => end(&name, String::new(), answered),
        };
        format!("{event}\n")
    });
    Ok(lines)
}
