use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rheostat_reading::Timestamp;

use crate::{Cron, CronError};

/// Windows of time and what they ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    windows: Vec<Window>,
}

/// A window that comes again and again: from one cron time to another, by the clock of a place.
///
/// It begins at its first minute and is over at its last: `from 0 8 … to 0 20 …` is 8:00:00 to
/// 19:59:59. The clock is that of the wall, except that it never goes back: what the change to
/// daylight saving time skips does not happen, and in the hour that is repeated in autumn the clock
/// stands still at its end. So each window comes once at most, and none flaps.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// What it asks for.
    pub asks: Asks,
    from: Cron,
    to: Cron,
    zone: TimeZone,
    text: String,
}

/// What a window asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asks {
    /// At least so many replicas.
    Floor(u32),
    /// At most so many.
    Ceiling(u32),
    /// Exactly so many.
    Count(u32),
    /// No change. Only a scaling policy knows how to hold still: triggers refuse it.
    Blackout,
}

/// What the windows in force ask for together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The highest floor or count.
    pub floor: Option<u32>,
    /// The lowest ceiling or count. It is a limit and holds against any floor.
    pub ceiling: Option<u32>,
}

/// Why a text is no [`Schedule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A window that is not written as windows are.
    #[error("window {number} is {window:?}; a window is written: {FORM}")]
    Form {
        /// Which window, from 1.
        number: usize,
        /// How it begins.
        window: String,
    },
    /// A number of replicas that is not allowed.
    #[error(
        "window {number} asks for {value:?} replicas; allowed: 0 to {MOST_REPLICAS}, and for a floor at least 1"
    )]
    Replicas {
        /// Which window, from 1.
        number: usize,
        /// What stands there.
        value: String,
    },
    /// A time that is no cron time.
    #[error("window {number}, {word} {value:?}: {source}")]
    Time {
        /// Which window, from 1.
        number: usize,
        /// `from` or `to`.
        word: &'static str,
        /// What stands there.
        value: String,
        /// What is wrong with it.
        source: CronError,
    },
    /// A window that ends when it begins.
    #[error("window {number} begins and ends at the same times")]
    Empty {
        /// Which window, from 1.
        number: usize,
    },
    /// A time zone that nobody knows.
    #[error(
        "window {number} is in {zone:?}; allowed: UTC or a name of the IANA database, such as Europe/Zurich"
    )]
    Zone {
        /// Which window, from 1.
        number: usize,
        /// What stands there.
        zone: String,
    },
    /// No window, or too many.
    #[error("{count} windows; allowed: 1 to {MOST_WINDOWS}, each written: {FORM}")]
    Windows {
        /// How many there are.
        count: usize,
    },
}

/// How a window is written.
const FORM: &str = "floor|ceiling|count NUMBER (in a ScalingPolicy also: blackout) from CRON to CRON [in ZONE], \
     such as: floor 2 from 0 8 * * mon-fri to 0 20 * * mon-fri in Europe/Zurich";
const MOST_WINDOWS: usize = 32;
const MOST_REPLICAS: u32 = 100_000;

impl Schedule {
    /// Reads windows, one per line or separated by `;`. Those without a zone are in `zone`, or in
    /// UTC.
    ///
    /// # Errors
    ///
    /// Where a window is not written as it has to be; the message says which one and how.
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Self, ScheduleError> {
        let texts: Vec<&str> = text
            .split(['\n', ';'])
            .map(str::trim)
            .filter(|window| !window.is_empty())
            .collect();
        if texts.is_empty() || texts.len() > MOST_WINDOWS {
            return Err(ScheduleError::Windows { count: texts.len() });
        }
        let windows = texts
            .into_iter()
            .zip(1..)
            .map(|(window, number)| Window::parse(window, number, zone.unwrap_or("UTC")))
            .collect::<Result<_, _>>()?;
        Ok(Self { windows })
    }

    /// Its windows.
    #[must_use]
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// What is asked for at `now`.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Bounds {
        let mut bounds = Bounds::default();
        for window in self.windows.iter().filter(|window| window.holds(now)) {
            let (floor, ceiling) = match window.asks {
                Asks::Blackout => (None, None),
                Asks::Floor(replicas) => (Some(replicas), None),
                Asks::Ceiling(replicas) => (None, Some(replicas)),
                Asks::Count(replicas) => (Some(replicas), Some(replicas)),
            };
            bounds.floor = bounds.floor.max(floor);
            bounds.ceiling = match (bounds.ceiling, ceiling) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        if let (Some(floor), Some(ceiling)) = (bounds.floor, bounds.ceiling) {
            bounds.floor = Some(floor.min(ceiling));
        }
        bounds
    }
}

