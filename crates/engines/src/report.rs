use std::fmt::Write as _;
use std::time::Duration;

use rheostat_reading::{Absent, EngineQuantity, Quality, Readings, Timestamp};

use crate::fact::Shape;
use crate::history::{History, Newest};
use crate::quantile::Quantile;
use crate::sample::Told;
use crate::tally::Gain;
use crate::{Engine, Fact};

/// What an engine said when it was last asked, through one [`crate::View`].
#[derive(Clone, Debug, PartialEq)]
pub struct EngineReport {
    /// Which engine it is, where that is known.
    pub engine: Option<Engine>,
    /// When it last answered with a page that could be read; `None` if it never did.
    pub answered_at: Option<Timestamp>,
    /// Why the last attempt failed; `None` where it did not.
    pub failure: Option<String>,
    /// Whether it serves.
    pub sleep: Sleep,
    /// Its readings, or why they are absent. Those of the last answer, however old: their times
    /// say so.
    pub readings: Readings<EngineQuantity>,
    /// What a person should know of the readings, such as a bucket too coarse for a quantile.
    pub notes: Vec<String>,
}

/// Whether an engine has been put to sleep (vLLM's `/is_sleeping`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sleep {
    /// It cannot sleep, or could not be asked.
    #[default]
    Unknown,
    /// It serves.
    Awake,
    /// It gave its GPU memory back and serves nobody until it is woken.
    Asleep,
}

/// What `history` tells.
pub(crate) fn of(history: &History) -> EngineReport {
    let Some(newest) = &history.newest else {
        return EngineReport {
            engine: None,
            answered_at: None,
            failure: history.failure.clone(),
            sleep: Sleep::Unknown,
            readings: Readings::new(),
            notes: Vec::new(),
        };
    };
    let mut writer = Writer {
        history,
        newest,
        readings: Readings::new(),
        notes: newest.notes.clone(),
    };
    writer.gauges();
    writer.rates();
    writer.ratios();
    writer.latencies();
    EngineReport {
        engine: newest.engine,
        answered_at: Some(newest.at),
        failure: history.failure.clone(),
        sleep: newest.sleep,
        readings: writer.readings,
        notes: writer.notes,
    }
}

/// A number with what it covers and how it came about, or why there is none.
type Found = Result<(f64, Duration, Quality), Absent>;

struct Writer<'a> {
    history: &'a History,
    newest: &'a Newest,
    readings: Readings<EngineQuantity>,
    notes: Vec<String>,
}

/// The quantities of one distribution: its mean, and quantiles.
struct Latency {
    fact: Fact,
    mean: EngineQuantity,
    quantiles: [(f64, EngineQuantity); 4],
}

const LATENCIES: &[Latency] = {
    use EngineQuantity as Q;
    &[
        Latency {
            fact: Fact::Ttft,
            mean: Q::TtftMean,
            quantiles: [
                (0.5, Q::TtftP50),
                (0.9, Q::TtftP90),
                (0.95, Q::TtftP95),
                (0.99, Q::TtftP99),
            ],
        },
        Latency {
            fact: Fact::Itl,
            mean: Q::ItlMean,
            quantiles: [
                (0.5, Q::ItlP50),
                (0.9, Q::ItlP90),
                (0.95, Q::ItlP95),
                (0.99, Q::ItlP99),
            ],
        },
        Latency {
            fact: Fact::Tpot,
            mean: Q::TpotMean,
            quantiles: [
                (0.5, Q::TpotP50),
                (0.9, Q::TpotP90),
                (0.95, Q::TpotP95),
                (0.99, Q::TpotP99),
            ],
        },
        Latency {
            fact: Fact::E2e,
            mean: Q::E2eMean,
            quantiles: [
                (0.5, Q::E2eP50),
                (0.9, Q::E2eP90),
                (0.95, Q::E2eP95),
                (0.99, Q::E2eP99),
            ],
        },
        Latency {
            fact: Fact::QueueTime,
            mean: Q::QueueTimeMean,
            quantiles: [
                (0.5, Q::QueueTimeP50),
                (0.9, Q::QueueTimeP90),
                (0.95, Q::QueueTimeP95),
                (0.99, Q::QueueTimeP99),
            ],
        },
    ]
};

