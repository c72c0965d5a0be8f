use std::time::Duration;

/// A request as a bound sees it: work, and between when and when each part of it must be done for the
/// request to be in time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    /// Seconds since the load's beginning.
    at: f64,
    prompt: f32,
    answer: f32,
    first: f32,
    shortest: f32,
    longest: f32,
}

/// A part of a request's work, in seconds since the load's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Piece {
    /// It cannot be done before.
    pub(crate) from: f64,
    /// It must be done by then.
    pub(crate) by: f64,
    /// Replica-seconds.
    pub(crate) work: f64,
}

/// An answer is cut into quarters.
const ANSWER_PIECES: usize = 4;

/// What a request asks for and what it is promised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// When it arrives.
    pub at: Duration,
    /// Time of a replica, at the most that it may be used, for its prompt.
    pub prompt_work: Duration,
    /// The same for its answer.
    pub answer_work: Duration,
    /// The longest time to its first token.
    pub first_token: Duration,
    /// The shortest time that its answer takes, however empty the replica is.
    pub answer_shortest: Duration,
    /// The longest time that its answer may take.
    pub answer_longest: Duration,
}

impl Job {
    /// The prompt must be read within the time to the first token. The answer's tokens come one after
    /// another: none can come earlier than on an empty replica that began at once, and none later than on
    /// an empty replica that ends as late as it may.
    #[must_use]
    pub fn new(request: &Request) -> Self {
        let seconds = |time: Duration| time.as_secs_f32();
        Self {
            at: request.at.as_secs_f64(),
            prompt: seconds(request.prompt_work),
            answer: seconds(request.answer_work),
            first: seconds(request.first_token),
            shortest: seconds(request.answer_shortest),
            longest: seconds(request.answer_longest.max(request.answer_shortest)),
        }
    }

    /// All of its work, in replica-seconds.
    #[must_use]
    pub fn work(&self) -> f64 {
        f64::from(self.prompt) + f64::from(self.answer)
    }

    pub(crate) fn pieces(&self) -> [Piece; 1 + ANSWER_PIECES] {
        let first = self.at + f64::from(self.first);
        let (shortest, end) = (f64::from(self.shortest), self.end());
        let mut pieces = [Piece {
            from: self.at,
            by: first,
            work: f64::from(self.prompt),
        }; 1 + ANSWER_PIECES];
        for (place, piece) in pieces.iter_mut().skip(1).enumerate() {
            let part = |quarters: usize| quarters as f64 / ANSWER_PIECES as f64;
            *piece = Piece {
                from: self.at + part(place) * shortest,
                by: end - part(ANSWER_PIECES - 1 - place) * shortest,
                work: f64::from(self.answer) / ANSWER_PIECES as f64,
            };
        }
        pieces
    }

    /// When the last of it must be done.
    pub(crate) fn end(&self) -> f64 {
        self.at + f64::from(self.first) + f64::from(self.longest)
    }
}