impl Schedule {
    /// Whether the replica count is to stay as it is at `now`.
    #[must_use]
    pub fn is_blackout(&self, now: Timestamp) -> bool {
        let mut blackouts = self.windows.iter().filter(|window| window.asks == Asks::Blackout);
        blackouts.any(|window| window.holds(now))
    }

    /// Whether some window is a blackout.
    #[must_use]
    pub fn has_blackout(&self) -> bool {
        self.windows.iter().any(|window| window.asks == Asks::Blackout)
    }
}

impl Window {
    fn parse(text: &str, number: usize, zone: &str) -> Result<Self, ScheduleError> {
        let form = || ScheduleError::Form {
            number,
            window: text.chars().take(64).collect(),
        };
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (asks, replicas, rest) = match words.as_slice() {
            ["blackout", "from", rest @ ..] => ("blackout", "0", rest),
            [asks, replicas, "from", rest @ ..] => (*asks, *replicas, rest),
            _ => return Err(form()),
        };
        let to = rest.iter().position(|word| *word == "to").ok_or_else(form)?;
        let (from, after) = rest.split_at(to);
        let end = after.iter().position(|word| *word == "in").unwrap_or(after.len());
        let until = after.get(1..end).ok_or_else(form)?;
        let zone = match after.get(end..) {
            None | Some([]) => zone,
            Some([_, zone]) => zone,
            Some(_) => return Err(form()),
        };
        let count = replicas
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| replicas.parse::<u32>().ok())
            .flatten()
            .filter(|count| *count <= MOST_REPLICAS && (*count > 0 || asks != "floor"));
        let wrong_count = || ScheduleError::Replicas {
            number,
            value: replicas.chars().take(32).collect(),
        };
        let asks = match asks {
            "blackout" if words.get(1) == Some(&"from") => Asks::Blackout,
            "floor" => Asks::Floor(count.ok_or_else(wrong_count)?),
            "ceiling" => Asks::Ceiling(count.ok_or_else(wrong_count)?),
            "count" => Asks::Count(count.ok_or_else(wrong_count)?),
            _ => return Err(form()),
        };
        let time = |word: &'static str, fields: &[&str]| {
            let value = fields.join(" ");
            Cron::parse(&value).map_err(|source| ScheduleError::Time {
                number,
                word,
                value: value.chars().take(64).collect(),
                source,
            })
        };
        let (from, to) = (time("from", from)?, time("to", until)?);
        if from == to {
            return Err(ScheduleError::Empty { number });
        }
        let zone = TimeZone::get(zone).map_err(|_| ScheduleError::Zone {
            number,
            zone: zone.chars().take(64).collect(),
        })?;
        Ok(Self {
            asks,
            from,
            to,
            zone,
            text: words.join(" "),
        })
    }

    /// Whether it is in force at `now`.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        let Some(now) = wall_clock(&self.zone, now) else {
            return false;
        };
        match (self.from.last(now), self.to.last(now)) {
            (Some(begun), Some(ended)) => begun >= ended,
            (begun, _) => begun.is_some(),
        }
    }
}

/// What the clock on the wall says at `now`, or, in the hour that is repeated, the end of it.
fn wall_clock(zone: &TimeZone, now: Timestamp) -> Option<DateTime> {
    let now = i128::from(now.unix_nanos());
    let now = jiff::Timestamp::from_nanosecond(now).ok()?;
    let shown = zone.to_datetime(now);
    // The clock of an hour ago cannot be ahead of this one, unless it was put back in between.
    let instant = jiff::SignedDuration::from_nanos(1);
    let Some(change) = zone.preceding(now.checked_add(instant).ok()?).next() else {
        return Some(shown);
    };
    let before = change.timestamp().checked_sub(instant).ok()?;
    Some(shown.max(zone.to_datetime(before)))
}

impl fmt::Display for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, window) in self.windows.iter().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(out, "{separator}{window}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Window {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}
