//! APIs of LLM engines that are not OpenAI's.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::generate::{Answered, Step, TOKEN, begin, finish, stream};
use super::{Asked, flag, healthy, number, prompt_tokens};
use crate::engine::batcher::Finish;
use crate::engine::cores::NotTaken;
use crate::engine::service::Service;

const SSE: &str = "text/event-stream";

/// SGLang's own API.
pub(super) fn sglang() -> Router<Arc<Service>> {
    Router::new()
        .route("/health_generate", get(healthy))
        .route("/get_model_info", get(sglang_model))
        .route("/get_server_info", get(sglang_server))
        .route("/server_info", get(sglang_server))
        .route("/generate", post(sglang_generate))
}

async fn sglang_model(State(service): State<Arc<Service>>) -> Json<Value> {
    Json(json!({"model_path": service.cores.models().first(), "is_generation": true}))
}

async fn sglang_server(State(service): State<Arc<Service>>) -> Json<Value> {
    let settings = service.cores.settings();
    Json(json!({
        "model_path": service.cores.models().first(),
        "max_running_requests": settings.max_sequences,
        "max_total_num_tokens": u64::from(settings.blocks) * u64::from(settings.block_size),
        "page_size": settings.block_size,
        "chunked_prefill_size": settings.max_batched_tokens,
        "version": "0.5.3",
    }))
}

async fn sglang_generate(
    State(service): State<Arc<Service>>,
    Asked(body): Asked,
) -> Result<Response, NotTaken> {
    let prompt = body.get("text").or_else(|| body.get("input_ids"));
    let prompt = prompt_tokens(prompt.unwrap_or(&Value::Null));
    let max_tokens = body
        .get("sampling_params")
        .and_then(|parameters| number(parameters, "max_new_tokens"));
    let ticket = begin(&service, None, prompt, max_tokens)?;
    let whole = move |answered: Answered, ended: bool| {
        let reason = if ended {
            json!({"type": answered.reason()})
        } else {
            Value::Null
        };
        json!({"text": answered.text(), "meta_info": {
            "prompt_tokens": prompt, "completion_tokens": answered.tokens, "finish_reason": reason,
        }})
    };
    if !flag(&body, "stream") {
        return Ok(Json(whole(finish(ticket).await, true)).into_response());
    }
    let events = stream(ticket, SSE, move |step| match step {
        // Each event has all the text so far.
        Step::Token(tokens) => {
            let so_far = Answered {
                tokens,
                finish: Finish::Length,
            };
            format!("data: {}\n\n", whole(so_far, false))
        }
        Step::End(answered) => format!("data: {}\n\ndata: [DONE]\n\n", whole(answered, true)),
    });
    Ok(events)
}

/// Text Generation Inference's own API.
pub(super) fn tgi() -> Router<Arc<Service>> {
    Router::new()
        .route("/info", get(tgi_info))
        .route("/generate", post(tgi_generate))
        .route("/generate_stream", post(tgi_stream))
}

async fn tgi_info(State(service): State<Arc<Service>>) -> Json<Value> {
    let settings = service.cores.settings();
    let limit = settings.context_limit();
    Json(json!({
        "model_id": service.cores.models().first(),
        "max_concurrent_requests": settings.max_sequences,
        "max_input_tokens": limit.saturating_sub(1),
        "max_total_tokens": limit,
        "version": "3.3.6",
    }))
}

fn tgi_lengths(body: &Value) -> (u32, Option<u32>) {
    let prompt = prompt_tokens(body.get("inputs").unwrap_or(&Value::Null));
    let max_tokens = body
        .get("parameters")
        .and_then(|parameters| number(parameters, "max_new_tokens"));
    (prompt, max_tokens)
}

fn tgi_details(answered: Answered) -> Value {
    let reason = if answered.reason() == "stop" {
        "eos_token"
    } else {
        "length"
    };
    json!({"finish_reason": reason, "generated_tokens": answered.tokens})
}

async fn tgi_generate(State(service): State<Arc<Service>>, Asked(body): Asked) -> Result<Response, NotTaken> {
    let (prompt, max_tokens) = tgi_lengths(&body);
    let answered = finish(begin(&service, None, prompt, max_tokens)?).await;
    let details = tgi_details(answered);
    Ok(Json(json!({"generated_text": answered.text(), "details": details})).into_response())
}

