use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;
use rheostat_trace::{Request, Trace};

/// What a workload's GPUs have to do.
#[derive(Clone, Debug)]
pub(crate) enum Demand {
    /// Every ready replica is this busy (0 to 1), however many there are: work that never runs out.
    Steady(f64),
    /// Requests that arrive in time, whoever is there to serve them.
    Requests(Arrivals),
    /// Requests for engines, which batch them as they do: what becomes of them is not the world's
    /// affair.
    Engines(Rate),
}

/// When requests come, and how much work they bring.
#[derive(Clone, Debug)]
pub(crate) enum Arrivals {
    /// By chance (Poisson), as many as the curve says: straight lines between points of
    /// `(second, GPUs' worth of work)`.
    Curve(Vec<(f64, f64)>),
    /// Those of a trace, by `(second, GPU-seconds)`, in order of time.
    Trace(Vec<(f64, f64)>),
}

/// How many requests come per second: straight lines between points of `(second, requests)`, by
/// chance (Poisson).
#[derive(Clone, Debug)]
pub(crate) struct Rate(pub(crate) Vec<(f64, f64)>);

impl Rate {
    /// How many come from `second` to one second later.
    pub(crate) fn within(&self, second: f64, random: &mut ChaCha8Rng) -> u64 {
        poisson(at(&self.0, second), random)
    }
}

/// Requests that arrived in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Arrived {
    /// How many.
    pub(crate) requests: u64,
    /// GPU-seconds.
    pub(crate) work: f64,
}

/// GPU-seconds that one request of a curve costs. With continuous batching a GPU serves many at
/// once; this is one request's part.
const WORK_PER_REQUEST: f64 = 0.05;

/// A generated token costs about as much GPU time as this many prompt tokens: prompts are read in
/// parallel and bound by arithmetic, answers are written one token at a time and bound by memory
/// (Splitwise, ISCA 2024, section 3).
const PROMPT_TOKENS_PER_GENERATED: f64 = 8.0;

/// What a request of a trace costs, in prompt tokens.
fn tokens_worth(request: &Request) -> f64 {
    f64::from(request.prompt_tokens) + PROMPT_TOKENS_PER_GENERATED * f64::from(request.output_tokens)
}

impl Arrivals {
    /// The built-in day: quiet, a rise, a plateau, a burst, quiet again.
    pub(crate) fn built_in() -> Self {
        Self::Curve(vec![
            (0.0, 2.4),
            (90.0, 2.4),
            (180.0, 3.1),
            (270.0, 4.0),
            (360.0, 5.1),
            (450.0, 6.3),
            (610.0, 6.3),
            (630.0, 11.5),
            (820.0, 11.5),
            (850.0, 1.0),
            (1200.0, 1.0),
        ])
    }

    /// The requests of `trace`, their work scaled so that the busiest minute needs `peak` GPUs.
    pub(crate) fn from_trace(trace: &Trace, peak: f64) -> Self {
        let mut requests: Vec<(f64, f64)> = trace
            .requests()
            .map(|request| (request.at.as_secs_f64(), tokens_worth(&request)))
            .collect();
        let mut minutes: Vec<f64> = Vec::new();
        for (second, work) in &requests {
            let minute = (second / 60.0) as usize;
            minutes.resize(minutes.len().max(minute + 1), 0.0);
            minutes[minute] += work;
        }
        let busiest = minutes.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        for (_, work) in &mut requests {
            *work *= peak * 60.0 / busiest;
        }
        Self::Trace(requests)
    }

    /// What arrives from `second` to one second later.
    pub(crate) fn within(&self, second: f64, random: &mut ChaCha8Rng) -> Arrived {
        match self {
            Self::Curve(points) => {
                let requests = poisson(at(points, second) / WORK_PER_REQUEST, random);
                Arrived {
                    requests,
                    work: requests as f64 * WORK_PER_REQUEST,
                }
            }
            Self::Trace(requests) => {
                let start = requests.partition_point(|(at, _)| *at < second);
                let mut arrived = Arrived::default();
                for (_, work) in requests[start..].iter().take_while(|(at, _)| *at < second + 1.0) {
                    arrived.requests += 1;
                    arrived.work += work;
                }
                arrived
            }
        }
    }
}

/// The curve's value at `second`.
fn at(points: &[(f64, f64)], second: f64) -> f64 {
    let next = points.partition_point(|(time, _)| *time <= second);
    match (
        next.checked_sub(1).and_then(|before| points.get(before)),
        points.get(next),
    ) {
        (Some((t0, v0)), Some((t1, v1))) => v0 + (v1 - v0) * (second - t0) / (t1 - t0),
        (Some((_, value)), None) | (None, Some((_, value))) => *value,
        (None, None) => 0.0,
    }
}

/// A number of events of which `mean` are expected, by Knuth's multiplication of uniform numbers
/// (The Art of Computer Programming, 3.4.1), in parts small enough for the exponential.
fn poisson(mean: f64, random: &mut ChaCha8Rng) -> u64 {
    const PART: f64 = 50.0;
    let mut count = 0;
    let mut left = mean;
    while left > 0.0 {
        let limit = (-left.min(PART)).exp();
        let mut product = uniform(random);
        while product > limit {
            count += 1;
            product *= uniform(random);
        }
        left -= PART;
    }
    count
}

/// A number from 0 to 1, without 1.
pub(crate) fn uniform(random: &mut ChaCha8Rng) -> f64 {
    // The upper 53 bits: as many as the mantissa of a double has.
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng as _;
    use rheostat_trace::Options;

    use super::*;

    #[test]
    fn a_curve_is_straight_between_points_and_flat_outside() {
        let points = [(10.0, 1.0), (20.0, 3.0)];
        for (second, value) in [(0.0, 1.0), (10.0, 1.0), (15.0, 2.0), (20.0, 3.0), (99.0, 3.0)] {
            assert!((at(&points, second) - value).abs() < 1e-12, "{second}");
        }
    }

    #[test]
    fn as_many_requests_come_as_are_expected() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        for mean in [0.0, 0.3, 24.0, 180.0] {
            let draws: Vec<f64> = (0..2000).map(|_| poisson(mean, &mut random) as f64).collect();
            let average = draws.iter().sum::<f64>() / 2000.0;
            let variance = draws.iter().map(|n| (n - average).powi(2)).sum::<f64>() / 2000.0;
            // Mean and variance of a Poisson distribution are equal; five standard errors.
            assert!(
                (average - mean).abs() <= 5.0 * (mean / 2000.0).sqrt(),
                "{mean}: {average}"
            );
            assert!((variance - mean).abs() <= 0.2 * mean, "{mean}: {variance}");
        }
    }

    #[test]
    fn the_busiest_minute_of_a_trace_needs_the_peak() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n\
                    2023-11-16 18:15:46.0,100,10\r\n2023-11-16 18:15:56.0,100,10\r\n2023-11-16 18:17:50.5,100,10\r\n";
        let trace = Trace::read(text.as_bytes(), &Options::default()).unwrap();
        let arrivals = Arrivals::from_trace(&trace, 6.0);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let all: Vec<Arrived> = (0..200)
            .map(|second| arrivals.within(f64::from(second), &mut random))
            .collect();
        assert_eq!(all[0].requests + all[10].requests + all[124].requests, 3);
        let first_minute: f64 = all[..60].iter().map(|arrived| arrived.work).sum();
        assert!((first_minute - 360.0).abs() < 1e-9, "{first_minute}");
    }
}
