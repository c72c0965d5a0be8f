use std::time::Duration;

use rheostat_reading::Timestamp;

/// Time between two looks. Shorter than queues grow, longer than engines are scraped.
pub(crate) const STEP: Duration = Duration::from_secs(5);

/// A look, and how far it looks ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Timestamp,
    /// Looks are numbered from 1.
    pub(crate) step: u64,
    /// Seconds since the look before.
    pub(crate) seconds: f64,
    /// Time until a replica that is asked for now serves.
    pub(crate) horizon: Duration,
    /// Replicas that sleep, beside those that are looked at.
    pub(crate) asleep: u32,
}

/// Costs and lateness fade in so many seconds: what a day saw counts in the next one.
pub(crate) const REMEMBERED: f64 = 24.0 * 3600.0;

impl Moment {
    /// The part that older costs and lateness keep in this step.
    pub(crate) fn keep(&self) -> f64 {
        (-self.seconds / REMEMBERED).exp()
    }

    /// The horizon in steps, at least 1.
    pub(crate) const fn horizon_steps(&self) -> u64 {
        self.horizon.as_secs() / STEP.as_secs() + 1
    }
}

/// The least number of replicas that is no less; none where it is below 0.
pub(crate) fn whole(replicas: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not below 0, and saturates"
    )]
    let replicas = replicas.ceil().max(0.0) as u32;
    replicas
}
