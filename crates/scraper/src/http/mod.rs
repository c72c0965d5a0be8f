//! One bounded HTTP/1.1 client for everything that is fetched.

mod body;
mod client;
mod connection;
mod error;
mod request;
mod room;
mod server;
mod tls;

pub use client::{Client, Limits, Page};
pub use error::{Failure, FailureKind, FetchError};
pub use request::{Authorization, Request, RequestError};
pub(crate) use room::Room;
pub use server::{Host, Server, UrlError};
pub use tls::{Security, TlsError, TlsOptions};
