use std::collections::BTreeMap;
use std::time::Duration;

use rheostat_promtext::{BoundsError, Histogram, HistogramSnapshot};

use super::batcher::{Event, Finish, Finished};

/// What an engine has counted and measured since it started, in the buckets of its page.
#[derive(Debug)]
pub(super) struct Tally {
    totals: Totals,
    histograms: Vec<(Quantity, Histogram)>,
}

/// What an engine measures for each request, token or iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quantity {
    /// From the arrival to the first iteration, in seconds.
    QueueTime,
    /// From the arrival to the first token, in seconds.
    TimeToFirstToken,
    /// From one token to the next, in seconds.
    InterTokenLatency,
    /// The mean of a request's inter-token latencies, in seconds.
    TimePerOutputToken,
    /// From the arrival to the end, in seconds.
    EndToEnd,
    /// From the first iteration to the first token, in seconds.
    PrefillTime,
    /// From the first token to the last, in seconds.
    DecodeTime,
    /// From the first iteration to the last token, in seconds.
    InferenceTime,
    /// Tokens of a request's prompt.
    PromptTokens,
    /// Tokens of a request's answer.
    GenerationTokens,
    /// Tokens that a request's answer could have had.
    MaxTokens,
    /// Tokens computed in an iteration.
    IterationTokens,
    /// Sequences in an iteration.
    IterationSequences,
    /// How long an iteration takes, in seconds.
    IterationTime,
}

/// Plain totals since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Requests that arrived and were not refused.
    pub received: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Requests that ended, by reason.
    pub finished: BTreeMap<Finish, u64>,
    /// Times a request lost its KV blocks.
    pub preemptions: u64,
    /// Tokens of the prompts that are computed; counted whole, with those found in the cache, when
    /// the first token comes.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generation_tokens: u64,
    /// Prompt tokens looked up in the prefix cache.
    pub prefix_queries: u64,
    /// Prompt tokens found there.
    pub prefix_hits: u64,
    /// Tokens of the longest request that ended, prompt and answer.
    pub longest_context: u32,
    /// Sum and number of all values of each quantity.
    pub measured: BTreeMap<Quantity, (f64, u64)>,
}

impl Totals {
    /// Requests that ended well.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.ended(Finish::Stop) + self.ended(Finish::Length)
    }

    /// Requests that ended for `reason`.
    #[must_use]
    pub fn ended(&self, reason: Finish) -> u64 {
        self.finished.get(&reason).copied().unwrap_or(0)
    }

    /// The sum of all values of `quantity`.
    #[must_use]
    pub fn sum(&self, quantity: Quantity) -> f64 {
        self.measured.get(&quantity).map_or(0.0, |(sum, _)| *sum)
    }

    /// The number of values of `quantity`.
    #[must_use]
    pub fn count(&self, quantity: Quantity) -> u64 {
        self.measured.get(&quantity).map_or(0, |(_, count)| *count)
    }
}

impl Tally {
    /// Nothing counted yet, with these histograms.
    pub(super) fn new(
        histograms: impl IntoIterator<Item = (Quantity, Vec<f64>)>,
    ) -> Result<Self, BoundsError> {
        let histograms = histograms
            .into_iter()
            .map(|(quantity, bounds)| Ok((quantity, Histogram::new(&bounds)?)))
            .collect::<Result<_, BoundsError>>()?;
        Ok(Self {
            totals: Totals::default(),
            histograms,
        })
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    pub(super) fn received(&mut self) {
        self.totals.received += 1;
    }

    pub(super) fn refused(&mut self) {
        self.totals.refused += 1;
    }

    /// The histogram of `quantity` with these bounds.
    pub(super) fn histogram(&self, quantity: Quantity, bounds: &[f64]) -> Option<HistogramSnapshot> {
        self.histograms
            .iter()
            .filter(|(measured, _)| *measured == quantity)
            .map(|(_, histogram)| histogram.snapshot())
            .find(|snapshot| snapshot.bounds == bounds)
    }

    /// Counts what an event tells.
    pub(super) fn count(&mut self, event: &Event) {
        match event {
            Event::Scheduled {
                waited,
                prefix_queries,
                prefix_hits,
                ..
            } => {
                self.totals.prefix_queries += u64::from(*prefix_queries);
                self.totals.prefix_hits += u64::from(*prefix_hits);
                self.time(Quantity::QueueTime, *waited);
            }
            Event::Preempted(_) => self.totals.preemptions += 1,
            Event::Token {
                number,
                prompt_tokens,
                took,
                ..
            } => {
                self.totals.generation_tokens += 1;
                let quantity = if *number == 1 {
                    self.totals.prompt_tokens += u64::from(*prompt_tokens);
                    Quantity::TimeToFirstToken
                } else {
                    Quantity::InterTokenLatency
                };
                self.time(quantity, *took);
            }
            Event::Iteration {
                prefill_tokens,
                decode_sequences,
                sequences,
                took,
            } => {
                self.measure(
                    Quantity::IterationTokens,
                    f64::from(*prefill_tokens) + f64::from(*decode_sequences),
                );
                self.measure(Quantity::IterationSequences, f64::from(*sequences));
                self.time(Quantity::IterationTime, *took);
            }
            Event::Finished(finished) => self.finished(finished),
        }
    }

    /// Adds a value of `quantity`.
    pub(super) fn measure(&mut self, quantity: Quantity, value: f64) {
        let (sum, count) = self.totals.measured.entry(quantity).or_default();
        *sum += value;
        *count += 1;
        for (measured, histogram) in &self.histograms {
            if *measured == quantity {
                histogram.observe(value);
            }
        }
    }

    fn time(&mut self, quantity: Quantity, time: Duration) {
        self.measure(quantity, time.as_secs_f64());
    }

    fn finished(&mut self, finished: &Finished) {
        *self.totals.finished.entry(finished.reason).or_default() += 1;
        if finished.reason == Finish::Abort {
            return;
        }
        let context = finished.prompt_tokens.saturating_add(finished.output_tokens);
        self.totals.longest_context = self.totals.longest_context.max(context);
        self.time(Quantity::EndToEnd, finished.total);
        self.time(Quantity::PrefillTime, finished.prefill);
        self.time(Quantity::DecodeTime, finished.decode);
        self.time(Quantity::InferenceTime, finished.prefill + finished.decode);
        self.measure(Quantity::PromptTokens, f64::from(finished.prompt_tokens));
        self.measure(Quantity::GenerationTokens, f64::from(finished.output_tokens));
        self.measure(Quantity::MaxTokens, f64::from(finished.max_tokens));
        if finished.output_tokens > 1 {
            let gaps = f64::from(finished.output_tokens - 1);
            self.measure(Quantity::TimePerOutputToken, finished.decode.as_secs_f64() / gaps);
        }
    }
}
