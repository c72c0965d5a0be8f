use std::time::Duration;

use rheostat_reading::Timestamp;
use rheostat_trace::Request;

use crate::baseline::BaselineError;

/// Bins of a trace, at most: a hundred days in bins of 1 s. It bounds memory, whatever a trace claims.
const MOST_BINS: usize = 8_640_000;

/// The requests of a trace, for baselines that are told the future: how many and how long, in bins of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Foresight {
    start: Timestamp,
    width: Duration,
    bins: Vec<Bin>,
}

/// What arrives in one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Requests.
    pub requests: f64,
    /// Tokens of their prompts.
    pub prompt_tokens: f64,
    /// Tokens of their answers.
    pub output_tokens: f64,
}

impl Bin {
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.prompt_tokens += other.prompt_tokens;
        self.output_tokens += other.output_tokens;
    }
}

impl Foresight {
    /// From a trace that begins at `start`. A `width` of 1 s keeps bursts apart that matter to a time to the
    /// first token of seconds.
    ///
    /// # Errors
    /// If `width` is 0, or the trace has more than 8,640,000 bins.
    pub fn new(
        start: Timestamp,
        width: Duration,
        requests: impl IntoIterator<Item = Request>,
    ) -> Result<Self, BaselineError> {
        if width.is_zero() {
            return Err(BaselineError::Context {
                key: "foresight.width",
                value: "0 s".to_owned(),
                allowed: "more than 0 s",
            });
        }
        let mut bins = Vec::new();
        for request in requests {
            let index = (request.at.as_nanos() / width.as_nanos()) as usize;
            if index >= MOST_BINS {
                return Err(BaselineError::Context {
                    key: "foresight",
                    value: format!("a request after {index} bins"),
                    allowed: "a trace of at most 8640000 bins",
                });
            }
            if bins.len() <= index {
                bins.resize(index + 1, Bin::default());
            }
            bins[index].add(Bin {
                requests: 1.0,
                prompt_tokens: f64::from(request.prompt_tokens),
                output_tokens: f64::from(request.output_tokens),
            });
        }
        Ok(Self { start, width, bins })
    }

    /// How wide a bin is.
    #[must_use]
    pub const fn width(&self) -> Duration {
        self.width
    }

    /// The bins, from the beginning of the trace.
    #[must_use]
    pub fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// When the trace begins.
    #[must_use]
    pub const fn start(&self) -> Timestamp {
        self.start
    }
}
