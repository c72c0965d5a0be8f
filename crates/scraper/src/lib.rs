//! Fetches what engines say of themselves, again and again, and keeps the newest.
//!
//! A [`Scraper`] asks each [`Endpoint`](rheostat_engines::Endpoint) once per period, however many
//! targets look at it, and keeps a report for each target on its [`Board`]. Everything that an engine
//! may cost is bounded: time, size, connections, attempts; a slow or hostile engine costs the others
//! nothing. [`Client`] is the bounded HTTP client beneath, for whoever else has something to fetch.

mod board;
mod guard;
mod http;
mod lanes;
mod readers;
mod scraper;
mod stats;
mod subject;
mod worker;

pub use board::Board;
pub use guard::{MAX_PERIOD, MIN_PERIOD, Refusal};
pub use http::{
    Authorization, Client, Failure, FailureKind, FetchError, Host, Limits, Page, Request, RequestError,
    Security, Server, TlsError, TlsOptions, UrlError,
};
pub use scraper::{Scraper, ScraperOptions};
pub use stats::Stats;