impl Writer<'_> {
    fn write(&mut self, quantity: EngineQuantity, found: Found) {
        match found {
            Ok((value, window, quality)) => {
                self.readings
                    .put(quantity, value, self.newest.at, window, quality);
            }
            Err(absent) => self.readings.set(quantity, Err(absent)),
        }
    }

    fn gauges(&mut self) {
        use EngineQuantity as Q;
        for (fact, quantity) in [
            (Fact::Waiting, Q::Waiting),
            (Fact::Running, Q::Running),
            (Fact::KvCacheUsage, Q::KvCacheUsage),
            (Fact::LoraAdapters, Q::LoraAdapters),
            (Fact::ModelsLoaded, Q::ModelsLoaded),
            (Fact::KvBlocks, Q::KvBlocks),
            (Fact::MaxSequences, Q::MaxSequences),
            (Fact::MaxContext, Q::MaxContext),
        ] {
            let found = self.now(fact);
            self.write(quantity, found);
        }
        let tokens = match self.now(Fact::KvTokens) {
            Err(Absent::NotSupported) => self.product(Fact::KvBlocks, Fact::KvBlockTokens),
            other => other,
        };
        self.write(Q::KvTokens, tokens);
        let concurrency = match self.now(Fact::Concurrency) {
            Err(Absent::NotSupported) => self.both(Fact::Waiting, Fact::Running),
            other => other,
        };
        self.write(Q::Concurrency, concurrency);
    }

    fn rates(&mut self) {
        use EngineQuantity as Q;
        for (fact, quantity) in [
            (Fact::Requests, Q::RequestRate),
            (Fact::PromptTokens, Q::PromptTokenRate),
            (Fact::GenerationTokens, Q::GenerationTokenRate),
            (Fact::Preemptions, Q::PreemptionRate),
        ] {
            let found = self.rate(fact);
            self.write(quantity, found);
        }
        let prompt = self.rate(Fact::PromptTokens);
        let tokens = prompt.and_then(|prompt| Ok(sum(prompt, self.rate(Fact::GenerationTokens)?)));
        self.write(Q::TokenRate, tokens);
    }

    fn ratios(&mut self) {
        use EngineQuantity as Q;
        let hits = match self.quotient(Fact::PrefixCacheHits, Fact::PrefixCacheLookups) {
            Ok((ratio, window, quality)) => Ok((ratio.clamp(0.0, 1.0), window, quality)),
            Err(absent) => self.now(Fact::PrefixCacheHitRate).map_err(|_| absent),
        };
        self.write(Q::PrefixCacheHitRate, hits);
        for (length, tokens, quantity) in [
            (Fact::PromptLength, Fact::PromptTokens, Q::PromptTokensMean),
            (
                Fact::GenerationLength,
                Fact::GenerationTokens,
                Q::GenerationTokensMean,
            ),
        ] {
            let found = match self.mean(length) {
                // The tokens of requests that have not finished are among these, and those of
                // requests that finished may lie before the window.
                Err(Absent::NotSupported) => self
                    .quotient(tokens, Fact::Requests)
                    .map(|(mean, window, _)| (mean, window, Quality::Estimated)),
                other => other,
            };
            self.write(quantity, found);
        }
    }

    fn latencies(&mut self) {
        for latency in LATENCIES {
            let mean = self.mean(latency.fact);
            self.write(latency.mean, mean);
            let mut coarse: Vec<(Quantile, Vec<EngineQuantity>)> = Vec::new();
            for &(part, quantity) in &latency.quantiles {
                let found = self.quantile(latency.fact, part);
                if let Ok((quantile, _)) = &found
                    && quantile.is_coarse()
                {
                    match coarse
                        .last_mut()
                        .filter(|(other, _)| other.bucket == quantile.bucket)
                    {
                        Some((_, quantities)) => quantities.push(quantity),
                        None => coarse.push((*quantile, vec![quantity])),
                    }
                }
                let found = found.map(|(quantile, window)| {
                    let quality = if quantile.is_coarse() {
                        Quality::Estimated
                    } else {
                        Quality::Derived
                    };
                    (quantile.value, window, quality)
                });
                self.write(quantity, found);
            }
            self.notes.extend(
                coarse
                    .iter()
                    .map(|(quantile, quantities)| note(quantile, quantities)),
            );
        }
    }

    fn now(&self, fact: Fact) -> Found {
        match self.newest.told.get(fact) {
            Told::Now(value, quality) => Ok((*value, Duration::ZERO, *quality)),
            Told::Not(absent) => Err(absent.clone()),
            Told::Counter | Told::Distribution { .. } => {
                Err(Absent::Failed(format!("{fact} is told as a counter")))
            }
        }
    }

    fn both(&self, one: Fact, other: Fact) -> Found {
        let one = self.now(one)?;
        let mut both = sum(one, self.now(other)?);
        both.2 = both.2.max(Quality::Derived);
        Ok(both)
    }

    fn product(&self, one: Fact, other: Fact) -> Found {
        let (one, window, quality) = self.now(one)?;
        let (other, ..) = self.now(other)?;
        Ok((one * other, window, quality.max(Quality::Derived)))
    }

    fn rate(&self, fact: Fact) -> Found {
        self.told_as(fact, |gain| {
            Ok((gain.per_second(), gain.window, Quality::Derived))
        })
    }

    fn mean(&self, fact: Fact) -> Found {
        if let Told::Distribution {
            no_mean: Some(why), ..
        } = self.newest.told.get(fact)
        {
            return Err(Absent::Failed(why.clone()));
        }
        self.told_as(fact, |gain| {
            let count = gain.count();
            if count <= 0.0 {
                return Err(Absent::NoTraffic);
            }
            Ok((gain.sum() / count, gain.window, Quality::Derived))
        })
    }

    /// What `part` gained for each that `whole` gained.
    fn quotient(&self, part: Fact, whole: Fact) -> Found {
        let over = |fact| self.told_as(fact, |gain| Ok((gain.count(), gain.window, Quality::Derived)));
        let (part, _, _) = over(part)?;
        let (whole, window, quality) = over(whole)?;
        if whole <= 0.0 {
            return Err(Absent::NoTraffic);
        }
        Ok((part / whole, window, quality))
    }

    fn quantile(&self, fact: Fact, part: f64) -> Result<(Quantile, Duration), Absent> {
        match self.newest.told.get(fact) {
            Told::Not(absent) => return Err(absent.clone()),
            // Its sum and count, or its mean, are all that is told.
            Told::Now(..) | Told::Counter => return Err(Absent::NotSupported),
            Told::Distribution { .. } => {}
        }
        let gain = self.history.gain(fact).ok_or(Absent::NotYet)?;
        let buckets = gain.buckets();
        let seen = buckets.iter().copied().fold(gain.count(), f64::max);
        if seen <= 0.0 {
            return Err(Absent::NoTraffic);
        }
        Quantile::of(part, gain.bounds(), &buckets)
            .map(|quantile| (quantile, gain.window))
            .ok_or(Absent::NotSupported)
    }

    /// `fact` over the window, where it is a counter or a distribution; as it is told, where its
    /// engine computes it itself.
    fn told_as(&self, fact: Fact, derive: impl FnOnce(&Gain<'_>) -> Found) -> Found {
        match self.newest.told.get(fact) {
            Told::Not(absent) => Err(absent.clone()),
            Told::Now(value, quality) if fact.shape() != Shape::Gauge => {
                Ok((*value, Duration::ZERO, *quality))
            }
            Told::Now(..) => Err(Absent::NotSupported),
            Told::Counter | Told::Distribution { .. } => {
                let gain = self.history.gain(fact).ok_or(Absent::NotYet)?;
                derive(&gain)
            }
        }
    }
}

fn sum(one: (f64, Duration, Quality), other: (f64, Duration, Quality)) -> (f64, Duration, Quality) {
    (one.0 + other.0, one.1.max(other.1), one.2.max(other.2))
}

/// Tells that a bucket is too wide for what it stands for.
fn note(quantile: &Quantile, quantities: &[EngineQuantity]) -> String {
    let mut text = String::new();
    for (place, quantity) in quantities.iter().enumerate() {
        let _ = write!(text, "{}{quantity}", if place > 0 { ", " } else { "" });
    }
    let (start, end) = quantile.bucket;
    let _ = if end.is_infinite() {
        write!(text, ": more than {start} s, where the last bucket begins")
    } else {
        write!(
            text,
            ": somewhere between {start} and {end} s, which is one bucket"
        )
    };
    text
}
