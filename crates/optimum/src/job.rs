use std::time::Duration;

use rheostat_simulator::EngineModel;
use rheostat_sizing::Slo;

use crate::prices::{Prices, Tokens};

/// A request as a bound sees it: work, and between when and when each part of it must be done for the
/// request to be in time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    /// Seconds since the load's beginning.
    at: f64,
    prompt: f32,
    answer: f32,
    /// By how much each piece of the answer is more than the one before: its tokens attend to more.
    growth: f32,
    /// Work for which only the end of the answer counts.
    whole: f32,
    first: f32,
    shortest: f32,
    longest: f32,
}

/// A part of a request's work, in seconds since the load's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Piece {
    /// It cannot be done before.
    pub(crate) from: f64,
    /// It must be done by then; infinite where it need not.
    pub(crate) by: f64,
    /// Replica-seconds.
    pub(crate) work: f64,
}

/// An answer is cut into quarters. A token that lies in two of them is done between the beginning of the one and
/// the end of the other, which [`Job::of`] leaves room for.
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
            growth: 0.0,
            whole: 0.0,
            first: seconds(request.first_token),
            shortest: seconds(request.answer_shortest),
            longest: seconds(request.answer_longest.max(request.answer_shortest)),
        }
    }

    /// The jobs of `requests` on replicas of `engine` that keep `slo`, at the least that they can cost there
    /// ([`Prices`]). A limit that is not given leaves open when a part is done; a request that never fits
    /// the KV cache is late whatever is done, and is a job without work.
    ///
    /// `until` is when a run that is compared with the bound ends, if it ends before all is served: then a
    /// request whose answer may take longer than that need not have been answered.
    #[must_use]
    pub fn of<R>(requests: R, engine: &EngineModel, slo: &Slo, until: Option<Duration>) -> Vec<Self>
    where
        R: IntoIterator<Item = rheostat_trace::Request> + Clone,
    {
        let fits = |request: &rheostat_trace::Request| {
            u64::from(request.prompt_tokens) + u64::from(request.output_tokens) <= u64::from(engine.kv_tokens)
        };
        let mut tokens = Tokens::default();
        for request in requests.clone() {
            if fits(&request) {
                tokens.add(&request);
            }
        }
        let prices = Prices::new(engine, slo.itl, &tokens);
        let limit = |limit: Option<Duration>| limit.map_or(f32::INFINITY, |limit| limit.as_secs_f32());
        let (ttft, itl, e2e) = (limit(slo.ttft), limit(slo.itl), limit(slo.e2e));
        let job = |request: rheostat_trace::Request| {
            let at = request.at.as_secs_f64();
            let gaps = request.output_tokens.saturating_sub(1) as f32;
            // Less one token for each piece: where they begin and end within a token, they may do so earlier or
            // later by that.
            let mut shortest = (gaps - ANSWER_PIECES as f32).max(0.0) * engine.base.0 as f32;
            let mut first = ttft.min(e2e);
            // No gap takes no time, even where it may take any.
            let answered = if gaps > 0.0 { gaps * itl } else { 0.0 };
            let end = (ttft + answered).min(e2e);
            let mut longest = if end.is_finite() {
                (end - first).max(shortest)
            } else {
                end
            };
            let mut serves = if fits(&request) { 1.0 } else { 0.0 };
            let prompt = serves * prices.prefill(&request).0;
            if let Some(until) = until {
                let left = (until.as_secs_f64() - at).max(0.0) as f32;
                if first + longest > left {
                    serves = 0.0;
                }
                // Who waits for the first token at the end is late.
                first = first.min(left);
                // What need not be done has no time of its own: a bound takes room for all times that it sees.
                shortest = shortest.min(left);
                longest = longest.min(left);
            }
            Self {
                at,
                prompt: prompt as f32,
                answer: (serves * prices.decode(&request).0) as f32,
                growth: (serves * prices.growth(&request, ANSWER_PIECES as f64).0) as f32,
                whole: (serves * prices.together(&request).0) as f32,
                first,
                shortest,
                longest,
            }
        };
        requests.into_iter().map(job).collect()
    }

    /// All of its work, in replica-seconds.
    #[must_use]
    pub fn work(&self) -> f64 {
        f64::from(self.prompt) + f64::from(self.answer) + f64::from(self.whole)
    }

    pub(crate) fn pieces(&self) -> [Piece; 2 + ANSWER_PIECES] {
        let first = self.at + f64::from(self.first);
        let (shortest, end) = (f64::from(self.shortest), self.end());
        let mut pieces = [Piece {
            from: self.at,
            by: first,
            work: f64::from(self.prompt),
        }; 2 + ANSWER_PIECES];
        for (place, piece) in pieces.iter_mut().skip(2).enumerate() {
            let part = |quarters: usize| quarters as f64 / ANSWER_PIECES as f64;
            *piece = Piece {
                from: self.at + part(place) * shortest,
                by: end - part(ANSWER_PIECES - 1 - place) * shortest,
                work: f64::from(self.answer) / ANSWER_PIECES as f64
                    + f64::from(self.growth) * (place as f64 - (ANSWER_PIECES - 1) as f64 / 2.0),
            };
        }
        pieces[1] = Piece {
            from: self.at,
            by: end,
            work: f64::from(self.whole),
        };
        pieces
    }

    /// When the last of it must be done; infinite where nothing says.
    pub(crate) fn end(&self) -> f64 {
        self.at + f64::from(self.first) + f64::from(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use rheostat_reading::Ratio;

    use super::*;

    #[test]
    fn nothing_is_waited_for_beyond_what_is_left_of_the_run() {
        let request = |at| rheostat_trace::Request {
            at: Duration::from_secs(at),
            prompt_tokens: 1000,
            output_tokens: 1000,
        };
        let slo = |itl| Slo {
            ttft: Some(Duration::from_secs(5)),
            itl,
            e2e: None,
            attainment: Ratio(0.99),
        };
        let engine = EngineModel::named("llama2-70b-a100-tp4").unwrap();
        let until = Duration::from_secs(600);
        for itl in [
            None,
            Some(Duration::from_secs(86_400)),
            Some(Duration::from_millis(300)),
        ] {
            let jobs = Job::of([request(0), request(590)], &engine, &slo(itl), Some(until));
            for job in &jobs {
                let left = 600.0 - job.at;
                for piece in job.pieces() {
                    let last = job.at + 2.0 * left;
                    assert!(piece.from <= last && piece.by <= last, "{itl:?}: {piece:?}");
                }
            }
            assert!(jobs[0].prompt > 0.0, "its prompt is due all the same");
        }
        let kept = &Job::of(
            [request(0)],
            &engine,
            &slo(Some(Duration::from_millis(300))),
            Some(until),
        )[0];
        assert!((kept.end() - 304.7).abs() < 0.01, "{}", kept.end());
    }
}