async fn tgi_stream(State(service): State<Arc<Service>>, Asked(body): Asked) -> Result<Response, NotTaken> {
    let (prompt, max_tokens) = tgi_lengths(&body);
    let token = |number: u32| json!({"id": number, "text": TOKEN, "special": false});
    let ticket = begin(&service, None, prompt, max_tokens)?;
    let events = stream(ticket, SSE, move |step| {
        let event = match step {
            Step::Token(number) => {
                json!({"index": number, "token": token(number), "generated_text": null, "details": null})
            }
            Step::End(answered) => json!({
                "index": answered.tokens, "token": token(answered.tokens),
                "generated_text": answered.text(), "details": tgi_details(answered),
            }),
        };
        format!("data:{event}\n\n")
    });
    Ok(events)
}

/// Text Embeddings Inference's API.
pub(super) fn tei() -> Router<Arc<Service>> {
    Router::new()
        .route("/health", get(healthy))
        .route("/info", get(tei_info))
        .route("/embed", post(embed))
}

async fn tei_info(State(service): State<Arc<Service>>) -> Json<Value> {
    let settings = service.cores.settings();
    Json(json!({
        "model_id": service.cores.models().first(),
        "max_input_length": settings.context_limit(),
        "max_batch_tokens": settings.max_batched_tokens,
        "max_concurrent_requests": settings.max_sequences,
        "version": "1.8.2",
    }))
}

/// Embeds each text; one pass over it gives the vector, so that it counts for one token of answer.
async fn embed(State(service): State<Arc<Service>>, Asked(body): Asked) -> Result<Response, NotTaken> {
    let inputs = match body.get("inputs") {
        Some(Value::Array(texts)) => texts.clone(),
        Some(text) => vec![text.clone()],
        None => Vec::new(),
    };
    let mut tickets = Vec::new();
    for text in &inputs {
        tickets.push(begin(&service, None, prompt_tokens(text), Some(1))?);
    }
    let mut vectors = Vec::new();
    for ticket in tickets {
        finish(ticket).await;
        vectors.push(json!([0.6, 0.8]));
    }
    Ok(Json(Value::Array(vectors)).into_response())
}

/// llama.cpp's own API.
pub(super) fn llamacpp() -> Router<Arc<Service>> {
    Router::new()
        .route("/slots", get(slots))
        .route("/props", get(props))
        .route("/completion", post(completion))
}

async fn slots(State(service): State<Arc<Service>>) -> Json<Value> {
    let settings = service.cores.settings();
    let running = service.cores.occupancy().first().map_or(0, |core| core.running);
    let limit = settings.context_limit();
    let slots = (0..settings.max_sequences)
        .map(|slot| json!({"id": slot, "n_ctx": limit, "is_processing": slot < running}))
        .collect();
    Json(Value::Array(slots))
}

async fn props(State(service): State<Arc<Service>>) -> Json<Value> {
    let settings = service.cores.settings();
    Json(json!({
        "total_slots": settings.max_sequences,
        "model_path": service.cores.models().first(),
        "default_generation_settings": {"n_ctx": settings.context_limit()},
    }))
}

async fn completion(State(service): State<Arc<Service>>, Asked(body): Asked) -> Result<Response, NotTaken> {
    let prompt = prompt_tokens(body.get("prompt").unwrap_or(&Value::Null));
    let ticket = begin(&service, None, prompt, number(&body, "n_predict"))?;
    let end = move |content: String, answered: Answered| {
        let kind = if answered.reason() == "stop" {
            "eos"
        } else {
            "limit"
        };
        json!({
            "content": content, "stop": true, "stop_type": kind,
            "tokens_evaluated": prompt, "tokens_predicted": answered.tokens,
        })
    };
    if !flag(&body, "stream") {
        let answered = finish(ticket).await;
        return Ok(Json(end(answered.text(), answered)).into_response());
    }
    let events = stream(ticket, SSE, move |step| {
        let event = match step {
            Step::Token(_) => json!({"content": TOKEN, "stop": false}),
            Step::End(answered) => end(String::new(), answered),
        };
        format!("data: {event}\n\n")
    });
    Ok(events)
}
