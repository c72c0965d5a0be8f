use std::sync::Arc;

use rheostat_engines::{Endpoint, EngineReport};
use rheostat_reading::Clock;

use crate::board::Slot;
use crate::guard::Refusal;
use crate::http::{Authorization, FailureKind, FetchError, Request};
use crate::scraper::ScraperOptions;
use crate::worker::Asker;

/// One endpoint's engine: which pages it has and what they say.
pub(crate) struct Subject {
    /// The pages that may be its metrics, each with the request for it.
    candidates: Vec<Request>,
    /// The one that was, last time.
    chosen: usize,
    slots: Vec<Arc<Slot>>,
}

/// Where the engines have their metrics, the most frequent first.
const PATHS: [&str; 3] = ["/metrics", "/v1/metrics", "/prometheus/metrics"];

impl Subject {
    pub(crate) fn new(endpoint: &Endpoint, options: &ScraperOptions) -> Result<Self, Refusal> {
        let paths = match &endpoint.path {
            Some(path) => vec![path.as_str()],
            None => PATHS.to_vec(),
        };
        let candidates = paths.into_iter().map(|path| {
            let request = Request::get(path)?.compressed(options.compressed);
            match &endpoint.bearer {
                Some(token) => request.authorized(&Authorization::Bearer(token.clone())),
                None => Ok(request),
            }
        });
        Ok(Self {
            candidates: candidates.collect::<Result<_, _>>()?,
            chosen: 0,
            slots: Vec::new(),
        })
    }

    /// Reports to these slots from now on.
    pub(crate) fn follow(&mut self, slots: &[Arc<Slot>]) {
        self.slots = slots.to_vec();
    }

    /// Asks once, and reports.
    pub(crate) async fn ask(&mut self, asker: &Asker<'_>, clock: &Clock) -> Result<(), FailureKind> {
        let outcome = self.find(asker).await;
        let now = clock.now();
        for slot in &self.slots {
            let last = slot.report();
            slot.put(match &outcome {
                Ok(()) => EngineReport {
                    answered_at: Some(now),
                    failure: None,
                    ..EngineReport::clone(&last)
                },
                Err(error) => EngineReport {
                    failure: Some(error.to_string()),
                    ..EngineReport::clone(&last)
                },
            });
        }
        outcome.map_err(|error| error.failure.kind())
    }

    async fn find(&mut self, asker: &Asker<'_>) -> Result<(), FetchError> {
        let mut last = None;
        for step in 0..self.candidates.len() {
            let place = (self.chosen + step) % self.candidates.len();
            match asker.page(&self.candidates[place]).await {
                Ok(_) => {
                    self.chosen = place;
                    return Ok(());
                }
                Err(error) if error.failure.status().is_some() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        last.map_or(Ok(()), Err)
    }
}
