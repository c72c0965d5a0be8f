//! Instant queries to Prometheus and whatever speaks its API: Thanos, Mimir, VictoriaMetrics, managed
//! ones.
//!
//! The operator configures [`Servers`] by name; a trigger names a server and a query, which
//! [`Servers::bind`] checks and binds to the workload's namespace. A [`Sampler`] asks each of a set of
//! bound queries once per period, however many triggers want it, and keeps the newest [`QueryResult`]s
//! on its [`Board`]. A server that does not answer changes nothing there but the failure: the last
//! answer stays and grows old.
//!
//! Knows nothing of triggers: an empty result, NaN and several series are data here, and the trigger
//! says what they mean.

mod answer;
mod ask;
mod board;
mod failure;
mod file;
mod sampler;
mod servers;
mod stats;

pub use answer::{Answer, Data, Sample, Series};
pub use board::{Answered, Board, Failed, QueryResult};
pub use failure::QueryFailure;
pub use file::{ConfigError, ServersFile};
pub use sampler::{Sampler, SamplerOptions};
pub use servers::{BindError, Enforcement, QueryId, ServerConfig, Servers};
pub use stats::Stats;
