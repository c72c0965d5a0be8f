use std::fs::File;
use std::io::Read;
use std::iter::FusedIterator;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::counts::Counts;
use crate::error::TraceError;
use crate::format::Format;
use crate::input::Input;
use crate::lengths::Lengths;
use crate::prometheus::Rates;
use crate::request::Request;
use crate::rows::Rows;
use crate::servegen::Clients;
use crate::source::{Draw, SECOND, Source};

/// A trace: a source of requests, the part of it that is looked at, and what its rate is multiplied by.
///
/// It is cheap to copy; [`Self::requests`] begins anew each time and gives the same requests each time.
#[derive(Clone, Debug)]
pub struct Trace {
    source: Arc<Source>,
    draw: Draw,
    /// Nanoseconds since the source's beginning: from, and before which, requests are given.
    from: u64,
    to: u64,
}

/// How a trace is read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Its format; `None` tells it from the content.
    pub format: Option<Format>,
    /// How long prompts and answers are where the format does not say.
    pub lengths: Lengths,
    /// Whatever is drawn by chance is drawn from this.
    pub seed: u64,
}

/// The requests of a [`Trace`], in order of time.
#[derive(Clone, Debug)]
pub struct Requests {
    trace: Trace,
    /// The window that comes after those in `window`.
    next: u64,
    window: Vec<Request>,
    place: usize,
}

/// The most requests that are drawn at once: 24 bytes each.
const MOST_AT_ONCE: u64 = 16_000_000;

impl Trace {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// It cannot be read, its format is not known, it is too large, or a part of it is not as it should be.
    pub fn open(path: &Path, options: &Options) -> Result<Self, TraceError> {
        let file = File::open(path).map_err(|source| TraceError::File {
            path: path.to_owned(),
            source,
        })?;
        Self::read(file, options)
    }

    /// Reads a text, which may be compressed with gzip.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn read(text: impl Read, options: &Options) -> Result<Self, TraceError> {
        let (mut input, head) = Input::new(text)?;
        let format = options.format.map_or_else(|| Format::of(&head), Ok)?;
        let source = match format {
            Format::Azure => Source::Rows(Rows::azure(&mut input)?),
            Format::BurstGpt => Source::Rows(Rows::burstgpt(&mut input)?),
            Format::Mooncake => Source::Rows(Rows::mooncake(&mut input)?),
            Format::ServeGen => Source::Clients(Clients::read(&mut input)?),
            Format::Counts => Source::Counts(Counts::read(&mut input)?),
            Format::Prometheus => Source::Rates(Rates::read(input)?),
        };
        Ok(Self::new(source, options))
    }

    /// Requests that are known already, in any order.
    #[must_use]
    pub fn from_requests(requests: impl IntoIterator<Item = Request>) -> Self {
        Self::new(Source::Rows(Rows::from_requests(requests)), &Options::default())
    }

    /// Requests that come by chance (Poisson) at `rates`, requests per second, each of which holds for
    /// `step`. What is no rate (negative, infinite, not a number) counts as 0, and a step of 0 as the
    /// shortest there is.
    #[must_use]
    pub fn from_rates(step: Duration, rates: impl IntoIterator<Item = f64>, options: &Options) -> Self {
        let rates = rates.into_iter();
        let rates = rates.map(|rate| if (0.0..=1e6).contains(&rate) { rate } else { 0.0 });
        Self::new(Source::Rates(Rates::new(step, rates.collect())), options)
    }

    fn new(source: Source, options: &Options) -> Self {
        // The last row is at the very end.
        let to = source.length() + u64::from(matches!(source, Source::Rows(_)));
        Self {
            source: Arc::new(source),
            draw: Draw {
                seed: options.seed,
                factor: 1.0,
                lengths: options.lengths,
            },
            from: 0,
            to,
        }
    }

    /// The requests, timed from the beginning of this trace.
    #[must_use]
    pub fn requests(&self) -> Requests {
        Requests {
            trace: self.clone(),
            next: self.from / self.source.window(),
            window: Vec::new(),
            place: 0,
        }
    }

    /// How long it is. A trace that lists requests ends with the last.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.to.min(self.source.length()).saturating_sub(self.from))
    }

    /// Before this all its requests come: its duration, and a moment more where the last one is at its very end.
    #[must_use]
    pub fn end(&self) -> Duration {
        Duration::from_nanos(self.to.saturating_sub(self.from))
    }

    /// How many requests it has: exactly, where it lists them, is not multiplied and not cut; on average
    /// otherwise, and to the nearest window (1 s to 10 min, as the format has it) where it is cut.
    #[must_use]
    pub fn expected_requests(&self) -> f64 {
        let window = self.source.window();
        let windows = self.from / window..self.to.div_ceil(window).min(self.source.windows());
        let expected = windows.map(|place| {
            let (begin, end) = (place * window, (place + 1) * window);
            let within = self.to.min(end).saturating_sub(self.from.max(begin));
            // A whole window counts whole, so does the last of rows, which ends with its last request.
            let part = if within == window || self.to > self.source.length() && end > self.to {
                1.0
            } else {
                within as f64 / window as f64
            };
            self.source.expected(place) * part
        });
        expected.sum::<f64>() * self.draw.factor
    }

    /// The part from `from` to before `to`, both since this trace's beginning, which becomes `from`.
    #[must_use]
    pub fn slice(&self, from: Duration, to: Duration) -> Self {
        let at = |time: Duration| {
            let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            self.from.saturating_add(nanoseconds).min(self.to)
        };
        Self {
            from: at(from),
            to: at(to).max(at(from)),
            ..self.clone()
        }
    }

    /// The same with `factor` times as many requests: rates are multiplied where the format has rates;
    /// listed requests are left out by chance, or get copies within the same second.
    ///
    /// # Errors
    ///
    /// A factor that is not above 0, or so large that a window of the trace would not fit the memory.
    pub fn scaled(&self, factor: f64) -> Result<Self, TraceError> {
        let window = self.source.window();
        let product = self.draw.factor * factor;
        let busiest = (0..self.source.windows())
            .map(|place| self.source.expected(place))
            .fold(0.0, f64::max);
        if !(factor > 0.0 && product > 0.0 && busiest * product <= MOST_AT_ONCE as f64) {
            return Err(TraceError::Factor {
                factor,
                most: MOST_AT_ONCE,
                seconds: window as f64 / SECOND as f64,
            });
        }
        let mut scaled = self.clone();
        scaled.draw.factor = product;
        Ok(scaled)
    }

    /// The same drawn from another seed.
    #[must_use]
    pub fn seeded(&self, seed: u64) -> Self {
        let mut seeded = self.clone();
        seeded.draw.seed = seed;
        seeded
    }
}

impl Iterator for Requests {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let (from, to) = (self.trace.from, self.trace.to);
        loop {
            if let Some(request) = self.window.get(self.place) {
                self.place += 1;
                let at = u64::try_from(request.at.as_nanos()).unwrap_or(u64::MAX);
                if at < from {
                    continue;
                }
                if at < to {
                    return Some(Request {
                        at: Duration::from_nanos(at - from),
                        ..*request
                    });
                }
            }
            let source = &self.trace.source;
            if self.next >= source.windows() || self.next.saturating_mul(source.window()) >= to {
                // What is left lies beyond the end.
                self.place = self.window.len();
                return None;
            }
            source.fill(self.next, &self.trace.draw, &mut self.window);
            self.next += 1;
            self.place = 0;
        }
    }
}

impl FusedIterator for Requests {}
