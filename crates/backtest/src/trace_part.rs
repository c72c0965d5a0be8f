use std::time::Duration;

use rheostat_trace::Request;

/// A trace in memory, with what of it is scored.
#[derive(Clone, Debug, PartialEq)]
pub struct TracePart {
    /// Its name, for people.
    pub name: String,
    /// Its requests, in order of time.
    pub requests: Vec<Request>,
    /// From when on it is scored; before that, policies may learn.
    pub scored_from: Duration,
    /// When it ends.
    pub until: Duration,
    /// Names the requests and times: equal for equal ones.
    pub digest: String,
}

/// A trace that cannot be scored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// Nothing arrives.
    #[error("trace {name}: no requests arrive in what is scored, {from:?} to {until:?}")]
    Empty {
        /// The trace.
        name: String,
        /// Beginning.
        from: Duration,
        /// End.
        until: Duration,
    },
    /// It takes longer than anything that is simulated.
    #[error(
        "trace {name} is {:.1} days long from --from on; allowed are at most {}, so end it earlier with --until",
        until.as_secs_f64() / 86_400.0,
        TracePart::LONGEST.as_secs() / 86_400
    )]
    TooWide {
        /// The trace.
        name: String,
        /// End.
        until: Duration,
    },
    /// It does not fit the memory.
    #[error(
        "trace {name} has more than {} million requests, of {} bytes each in memory; thin it out with \
         --scale, or take a part with --from and --until",
        TracePart::MOST_REQUESTS / 1_000_000,
        size_of::<Request>()
    )]
    TooLong {
        /// The trace.
        name: String,
    },
}

/// A trace that lists its requests ends so much after the last of them. Without it, one whose last request comes
/// after two days would be longer than two days.
const MOMENT: Duration = Duration::from_nanos(1);

impl TracePart {
    /// More than that are refused: at 24 bytes each they take 2.4 GB.
    pub const MOST_REQUESTS: usize = 100_000_000;

    /// Longer ones are refused: most often one time in them is mistyped, and memory goes with the length.
    pub const LONGEST: Duration = Duration::from_secs(100 * 24 * 3600);

    /// Of traces longer than this, the first day teaches and is not scored.
    pub const TEACHING_FROM: Duration = Duration::from_secs(2 * 24 * 3600);

    /// What the first day of a long trace is.
    pub const DAY: Duration = Duration::from_secs(24 * 3600);

    /// Those of `requests` that arrive before `until`.
    ///
    /// # Errors
    ///
    /// Too long, too many requests, or none in what is scored.
    pub fn new(
        name: &str,
        requests: impl Iterator<Item = Request>,
        until: Duration,
    ) -> Result<Self, TraceError> {
        if until > Self::LONGEST {
            return Err(TraceError::TooWide {
                name: name.to_owned(),
                until,
            });
        }
        let scored_from = if until > Self::TEACHING_FROM + MOMENT {
            Self::DAY
        } else {
            Duration::ZERO
        };
        let requests: Vec<Request> = requests
            .take_while(|request| request.at < until)
            .take(Self::MOST_REQUESTS + 1)
            .collect();
        if requests.len() > Self::MOST_REQUESTS {
            return Err(TraceError::TooLong {
                name: name.to_owned(),
            });
        }
        if requests.last().is_none_or(|last| last.at < scored_from) {
            return Err(TraceError::Empty {
                name: name.to_owned(),
                from: scored_from,
                until,
            });
        }
        let digest = digest(&requests, scored_from, until);
        Ok(Self {
            name: name.to_owned(),
            requests,
            scored_from,
            until,
            digest,
        })
    }

    /// What arrives within `length` from `from` on, as a trace of its own; all of it is scored where it is short.
    ///
    /// # Errors
    ///
    /// Nothing arrives in it.
    pub(crate) fn cut(&self, from: Duration, length: Duration) -> Result<Self, TraceError> {
        let start = self.requests.partition_point(|request| request.at < from);
        let requests = self.requests.get(start..).unwrap_or_default().iter();
        let requests = requests.map(|request| Request {
            at: request.at.saturating_sub(from),
            ..*request
        });
        let name = format!("{} from {:.1} h", self.name, from.as_secs_f64() / 3600.0);
        Self::new(&name, requests, length)
    }

