use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::generate::{Answered, Step, TOKEN, begin, finish, stream};
use super::{Asked, flag, healthy, model, number, prompt_tokens, words};
use crate::engine::cores::NotTaken;
use crate::engine::service::Service;

/// Tokens of a completion where the request does not say, as OpenAI's API has it.
const COMPLETION_TOKENS: u32 = 16;

/// The OpenAI-compatible API that most engines have.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/health", get(healthy))
        .route("/v1/models", get(models))
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat))
}

async fn models(State(service): State<Arc<Service>>) -> Json<Value> {
    let limit = service.cores.settings().context_limit();
    let bases = service.cores.models();
    let mut list: Vec<Value> = bases
        .iter()
        .map(|name| json!({"id": name, "object": "model", "owned_by": "mock", "root": name, "max_model_len": limit}))
        .collect();
    for adapter in service.cores.adapters() {
        list.push(json!({"id": adapter, "object": "model", "owned_by": "mock", "parent": bases.first()}));
    }
    Json(json!({"object": "list", "data": list}))
}

async fn completions(State(service): State<Arc<Service>>, Asked(body): Asked) -> Result<Response, NotTaken> {
    let prompt = prompt_tokens(body.get("prompt").unwrap_or(&Value::Null));
    let max_tokens = number(&body, "max_tokens").or(Some(COMPLETION_TOKENS));
    answer(&service, &body, Shape::Completion, prompt, max_tokens).await
}

async fn chat(State(service): State<Arc<Service>>, Asked(body): Asked) -> Result<Response, NotTaken> {
    let messages = body.get("messages").and_then(Value::as_array);
    let prompt = messages
        .into_iter()
        .flatten()
        .map(|message| content_tokens(message.get("content").unwrap_or(&Value::Null)))
        .fold(0, u32::saturating_add);
    let max_tokens = number(&body, "max_completion_tokens").or_else(|| number(&body, "max_tokens"));
    answer(&service, &body, Shape::Chat, prompt, max_tokens).await
}

/// Tokens of a message: a text or a list of parts, of which only texts count.
fn content_tokens(content: &Value) -> u32 {
    match content {
        Value::String(text) => words(text),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part.get("text")?.as_str())
            .map(words)
            .fold(0, u32::saturating_add),
        _ => 0,
    }
}

async fn answer(
    service: &Service,
    body: &Value,
    shape: Shape,
    prompt: u32,
    max_tokens: Option<u32>,
) -> Result<Response, NotTaken> {
    let ticket = begin(service, model(body), prompt, max_tokens)?;
    let first = service.cores.models().first().cloned().unwrap_or_default();
    let model = model(body).map_or(first, ToOwned::to_owned);
    if !flag(body, "stream") {
        let answered = finish(ticket).await;
        return Ok(Json(shape.whole(&model, prompt, answered)).into_response());
    }
    let with_usage = body
        .get("stream_options")
        .is_some_and(|options| flag(options, "include_usage"));
    Ok(stream(
        ticket,
        "text/event-stream; charset=utf-8",
        move |step| match step {
            Step::Token(number) => sse(&shape.token(&model, number)),
            Step::End(answered) => {
                let mut text = sse(&shape.end(&model, answered));
                if with_usage {
                    text += &sse(&shape.usage(&model, prompt, answered));
                }
                text + "data: [DONE]\n\n"
            }
        },
    ))
}

fn sse(event: &Value) -> String {
    format!("data: {event}\n\n")
}

fn usage(prompt: u32, answered: Answered) -> Value {
    let total = u64::from(prompt) + u64::from(answered.tokens);
    json!({"prompt_tokens": prompt, "completion_tokens": answered.tokens, "total_tokens": total})
}

/// Which of the two APIs an answer is for.
#[derive(Clone, Copy)]
enum Shape {
    Completion,
    Chat,
}

impl Shape {
    fn whole(self, model: &str, prompt: u32, answered: Answered) -> Value {
        let mut choice = json!({"index": 0, "finish_reason": answered.reason(), "logprobs": null});
        match self {
            Self::Completion => choice["text"] = answered.text().into(),
            Self::Chat => choice["message"] = json!({"role": "assistant", "content": answered.text()}),
        }
        let mut whole = self.envelope(model, self.object(false), &[choice]);
        whole["usage"] = usage(prompt, answered);
        whole
    }

    fn token(self, model: &str, number: u32) -> Value {
        let mut choice = json!({"index": 0, "finish_reason": null, "logprobs": null});
        match self {
            Self::Completion => choice["text"] = TOKEN.into(),
            Self::Chat if number == 1 => choice["delta"] = json!({"role": "assistant", "content": TOKEN}),
            Self::Chat => choice["delta"] = json!({"content": TOKEN}),
        }
        self.envelope(model, self.object(true), &[choice])
    }

    fn end(self, model: &str, answered: Answered) -> Value {
        let mut choice = json!({"index": 0, "finish_reason": answered.reason(), "logprobs": null});
        match self {
            Self::Completion => choice["text"] = "".into(),
            Self::Chat => choice["delta"] = json!({}),
        }
        self.envelope(model, self.object(true), &[choice])
    }

    fn usage(self, model: &str, prompt: u32, answered: Answered) -> Value {
        let mut event = self.envelope(model, self.object(true), &[]);
        event["usage"] = usage(prompt, answered);
        event
    }

    fn object(self, streamed: bool) -> &'static str {
        match (self, streamed) {
            (Self::Completion, _) => "text_completion",
            (Self::Chat, false) => "chat.completion",
            (Self::Chat, true) => "chat.completion.chunk",
        }
    }

    fn envelope(self, model: &str, object: &str, choices: &[Value]) -> Value {
        let id = match self {
            Self::Completion => "cmpl-mock",
            Self::Chat => "chatcmpl-mock",
        };
        json!({"id": id, "object": object, "created": 0, "model": model, "choices": choices})
    }
}
