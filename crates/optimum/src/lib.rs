//! Clairvoyant lower bounds: what any autoscaler must spend on a load, however well it foresees it.
//!
//! A policy's cost divided by a bound says how far it is from the optimum; a bound is honest only for the
//! promise that the policy keeps, so there is one for each: [`without_waiting`] for a policy that serves
//! everything at once, [`with_attainment`] for one that may be late for a part of the requests.
//! [`work`] holds for every policy and is the weakest. [`bound`] is for policies that let requests wait for as
//! long as their SLO allows and miss it for a part of them: the one that a real policy is scored against.
//!
//! A replica is billed from the moment it is asked for, so that each start costs its cold start; knowing
//! the future, it is asked for early enough.

mod attainment;
mod backlog;
mod bound;
mod job;
mod load;
mod prices;
mod waiting;
mod windows;

pub use attainment::with_attainment;
pub use bound::{Bound, BoundBy, bound};
pub use job::{Job, Request};
pub use load::{Bill, Load, LoadError, ReplicaSeconds};
pub use prices::Prices;
pub use waiting::{schedule, without_waiting, work};
