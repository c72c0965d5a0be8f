use rheostat_promtext::Counter;

/// What the steward counts about itself.
#[derive(Debug, Default)]
pub struct Stats {
    /// Looks at the lease, or renewals, that failed.
    pub lease_failures: Counter,
    /// Statuses that were written.
    pub statuses: Counter,
    /// Statuses that could not be written.
    pub status_failures: Counter,
    /// Events that were written.
    pub events: Counter,
    /// Events that could not be written.
    pub event_failures: Counter,
    /// Events that were not tried: too many at once.
    pub events_dropped: Counter,
    /// What was learned of a workload and was too large for a status.
    pub learned_dropped: Counter,
}
