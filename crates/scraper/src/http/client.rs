use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderValue, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::body::{Body, readable};
use super::connection::Connection;
use super::error::{Failure, FetchError};
use super::request::Request;
use super::room::{Room, Taken};
use super::server::Server;

/// Fetches from one server: bounded in time and size, without redirects, proxies or cookies.
///
/// Connections are kept for the next request. Requests may run side by side, each on a connection of
/// its own.
pub struct Client {
    server: Server,
    /// What `Host` says.
    host: HeaderValue,
    limits: Limits,
    idle: Mutex<Vec<Connection>>,
}

/// What a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time for lookup, connection and TLS together.
    pub connect: Duration,
    /// Time until the answer begins, counted from the start.
    pub head: Duration,
    /// Time for everything.
    pub whole: Duration,
    /// Bytes of a page, as sent and decompressed.
    pub page: usize,
}

/// What a server answered.
#[derive(Debug)]
pub struct Page {
    /// Its content, decompressed.
    pub content: Vec<u8>,
    /// `Content-Type`, where the server said it.
    pub content_type: Option<String>,
    /// Bytes of the body as they were sent.
    pub sent: usize,
    /// Whether the server said where it ends. Where it did not, it ended with the connection, which
    /// a server that died would have closed too.
    pub delimited: bool,
    /// Whether a connection was opened for it.
    pub connected: bool,
    /// Given back when nobody needs the content any more.
    _taken: Taken,
}

/// Connections that are kept.
const MAX_IDLE: usize = 4;

/// Characters of an error page that an error shows.
const ERROR_START: usize = 256;

/// Bytes of an error page that are read, so that its connection can be kept.
const ERROR_PAGE: usize = 16 * 1024;

impl Default for Limits {
    /// Five seconds and 8 MiB: eighty times the page of a busy vLLM.
    fn default() -> Self {
        Self::within(Duration::from_secs(5))
    }
}

impl Limits {
    /// All within `time`, and 8 MiB.
    #[must_use]
    pub const fn within(time: Duration) -> Self {
        Self {
            connect: time,
            head: time,
            whole: time,
            page: 8 << 20,
        }
    }
}

impl Client {
    /// A client of `server`, which connects when it is first used.
    #[must_use]
    pub fn new(server: Server, limits: Limits) -> Self {
        // An address or a name out of a URL always makes a header.
        let host = HeaderValue::from_str(&server.authority())
            .unwrap_or_else(|_| HeaderValue::from_static("invalid"));
        Self {
            server,
            host,
            limits,
            idle: Mutex::default(),
        }
    }

    /// What the server answers to `request`, if that is a page.
    ///
    /// # Errors
    ///
    /// Everything but a status of success with a whole body within the limits.
    pub async fn fetch(&self, request: &Request) -> Result<Page, FetchError> {
        self.fetch_within(request, &Room::unlimited(), usize::MAX).await
    }

    /// What `request` asks for, for messages.
    #[must_use]
    pub fn url(&self, request: &Request) -> String {
        format!("{}{}", self.server, request.path())
    }

    /// The same as [`Client::fetch`], while `room` lasts and for a page of at most `most` bytes.
    pub(crate) async fn fetch_within(
        &self,
        request: &Request,
        room: &Room,
        most: usize,
    ) -> Result<Page, FetchError> {
        self.attempt(request, room, most)
            .await
            .map_err(|failure| FetchError {
                method: request.method.clone(),
                server: self.server.to_string(),
                path: request.path().to_owned(),
                failure,
            })
    }

