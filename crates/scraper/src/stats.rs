use std::sync::atomic::{AtomicU64, Ordering};

use rheostat_promtext::{Counter, Histogram};

use crate::http::FailureKind;

/// What the scraper has done since it was started, for metrics.
#[derive(Debug)]
pub struct Stats {
    /// Scrapes of an endpoint that ended, well or not.
    pub scrapes: Counter,
    /// Pages that were received.
    pub pages: Counter,
    /// Connections that were opened and gave a page; with keep-alive far fewer than pages.
    pub connections: Counter,
    /// Bytes of pages as they were sent.
    pub bytes_sent: Counter,
    /// Bytes of pages once decompressed.
    pub bytes: Counter,
    /// How long scrapes took, all their pages together, in seconds.
    pub durations: Histogram,
    failures: [Counter; FailureKind::ALL.len()],
    in_flight: AtomicU64,
    endpoints: AtomicU64,
    refused: AtomicU64,
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self {
            scrapes: Counter::new(),
            pages: Counter::new(),
            connections: Counter::new(),
            bytes_sent: Counter::new(),
            bytes: Counter::new(),
            durations: Histogram::seconds(),
            failures: Default::default(),
            in_flight: AtomicU64::new(0),
            endpoints: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Scrapes that failed, by why.
    pub fn failures(&self) -> impl Iterator<Item = (FailureKind, &Counter)> {
        FailureKind::ALL.iter().copied().zip(&self.failures)
    }

    /// Scrapes that are going on.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Endpoints that are scraped.
    #[must_use]
    pub fn endpoints(&self) -> u64 {
        self.endpoints.load(Ordering::Relaxed)
    }

    /// Targets that may not be scraped.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn set_sizes(&self, endpoints: usize, refused: u64) {
        self.endpoints.store(endpoints as u64, Ordering::Relaxed);
        self.refused.store(refused, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, kind: FailureKind) {
        if let Some((_, counter)) = self.failures().find(|(other, _)| *other == kind) {
            counter.inc();
        }
    }

    /// Counts a scrape as going on until what this gives is dropped.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }
}

pub(crate) struct InFlight<'a>(&'a Stats);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
