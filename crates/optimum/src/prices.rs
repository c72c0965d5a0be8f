use std::time::Duration;

use rheostat_reading::Seconds;
use rheostat_simulator::EngineModel;
use rheostat_trace::Request;

/// What requests cost at least, in seconds of a replica, however they are batched, if they keep a limit on
/// the time between their tokens.
///
/// An iteration that reads P prompt tokens and decodes N sequences with K tokens of context takes
/// `T = a + bP + cN + dK`. A request that keeps the limit has iterations of at most `itl` on average over
/// its O - 1 decoded tokens; summed over all such requests, `Σ N (T - itl) ≤ 0` over the iterations. So for
/// every μ ≥ 0 the time of all iterations is at least `Σ T + μ N (T - itl)`, and where
///
/// `T + μ N (T - itl) ≥ p P + n N + k K` for each iteration that the engine can make
/// (`N ≤ max_sequences`, `P + N ≤ max_batched_tokens`, `K ≤ kv_tokens`, and `K` between `N` times the least
/// prompt and `N` times the longest request),
///
/// it is at least the sum of the prices p, n and k over all tokens (weak duality). Of all such prices those
/// are taken under which all the requests together cost most. Iterations without sequences that decode are
/// among them, so that prompts are cheaper than a replica in balance could read them.
///
/// It holds for any stretch of time, and the requests that keep the limit within it. Of a request that is
/// only in part within it, `c` and `d` hold of each token there, but not what the limit adds to them: that
/// is known of whole answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// p, of a prompt token.
    pub prefill_token: Seconds,
    /// c, of a token that is decoded.
    pub decode_token: Seconds,
    /// d, of each token that is attended to for it.
    pub kv_token: Seconds,
    /// n - c, which the limit adds to each token of an answer.
    pub together_token: Seconds,
    /// k - d, which the limit adds to each token that is attended to.
    pub together_kv_token: Seconds,
}

/// Tokens of many requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tokens {
    prefill: f64,
    decode: f64,
    attended: f64,
    least_prompt: Option<u32>,
    /// Prompt and answer of the longest.
    most_context: f64,
}

/// Narrowings of each price's interval by a third: 40 leave it exact to seven digits. Fewer make the bound
/// weaker, never wrong.
const NARROWINGS: u32 = 40;

impl Prices {
    /// The prices on `engine` for requests of `tokens`; without `itl` only what fits an iteration counts.
    pub(crate) fn new(engine: &EngineModel, itl: Option<Duration>, tokens: &Tokens) -> Self {
        let duality = Duality {
            a: engine.base.0,
            b: engine.per_prefill_token.0,
            c: engine.per_decode_sequence.0,
            d: engine.per_kv_token.0,
            sequences: f64::from(engine.max_sequences),
            batched: f64::from(engine.max_batched_tokens),
            kv: f64::from(engine.kv_tokens),
            least_context: f64::from(tokens.least_prompt.unwrap_or(0)) + 1.0,
            most_context: tokens.most_context.max(2.0),
            itl: itl.map(|itl| itl.as_secs_f64()),
        };
        let value = |p: f64, k: f64, mu: f64| {
            p * tokens.prefill + k * tokens.attended + duality.decode(p, k, mu) * tokens.decode
        };
        // Each part is concave in the next price, so thirds find the greatest.
        let most_p = duality.a / duality.batched;
        // Twice what a replica in balance adds to all prices, or what a full cache is paid for with.
        let balance = itl.map_or(0.0, |itl| {
            duality.a / (itl.as_secs_f64() - duality.a).max(duality.a)
        });
        let most_k = f64::max(duality.a / duality.kv, 2.0 * duality.d * balance);
        let best_mu = |p, k| {
            if itl.is_none() {
                return 0.0;
            }
            // From 0 to without bound, on a scale from 0 to 1.
            let stretched = |x: f64| x / (1.0 - x);
            stretched(greatest(0.0, 0.999_999, |x| value(p, k, stretched(x))))
        };
        let best_k = |p| greatest(0.0, most_k, |k| value(p, k, best_mu(p, k)));
        let p = greatest(0.0, most_p, |p| {
            let k = best_k(p);
            value(p, k, best_mu(p, k))
        });
        let found = best_k(p);
        let together = duality.decode(p, found, best_mu(p, found));
        // A price below nothing would give work back; without a price of the context there always is one
        // that is not: nothing.
        let (k, together) = if together < 0.0 {
            (
                0.0,
                duality
                    .decode(p, 0.0, best_mu(p, 0.0))
                    .max(duality.decode(p, 0.0, 0.0)),
            )
        } else {
            (found, together)
        };
        Self {
            prefill_token: Seconds(duality.b + p),
            decode_token: Seconds(duality.c),
            kv_token: Seconds(duality.d),
            together_token: Seconds(together.max(0.0)),
            together_kv_token: Seconds(k),
        }
    }