    /// Half of what is scored lies before this, half after.
    #[must_use]
    pub fn middle(&self) -> Duration {
        self.scored_from + self.until.saturating_sub(self.scored_from) / 2
    }

    /// How long what is scored takes.
    #[must_use]
    pub fn scored(&self) -> Duration {
        self.until.saturating_sub(self.scored_from)
    }

    /// Requests that arrive in what is scored.
    pub fn scored_requests(&self) -> impl Iterator<Item = &Request> + Clone {
        self.requests
            .iter()
            .filter(|request| request.at >= self.scored_from)
    }
}

/// FNV-1a over all that determines a run, 64 bits.
fn digest(requests: &[Request], scored_from: Duration, until: Duration) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |word: u64| hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    for at in [scored_from, until] {
        add(at.as_secs());
        add(u64::from(at.subsec_nanos()));
    }
    for request in requests {
        add(request.at.as_secs());
        add(u64::from(request.at.subsec_nanos()));
        add(u64::from(request.prompt_tokens) << 32 | u64::from(request.output_tokens));
    }
    format!("{hash:016x}-{}", requests.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(count: u64, apart: u64) -> impl Iterator<Item = Request> {
        (0..count).map(move |number| Request {
            at: Duration::from_secs(number * apart),
            prompt_tokens: 10,
            output_tokens: 10,
        })
    }

    #[test]
    fn the_first_day_of_a_long_trace_teaches() {
        let day = TracePart::DAY;
        let long = TracePart::new("long", requests(80, 3600), 3 * day).unwrap();
        assert_eq!((long.scored_from, long.middle()), (day, 2 * day));
        assert_eq!(long.requests.len(), 72, "what arrives later is left out");
        assert_eq!(long.scored_requests().count(), 48);
        let short = TracePart::new("short", requests(60, 60), Duration::from_secs(3600)).unwrap();
        assert_eq!(
            (short.scored_from, short.middle()),
            (Duration::ZERO, Duration::from_secs(1800))
        );
    }

    #[test]
    fn a_digest_names_the_requests() {
        let of =
            |count, apart| TracePart::new("x", requests(count, apart), TracePart::DAY).map(|one| one.digest);
        assert_eq!(of(5, 10), of(5, 10));
        assert_ne!(of(5, 10), of(5, 11));
        assert_ne!(of(5, 10), of(6, 10));
    }

    #[test]
    fn a_part_is_cut_out_and_timed_anew() {
        let long = TracePart::new("long", requests(80, 3600), 3 * TracePart::DAY).unwrap();
        let hours = |hours: u32| Duration::from_secs(3600) * hours;
        let part = long.cut(hours(30), hours(4)).unwrap();
        assert_eq!((part.requests.len(), part.requests[0].at), (4, Duration::ZERO));
        assert_eq!((part.scored_from, part.until), (Duration::ZERO, hours(4)));
        assert!(long.cut(hours(100), hours(4)).is_err());
    }

    #[test]
    fn a_mistyped_year_is_refused() {
        let year = requests(2, 366 * 86_400);
        let error = TracePart::new("mistyped", year, 367 * TracePart::DAY).unwrap_err();
        assert_eq!(
            error.to_string(),
            "trace mistyped is 367.0 days long from --from on; allowed are at most 100, so end it earlier with --until"
        );
        TracePart::new("long", requests(100, 86_400), TracePart::LONGEST).unwrap();
    }

    #[test]
    fn nothing_cannot_be_scored() {
        let error = TracePart::new("empty", requests(3, 60), 3 * TracePart::DAY).unwrap_err();
        assert!(
            error.to_string().starts_with("trace empty: no requests arrive"),
            "{error}"
        );
    }
}
