use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use tokio_stream::Stream;

use crate::engine::batcher::{Finish, Request};
use crate::engine::cores::{NotTaken, Progress, Ticket};
use crate::engine::service::Service;

/// What every token says.
pub(super) const TOKEN: &str = " token";

/// A request that was answered to the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// Tokens of the answer.
    pub(super) tokens: u32,
    /// Why it ended; an engine that restarts gives all up.
    pub(super) finish: Finish,
}

impl Answered {
    pub(super) fn text(self) -> String {
        TOKEN.repeat(usize::try_from(self.tokens).unwrap_or(0))
    }

    pub(super) fn reason(self) -> &'static str {
        match self.finish {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Abort => "abort",
        }
    }
}

/// Hands a request to the engine. The answer has `max_tokens` tokens, or as many as the engine's
/// options say.
pub(super) fn begin(
    service: &Service,
    model: Option<&str>,
    prompt_tokens: u32,
    max_tokens: Option<u32>,
) -> Result<Ticket, NotTaken> {
    let request = Request {
        prompt_tokens,
        output_tokens: max_tokens.unwrap_or(service.output_tokens),
        max_tokens,
        ..Request::default()
    };
    service.cores.begin(model, request)
}

/// Waits for the end.
pub(super) async fn finish(mut ticket: Ticket) -> Answered {
    let mut tokens = 0;
    loop {
        match ticket.progress.recv().await {
            Some(Progress::Token) => tokens += 1,
            Some(Progress::Finished(finish)) => return Answered { tokens, finish },
            None => {
                return Answered {
                    tokens,
                    finish: Finish::Abort,
                };
            }
        }
    }
}

/// One step of a streamed answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// The token with this number, from 1.
    Token(u32),
    /// The end.
    End(Answered),
}

/// Streams an answer; `write` makes the text of each step.
pub(super) fn stream(
    ticket: Ticket,
    content_type: &'static str,
    write: impl FnMut(Step) -> String + Send + Unpin + 'static,
) -> Response {
    let steps = Steps {
        ticket,
        write,
        tokens: 0,
        ended: false,
    };
    ([(CONTENT_TYPE, content_type)], Body::from_stream(steps)).into_response()
}

struct Steps<W> {
    ticket: Ticket,
    write: W,
    tokens: u32,
    ended: bool,
}

impl<W: FnMut(Step) -> String + Unpin> Stream for Steps<W> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let step = match ready!(self.ticket.progress.poll_recv(context)) {
            Some(Progress::Token) => {
                self.tokens += 1;
                Step::Token(self.tokens)
            }
            Some(Progress::Finished(finish)) => {
                self.ended = true;
                Step::End(Answered {
                    tokens: self.tokens,
                    finish,
                })
            }
            None => return Poll::Ready(None),
        };
        let text = (self.write)(step);
        Poll::Ready(Some(Ok(Bytes::from(text))))
    }
}