    /// What the prompt of `request` costs.
    #[must_use]
    pub fn prefill(&self, request: &Request) -> Seconds {
        Seconds(self.prefill_token.0 * f64::from(request.prompt_tokens))
    }

    /// What the rest of its answer costs after the first token, which the reading of the prompt gives.
    #[must_use]
    pub fn decode(&self, request: &Request) -> Seconds {
        let (decoded, attended) = decoded(request);
        Seconds(self.decode_token.0 * decoded + self.kv_token.0 * attended)
    }

    /// By how much more each of `pieces` equal parts of the answer costs than the one before it: a token
    /// attends to one more than the token before it.
    pub(crate) fn growth(&self, request: &Request, pieces: f64) -> Seconds {
        let (decoded, _) = decoded(request);
        Seconds(self.kv_token.0 * (decoded / pieces).powi(2))
    }

    /// What the limit adds for the whole answer.
    #[must_use]
    pub fn together(&self, request: &Request) -> Seconds {
        let (decoded, attended) = decoded(request);
        Seconds(self.together_token.0 * decoded + self.together_kv_token.0 * attended)
    }
}

impl Tokens {
    pub(crate) fn add(&mut self, request: &Request) {
        let (decoded, attended) = decoded(request);
        self.prefill += f64::from(request.prompt_tokens);
        self.decode += decoded;
        self.attended += attended;
        let least = self.least_prompt.unwrap_or(u32::MAX);
        self.least_prompt = Some(least.min(request.prompt_tokens));
        let context = f64::from(request.prompt_tokens) + f64::from(request.output_tokens);
        self.most_context = self.most_context.max(context);
    }
}

/// Tokens that are decoded, and the tokens that they attend to: I + 1 to I + O - 1.
fn decoded(request: &Request) -> (f64, f64) {
    let (prompt, output) = (f64::from(request.prompt_tokens), f64::from(request.output_tokens));
    let decoded = (output - 1.0).max(0.0);
    (decoded, decoded * (prompt + output / 2.0))
}

/// Which prices are allowed, beyond the b, c and d that tokens take anyway.
struct Duality {
    a: f64,
    b: f64,
    c: f64,
    d: f64,
    sequences: f64,
    batched: f64,
    kv: f64,
    /// The least and the most that a sequence attends to.
    least_context: f64,
    most_context: f64,
    itl: Option<f64>,
}

impl Duality {
    /// The greatest price of a decoded token beside the prices p and k:
    /// the least of `(a - pP - kK) / N + μ (a + bP + cN + dK - itl)` over what fits an iteration.
    ///
    /// It is linear in P and in K, so only their ends count; between these it has the form
    /// `x / N + y N + z`.
    fn decode(&self, p: f64, k: f64, mu: f64) -> f64 {
        let itl = self.itl.unwrap_or(0.0);
        let mut least = f64::INFINITY;
        // The context of the iteration: what the sequences hold at least, what they can hold at most, or all
        // that the cache holds; and how many sequences can hold that.
        let crowd = (self.kv / self.most_context).clamp(1.0, self.sequences);
        let contexts = [
            (0.0, self.least_context, 1.0, self.sequences),
            (0.0, self.most_context, 1.0, crowd),
            (self.kv, 0.0, crowd, self.sequences),
        ];
        for (kept, each, fewest, most) in contexts {
            for (prompt, less) in [(0.0, 0.0), (self.batched, 1.0)] {
                let x = self.a - p * prompt - k * kept;
                let y = mu * (self.c - less * self.b + self.d * each);
                let z = p * less - k * each + mu * (self.a + self.b * prompt + self.d * kept - itl);
                let turn = (x / y).sqrt();
                let turn = if turn.is_finite() { turn } else { 1.0 };
                for n in [fewest, turn.clamp(fewest, most), most] {
                    least = least.min(x / n + y * n + z);
                }
            }
        }
        least
    }
}