    async fn attempt(&self, request: &Request, room: &Room, most: usize) -> Result<Page, Failure> {
        let start = Instant::now();
        let kept = self.kept();
        let connected = kept.is_none();
        let first = match kept {
            Some(connection) => self.ask(connection, request, start).await,
            None => self.ask(self.connect(start).await?, request, start).await,
        };
        let (connected, answered) = match first {
            // A server may close a kept connection just when it is used again.
            Err(Failure::Broken(_)) if !connected => {
                (true, self.ask(self.connect(start).await?, request, start).await?)
            }
            first => (connected, first?),
        };
        let (mut connection, response) = answered;
        let mut whole = false;
        let page = self.receive(response, room, most, start, &mut whole).await;
        // After a body that was not read to its end nothing can follow on the connection.
        if whole
            && timeout_at(start + self.limits.whole, connection.settle())
                .await
                .unwrap_or(false)
        {
            self.keep(connection);
        }
        page.map(|page| Page { connected, ..page })
    }

    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        idle.retain(Connection::is_open);
        idle.pop()
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    async fn connect(&self, start: Instant) -> Result<Connection, Failure> {
        let limit = self.limits.connect.min(self.limits.whole);
        timeout_at(start + limit, Connection::open(&self.server))
            .await
            .unwrap_or(Err(Failure::ConnectTimeout(limit)))
    }

    async fn ask(
        &self,
        mut connection: Connection,
        request: &Request,
        start: Instant,
    ) -> Result<(Connection, http::Response<Incoming>), Failure> {
        let limit = self.limits.head.min(self.limits.whole);
        let mut message = http::Request::new(Full::new(request.form.clone()));
        *message.method_mut() = request.method.clone();
        *message.uri_mut() = request.path.clone().into();
        *message.version_mut() = Version::HTTP_11;
        let headers = message.headers_mut();
        headers.clone_from(&request.headers);
        headers.insert(HOST, self.host.clone());
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!(
                "rheostat/",
                env!("CARGO_PKG_VERSION")
            )));
        let response = timeout_at(start + limit, connection.send(message))
            .await
            .map_err(|_| Failure::HeadTimeout(limit))?
            .map_err(Failure::Broken)?;
        Ok((connection, response))
    }

    async fn receive(
        &self,
        response: http::Response<Incoming>,
        room: &Room,
        most: usize,
        start: Instant,
        whole: &mut bool,
    ) -> Result<Page, Failure> {
        let (head, mut stream) = response.into_parts();
        let text_of = |name| {
            let value = head.headers.get(name).map(HeaderValue::as_bytes);
            value.map(|value| readable(value, ERROR_START))
        };
        if head.status.is_redirection() {
            return Err(Failure::Redirect {
                status: head.status,
                to: text_of(LOCATION).unwrap_or_default(),
            });
        }
        let success = head.status.is_success();
        let limit = if success {
            self.limits.page.min(most)
        } else {
            ERROR_PAGE
        };
        if success && stream.size_hint().lower() > limit as u64 {
            return Err(Failure::TooLarge { limit });
        }
        let refused = |start| Failure::Status {
            status: head.status,
            start,
        };
        let expected = stream.size_hint().lower();
        let mut body = match Body::begin(&head.headers, expected, limit, room.begin()) {
            // That it cannot be read either does not matter.
            Err(_) if !success => return Err(refused(String::new())),
            body => body?,
        };
        let mut sent = 0;
        let received = timeout_at(
            start + self.limits.whole,
            drain(&mut stream, &mut body, &mut sent, limit),
        )
        .await
        .unwrap_or(Err(Failure::BodyTimeout {
            limit: self.limits.whole,
            received: sent,
        }));
        *whole = received.is_ok();
        if !success {
            return Err(refused(readable(body.so_far(), ERROR_START)));
        }
        received?;
        let compressed = body.is_compressed();
        let (content, taken) = body.finish()?;
        Ok(Page {
            content,
            content_type: text_of(CONTENT_TYPE),
            sent,
            delimited: compressed
                || head.headers.contains_key(CONTENT_LENGTH)
                || head.headers.contains_key(TRANSFER_ENCODING),
            connected: false,
            _taken: taken,
        })
    }
}

/// Reads `stream` to its end into `body`, and counts in `sent`.
async fn drain(
    stream: &mut Incoming,
    body: &mut Body,
    sent: &mut usize,
    limit: usize,
) -> Result<(), Failure> {
    while let Some(frame) = stream.frame().await {
        let Ok(chunk) = frame.map_err(Failure::Broken)?.into_data() else {
            continue;
        };
        *sent += chunk.len();
        body.take(&chunk)?;
        if *sent > limit {
            return Err(Failure::TooLarge { limit });
        }
    }
    Ok(())
}
