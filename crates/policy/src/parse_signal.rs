use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::key::{NAMED, OPTIONS, named};
use crate::parse::{Parser, invalid};
use crate::parse_subject::all_signals;
use crate::{
    EngineSignal, KueueCount, KueueQuery, MAIN_SIGNAL, NamedSignal, OnMany, OnOdd, OutsideSource,
    PrometheusQuery, Quantile, Schedule, Signal, Source, TriggerError, Within,
};

/// What the names of objects and servers may look like, for error messages.
const NAME: &str = "a name of letters, digits, dashes and dots, at most 253 bytes";

const WRONG_OPTION: &str = "its signal does not take it; gpu.* takes within, the latencies of engine.* take \
     quantile, prometheus takes prometheus, query, onEmpty, onNaN and onMany, kueue.pending takes queue and count, \
     schedule takes schedule, and all but schedule and manual take staleAfter";

impl Parser<'_> {
    /// The signals of the keys `signal.NAME`, in the order of their names.
    pub(crate) fn named_signals(&mut self) -> Result<Vec<NamedSignal>, TriggerError> {
        let keys: Vec<&str> = self.metadata.keys().map(String::as_str).collect();
        let names: BTreeSet<&str> = keys
            .iter()
            .filter_map(|key| named(key))
            .map(|(name, _)| name)
            .collect();
        let mut signals = Vec::with_capacity(names.len());
        for name in names {
            let key = format!("{NAMED}{name}");
            if name == MAIN_SIGNAL {
                return Err(invalid(
                    key,
                    name,
                    "another name; signal is that of the key signal",
                ));
            }
            let Some(value) = self.get(&key) else {
                return Err(TriggerError::Missing {
                    key: key.into(),
                    allowed: all_signals(),
                });
            };
            let signal = value.parse().map_err(|()| invalid(key, value, all_signals()))?;
            signals.push(self.named_signal(name, signal, self.quantile)?);
        }
        Ok(signals)
    }

    /// The signal called `name` with its options; `quantile` is taken where none is given.
    pub(crate) fn named_signal(
        &mut self,
        name: &str,
        signal: Signal,
        quantile: Quantile,
    ) -> Result<NamedSignal, TriggerError> {
        let mut options = Options {
            parser: self,
            name,
            taken: BTreeSet::new(),
        };
        let source = options.source(signal, quantile)?;
        let stale_after = match source {
            Source::Schedule(_) | Source::Manual => None,
            _ => options.stale_after()?,
        };
        let taken = options.taken;
        for option in OPTIONS {
            if name != MAIN_SIGNAL && !taken.contains(option) {
                let key = format!("{NAMED}{name}.{option}");
                if self.get(&key).is_some() {
                    return Err(TriggerError::RefusedKey {
                        key,
                        reason: WRONG_OPTION,
                    });
                }
            }
        }
        self.taken.extend(taken);
        let period = self.scrape_period()?;
        if let (Some(stale_after), Source::Engine { .. }) = (stale_after, &source)
            && stale_after < 2 * period
        {
            let own = format!("{NAMED}{name}.staleAfter");
            let key = match self.get(&own) {
                Some(_) => own.into(),
                None => Cow::Borrowed("staleAfter"),
            };
            self.warn(
                key,
                format!(
                    "{stale_after:?} is less than two scrapes take, {:?}: one that is late makes the engine \
                     unread; raise it, or lower scrapePeriod",
                    2 * period
                ),
            );
        }
        Ok(NamedSignal {
            name: name.to_owned(),
            signal,
            source,
            stale_after: stale_after.unwrap_or_else(|| signal.default_stale_after(period)),
        })
    }
}

/// The options of one signal, and which of them it takes.
struct Options<'p, 'a> {
    parser: &'p Parser<'a>,
    name: &'p str,
    taken: BTreeSet<&'static str>,
}