/// Where between `least` and `most` the concave `value` is greatest.
fn greatest(mut least: f64, mut most: f64, value: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..NARROWINGS {
        let (one, two) = (least + (most - least) / 3.0, most - (most - least) / 3.0);
        if value(one) < value(two) {
            least = one;
        } else {
            most = two;
        }
    }
    f64::midpoint(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No iteration takes less than the prices of its tokens, be they as they may.
    #[test]
    fn no_iteration_is_cheaper_than_its_tokens() {
        for engine in EngineModel::catalogue() {
            for itl in [None, Some(30), Some(60), Some(200)] {
                let itl = itl.map(Duration::from_millis);
                let mut tokens = Tokens::default();
                for (prompt_tokens, output_tokens) in [(40, 700), (3000, 12), (900, 150)] {
                    tokens.add(&Request {
                        at: Duration::ZERO,
                        prompt_tokens,
                        output_tokens,
                    });
                }
                let prices = Prices::new(&engine, itl, &tokens);
                let p = prices.prefill_token.0;
                let n = prices.decode_token.0 + prices.together_token.0;
                let k = prices.kv_token.0 + prices.together_kv_token.0;
                assert!(p >= engine.per_prefill_token.0 && k >= engine.per_kv_token.0);
                // A replica that makes one iteration after the other within the limit.
                for decoding in [0, 1, 2, 7, 40, 150, 256] {
                    for prompt in [0, 1, 100, engine.max_batched_tokens - decoding] {
                        for context in [41 * decoding, 1000 * decoding, 3012 * decoding] {
                            let (prompt, decoding) = (f64::from(prompt), f64::from(decoding));
                            let context = if decoding > 0.0 {
                                f64::from(context.min(engine.kv_tokens))
                            } else {
                                0.0
                            };
                            let time = engine.base.0
                                + engine.per_prefill_token.0 * prompt
                                + engine.per_decode_sequence.0 * decoding
                                + engine.per_kv_token.0 * context;
                            let within = decoding == 0.0 || itl.is_none_or(|itl| time <= itl.as_secs_f64());
                            let price = p * prompt + n * decoding + k * context;
                            assert!(
                                !within || time >= price * (1.0 - 1e-9),
                                "{} {itl:?}: {prompt} {decoding} {context}: {time} {price}",
                                engine.name
                            );
                        }
                    }
                }
            }
        }
    }

    /// With answers alone, the price is that of a replica which decodes as much as the limit allows.
    #[test]
    fn decoding_costs_its_share_of_a_full_replica() {
        let engine = EngineModel::named("llama-3.1-8b-l40s").unwrap();
        let request = Request {
            at: Duration::ZERO,
            prompt_tokens: 1,
            output_tokens: 1001,
        };
        let mut tokens = Tokens::default();
        tokens.add(&request);
        let itl = Duration::from_millis(40);
        let prices = Prices::new(&engine, Some(itl), &tokens);
        let work = engine.work(1.0, 1001.0).0;
        let cost = prices.prefill(&request).0 + prices.decode(&request).0 + prices.together(&request).0;
        let full = work / engine.usable(itl).0;
        // The context of a batch is known to lie between 2 and 1,002 tokens for each, not to be their mean.
        assert!(cost <= full && cost > 0.95 * full, "{cost} {full}");
    }
}
