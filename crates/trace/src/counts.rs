use std::time::Duration;

use crate::error::TraceError;
use crate::format::Format;
use crate::input::Input;
use crate::random::Random;
use crate::request::Request;
use crate::source::{Draw, SECOND};
use crate::table::field;

/// Requests of each second, which come anywhere in it.
#[derive(Debug)]
pub(crate) struct Counts(Vec<u32>);

/// The most that one second may have, and the most seconds: ten years.
const MOST: u32 = 1_000_000;
const LONGEST: usize = 10 * 366 * 24 * 3600;

impl Counts {
    /// Nanoseconds of a window.
    pub(crate) const WINDOW: u64 = SECOND;

    /// A number on each line.
    pub(crate) fn read(input: &mut Input<'_>) -> Result<Self, TraceError> {
        let mut counts = Vec::new();
        while let Some((line, text)) = input.line()? {
            let count = text.parse().ok().filter(|count| *count <= MOST);
            counts.push(count.ok_or_else(|| {
                field(
                    line,
                    "1",
                    text,
                    "a whole number of requests in one second, at most 1000000",
                )
            })?);
            if counts.len() > LONGEST {
                return Err(TraceError::TooLarge {
                    what: "seconds",
                    most: LONGEST as u64,
                });
            }
        }
        if counts.iter().all(|count| *count == 0) {
            return Err(TraceError::Empty {
                format: Format::Counts,
            });
        }
        Ok(Self(counts))
    }

    pub(crate) fn length(&self) -> u64 {
        self.0.len() as u64 * Self::WINDOW
    }

    pub(crate) fn expected(&self, window: u64) -> f64 {
        let place = usize::try_from(window).unwrap_or(usize::MAX);
        f64::from(self.0.get(place).copied().unwrap_or_default())
    }

    pub(crate) fn fill(&self, window: u64, draw: &Draw, into: &mut Vec<Request>) {
        let expected = self.expected(window) * draw.factor;
        if expected == 0.0 {
            return;
        }
        let mut random = Random::new(draw.seed, 0, window);
        for _ in 0..random.round(expected) {
            let at = Duration::from_nanos(window * Self::WINDOW) + Duration::from_secs_f64(random.uniform());
            let (prompt_tokens, output_tokens) = draw.lengths.draw(&mut random);
            into.push(Request {
                at,
                prompt_tokens,
                output_tokens,
            });
        }
        into.sort_by_key(|request| request.at);
    }
}
