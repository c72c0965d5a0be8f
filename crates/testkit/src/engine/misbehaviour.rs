use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio_stream::StreamExt;

/// What an engine does in place of what it should.
///
/// The first three concern every connection; the others only the page with metrics, so that
/// requests go on being served meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Nothing wrong.
    #[default]
    None,
    /// Connections are accepted and requests read, but none is answered until this is over.
    Hang,
    /// Nobody listens; the port stays taken, so that the engine can come back.
    Refuse,
    /// Connections get bytes that are no HTTP, and end.
    Garbage,
    /// The body comes a few bytes at a time.
    SlowBody {
        /// How many.
        bytes: usize,
        /// How often.
        every: Duration,
    },
    /// A page for people, with status 200, as proxies and login walls serve it.
    Html,
    /// This status with a text.
    Status(u16),
    /// The body ends in the middle of a line, before what `Content-Length` said.
    Truncated,
    /// The body never ends.
    Endless,
    /// A redirection to this address.
    Redirect(String),
    /// A page without any family of an engine.
    Foreign,
    /// Gauges are NaN.
    NotANumber,
}

/// What is sent in place of HTTP.
pub(super) const GARBAGE: &[u8] = b"\x00\x01\xfe\xff\x16\x03SSH-2.0-nothing\r\n\x00\r\n\r\n";

const HTML: &str = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n\
                    <body class=\"page\"><h1>Sign in to go on</h1><p>vllm:num_requests_waiting 7</p></body></html>\n";

const FOREIGN: &str = "# HELP node_load1 1m load average.\n# TYPE node_load1 gauge\nnode_load1 0.42\n\
                       # HELP node_boot_time_seconds Boot time.\n# TYPE node_boot_time_seconds gauge\n\
                       node_boot_time_seconds 1.75e+09\n";

/// How long a truncated body waits before it ends.
const PAUSE: Duration = Duration::from_millis(10);

/// What an endless body repeats.
const AGAIN: &str = "# HELP nothing That is all there is to say, again and again.\n";

impl Misbehaviour {
    /// The answer to a scrape in place of `page`; none where the page is served as it is.
    pub(super) fn answer(&self, page: &str) -> Option<Response> {
        let text = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
        let response = match self {
            Self::None | Self::Hang | Self::Refuse | Self::Garbage | Self::NotANumber => return None,
            Self::SlowBody { bytes, every } => {
                let length = page.len();
                let pieces: Vec<Bytes> = page
                    .as_bytes()
                    .chunks((*bytes).max(1))
                    .map(Bytes::copy_from_slice)
                    .collect();
                let body = tokio_stream::iter(pieces).throttle(*every);
                let mut response = (text, Body::from_stream(body.map(Ok::<_, Infallible>))).into_response();
                response.headers_mut().insert(CONTENT_LENGTH, length.into());
                response
            }
            Self::Html => ([(CONTENT_TYPE, "text/html; charset=utf-8")], HTML).into_response(),
            Self::Status(status) => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, "the engine has died").into_response()
            }
            Self::Truncated => {
                let half = page.len() / 2;
                // Into the middle of a line, wherever the half falls.
                let end = page[..=half.min(page.len().saturating_sub(1))]
                    .rfind('\n')
                    .map_or(half, |line| line + 4);
                let piece = Bytes::copy_from_slice(&page.as_bytes()[..end.min(page.len())]);
                // The pause before the end lets what there is be sent: an error drops what is not.
                let body = tokio_stream::iter([piece, Bytes::new()]).throttle(PAUSE);
                let mut response = (text, Body::from_stream(body.map(Ok::<_, Infallible>))).into_response();
                response.headers_mut().insert(CONTENT_LENGTH, page.len().into());
                response
            }
            Self::Endless => {
                let body = tokio_stream::iter(std::iter::repeat_with(|| {
                    Ok::<_, Infallible>(Bytes::from_static(AGAIN.as_bytes()))
                }));
                (text, Body::from_stream(body)).into_response()
            }
            Self::Redirect(location) => {
                let mut response = StatusCode::FOUND.into_response();
                if let Ok(location) = HeaderValue::from_str(location) {
                    response.headers_mut().insert(LOCATION, location);
                }
                response
            }
            Self::Foreign => (text, FOREIGN).into_response(),
        };
        Some(response)
    }
}