impl<'a> Options<'_, 'a> {
    fn source(&mut self, signal: Signal, quantile: Quantile) -> Result<Source, TriggerError> {
        Ok(match signal {
            Signal::Gpu(quantity) => Source::Gpu {
                quantity,
                within: self
                    .one_of("within", Within::ALL)?
                    .unwrap_or_else(|| signal.default_within()),
            },
            Signal::Engine(engine) => Source::Engine {
                quantity: engine.quantity(self.quantile(engine, quantile)?),
            },
            Signal::Prometheus => Source::Outside(OutsideSource::Prometheus(self.prometheus()?)),
            Signal::KueuePending => Source::Outside(OutsideSource::Kueue(KueueQuery {
                queue: self.object_name(
                    "queue",
                    "the name of a LocalQueue in the workload's own namespace",
                )?,
                count: self
                    .one_of("count", KueueCount::ALL)?
                    .unwrap_or(KueueCount::Workloads),
            })),
            Signal::JobUnfinished => Source::Outside(OutsideSource::UnfinishedJobs),
            Signal::Schedule => Source::Schedule(self.schedule()?),
            Signal::Manual => Source::Manual,
        })
    }

    fn quantile(&mut self, engine: EngineSignal, default: Quantile) -> Result<Quantile, TriggerError> {
        match engine.is_latency() {
            true => Ok(self.one_of("quantile", Quantile::ALL)?.unwrap_or(default)),
            false => Ok(default),
        }
    }

    fn prometheus(&mut self) -> Result<PrometheusQuery, TriggerError> {
        let server = self.object_name(
            "prometheus",
            "the name of a Prometheus server in Rheostat's configuration, such as main; never an address",
        )?;
        let (key, query) = self.required("query", "a PromQL query that gives one number")?;
        if query.trim().is_empty() {
            return Err(invalid(key, query, "a PromQL query that gives one number"));
        }
        Ok(PrometheusQuery {
            server,
            query: query.trim().to_owned(),
            on_empty: self.one_of("onEmpty", OnOdd::ALL)?.unwrap_or(OnOdd::Error),
            on_nan: self.one_of("onNaN", OnOdd::ALL)?.unwrap_or(OnOdd::Error),
            on_many: self.one_of("onMany", OnMany::ALL)?.unwrap_or(OnMany::Error),
        })
    }

    fn schedule(&mut self) -> Result<Schedule, TriggerError> {
        let (key, text) = self.required("schedule", "windows of replica counts")?;
        let zone = self.parser.get("timezone");
        let schedule = Schedule::parse(text, zone).map_err(|source| TriggerError::Schedule {
            key: key.clone(),
            source,
        })?;
        let ceilings = schedule.windows().iter();
        if ceilings
            .filter(|window| matches!(window.asks, crate::Asks::Ceiling(_) | crate::Asks::Blackout))
            .count()
            > 0
        {
            return Err(invalid(
                key,
                text.chars().take(64).collect::<String>(),
                "floor or count; a ceiling is no demand, but can stand in the key schedule beside another signal, and a \
                 blackout in a ScalingPolicy",
            ));
        }
        Ok(schedule)
    }

    fn stale_after(&mut self) -> Result<Option<Duration>, TriggerError> {
        match self.get("staleAfter") {
            None => Ok(None),
            Some((key, value)) => {
                crate::parse::span(key, value, Duration::from_secs(1), 10 * crate::parse::MINUTE).map(Some)
            }
        }
    }

    fn object_name(&mut self, option: &'static str, what: &str) -> Result<String, TriggerError> {
        let (key, value) = self.required(option, what)?;
        match is_name(value) {
            true => Ok(value.to_owned()),
            false => Err(invalid(key, value, format!("{what}: {NAME}"))),
        }
    }

    fn required(
        &mut self,
        option: &'static str,
        what: &str,
    ) -> Result<(Cow<'static, str>, &'a str), TriggerError> {
        self.get(option).ok_or_else(|| TriggerError::Missing {
            key: self.key(option),
            allowed: what.into(),
        })
    }

    fn one_of<T: std::str::FromStr + Copy + std::fmt::Display>(
        &mut self,
        option: &'static str,
        all: &[T],
    ) -> Result<Option<T>, TriggerError> {
        match self.get(option) {
            None => Ok(None),
            Some((key, value)) => crate::parse::one_of(key, value, all).map(Some),
        }
    }

    /// The option's key and value: the signal's own, or that of all signals. What a schedule
    /// asks for is no option that two signals could share.
    fn get(&mut self, option: &'static str) -> Option<(Cow<'static, str>, &'a str)> {
        self.taken.insert(option);
        let own = self.key(option);
        if let Some(value) = self.parser.get(&own) {
            return Some((own, value));
        }
        let shared = self.parser.get(option).filter(|_| option != "schedule")?;
        Some((option.into(), shared))
    }

    fn key(&self, option: &'static str) -> Cow<'static, str> {
        match self.name {
            MAIN_SIGNAL => option.into(),
            name => format!("{NAMED}{name}.{option}").into(),
        }
    }
}

/// Whether it can be the name of a Kubernetes object, or of a server in our configuration.
pub(crate) fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    (1..=253).contains(&text.len())
        && text.bytes().all(|b| inner(b) || b == b'_')
        && !text.starts_with(['-', '.', '_'])
        && !text.ends_with(['-', '.', '_'])
}
