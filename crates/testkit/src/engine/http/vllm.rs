use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, error};
use crate::engine::service::Service;

/// What vLLM's server has beyond the OpenAI-compatible API: sleep mode, load, adapters.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/version", get(async || Json(json!({"version": "0.12.0"}))))
        .route("/ping", get(super::healthy))
        .route("/load", get(load))
        .route("/sleep", post(sleep))
        .route("/wake_up", post(wake_up))
        .route("/is_sleeping", get(is_sleeping))
        .route("/v1/load_lora_adapter", post(load_adapter))
        .route("/v1/unload_lora_adapter", post(unload_adapter))
}

#[derive(Deserialize)]
struct Sleep {
    level: Option<u8>,
}

async fn sleep(State(service): State<Arc<Service>>, Query(asked): Query<Sleep>) -> StatusCode {
    service.cores.set_sleep(asked.level.unwrap_or(1).max(1));
    StatusCode::OK
}

async fn wake_up(State(service): State<Arc<Service>>) -> StatusCode {
    service.cores.set_sleep(0);
    StatusCode::OK
}

async fn is_sleeping(State(service): State<Arc<Service>>) -> Json<Value> {
    Json(json!({"is_sleeping": service.cores.is_asleep()}))
}

async fn load(State(service): State<Arc<Service>>) -> Json<Value> {
    let load: usize = service
        .cores
        .occupancy()
        .iter()
        .map(|core| core.waiting + core.running)
        .sum();
    Json(json!({"server_load": load}))
}

async fn load_adapter(State(service): State<Arc<Service>>, Asked(body): Asked) -> Response {
    let (Some(name), Some(_)) = (text(&body, "lora_name"), text(&body, "lora_path")) else {
        let message = "Both 'lora_name' and 'lora_path' must be provided.";
        return error(StatusCode::BAD_REQUEST, "InvalidUserInput", message);
    };
    if service.cores.load_adapter(name) {
        format!("Success: LoRA adapter '{name}' added successfully.").into_response()
    } else {
        let message = format!("The lora adapter '{name}' is loaded already, or there is no room for it.");
        error(StatusCode::BAD_REQUEST, "InvalidUserInput", &message)
    }
}

async fn unload_adapter(State(service): State<Arc<Service>>, Asked(body): Asked) -> Response {
    match text(&body, "lora_name") {
        Some(name) if service.cores.unload_adapter(name) => {
            format!("Success: LoRA adapter '{name}' removed successfully.").into_response()
        }
        name => {
            let message = format!("The lora adapter '{}' cannot be found.", name.unwrap_or_default());
            error(StatusCode::NOT_FOUND, "NotFoundError", &message)
        }
    }
}

fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name)?.as_str().filter(|text| !text.is_empty())
}
