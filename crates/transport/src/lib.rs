//! Every listener and every client of Rheostat: TLS, mTLS or, when asked for, plaintext.
//!
//! A service turns what its user gave ([`ServerOptions`], [`ClientOptions`]) into a security
//! ([`ServerSecurity`], [`ClientSecurity`]): without certificates there is none unless plaintext
//! was asked for in so many words. Certificates are read again when their files change; whatever
//! is wrong with the new ones, the old ones stay in use. From a security come listeners
//! ([`listen`], then [`serve_grpc`] or [`serve_http`]) and channels ([`connect`]).

mod connect;
mod connection;
mod incoming;
mod listen;
mod material;
mod reload;
mod security;
mod serve;

pub use connect::{ConnectError, ConnectOptions, connect};
pub use connection::{Connection, PeerInfo};
pub use incoming::Incoming;
pub use listen::{ListenError, Listener, ListenerStats, Protocol, listen};
pub use material::MaterialError;
pub use reload::ReloadStatus;
pub use security::{
    ClientOptions, ClientSecurity, ClientTls, SecurityError, ServerOptions, ServerSecurity, ServerTls,
};
pub use serve::{grpc_server, serve_grpc, serve_http};
