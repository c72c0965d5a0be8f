use std::fmt;

use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime, Time};

/// Times of the day and week, as the five fields of a crontab: minute, hour, day of the month,
/// month, day of the week.
///
/// Each field is `*`, a number, a range `1-5`, a list `1,3,5`, or any of these with a step, `*/15`.
/// Months and days of the week have names (`jan`, `mon`) too, and Sunday is both 0 and 7. Where
/// both days are given, either is enough, as cron has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cron {
    minutes: u64,
    hours: u32,
    days: u32,
    months: u16,
    weekdays: u8,
    /// Whether the day of the month, and that of the week, begin with a star.
    any_day: bool,
    any_weekday: bool,
}

/// Why a text is no [`Cron`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five fields.
    #[error("{count} fields; a cron time has five: minute, hour, day of the month, month, day of the week")]
    Fields {
        /// How many there are.
        count: usize,
    },
    /// A field that is not allowed.
    #[error(
        "the {field} is {value:?}; allowed: * or {least} to {most}, ranges (1-5), lists (1,3) and steps (*/15)"
    )]
    Field {
        /// Which field.
        field: &'static str,
        /// What stands there.
        value: String,
        /// Its least number.
        least: u8,
        /// Its greatest number.
        most: u8,
    },
    /// A day that no month has, such as 30 February.
    #[error("it never comes: no such day exists in these months")]
    Never,
}

struct Field {
    name: &'static str,
    least: u8,
    most: u8,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field::new("minute", 0, 59, &[]),
    Field::new("hour", 0, 23, &[]),
    Field::new("day of the month", 1, 31, &[]),
    Field::new(
        "month",
        1,
        12,
        &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    ),
    Field::new(
        "day of the week",
        0,
        7,
        &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    ),
];

/// Days looked back through: 29 February can be eight years away, around a year like 2100.
const LONGEST_WAIT: usize = 8 * 366 + 1;

impl Cron {
    /// Reads five fields, separated by blanks.
    ///
    /// # Errors
    ///
    /// Where a field is not allowed, or no day matches.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(CronError::Fields { count: fields.len() });
        };
        let [of_minute, of_hour, of_day, of_month, of_weekday] = &FIELDS;
        let week = of_weekday.parse(weekday)?;
        let cron = Self {
            minutes: of_minute.parse(minute)?,
            hours: low(of_hour.parse(hour)?),
            days: low(of_day.parse(day)?),
            months: low(of_month.parse(month)?),
            // Sunday is 7 as well.
            weekdays: low((week | week >> 7) & 0x7f),
            any_day: day.starts_with('*'),
            any_weekday: weekday.starts_with('*'),
        };
        // A leap year, so that 29 February comes.
        let mut day = jiff::civil::date(2024, 1, 1);
        for _ in 0..366 {
            if cron.matches(day) {
                return Ok(cron);
            }
            day = day.saturating_add(1.day());
        }
        Err(CronError::Never)
    }

    /// The last such time up to and including `now`, to the minute; `None` where there was none
    /// for eight years.
    #[must_use]
    pub fn last(&self, now: DateTime) -> Option<DateTime> {
        let today = now.date();
        let mut day = today;
        for _ in 0..LONGEST_WAIT {
            if self.matches(day) {
                let until = if day == today {
                    (now.hour(), now.minute())
                } else {
                    (23, 59)
                };
                if let Some(time) = self.last_time(until) {
                    return Some(day.to_datetime(time));
                }
            }
            day = day.yesterday().ok()?;
        }
        None
    }

    fn matches(&self, day: Date) -> bool {
        let has = |bits: u64, number: i8| u32::try_from(number).is_ok_and(|number| bits >> number & 1 == 1);
        let of_month = has(self.days.into(), day.day());
        let of_week = has(self.weekdays.into(), day.weekday().to_sunday_zero_offset());
        let of_day = match (self.any_day, self.any_weekday) {
            (false, false) => of_month || of_week,
            _ => of_month && of_week,
        };
        of_day && has(self.months.into(), day.month())
    }

    fn last_time(&self, (hour, minute): (i8, i8)) -> Option<Time> {
        if u32::try_from(hour).is_ok_and(|hour| self.hours >> hour & 1 == 1)
            && let Some(minute) = highest(self.minutes, minute)
        {
            return Time::new(hour, minute, 0, 0).ok();
        }
        let hour = highest(self.hours.into(), hour.checked_sub(1)?)?;
        Time::new(hour, highest(self.minutes, 59)?, 0, 0).ok()
    }
}

impl Field {
    const fn new(name: &'static str, least: u8, most: u8, names: &'static [&'static str]) -> Self {
        Self {
            name,
            least,
            most,
            names,
        }
    }

    /// A bit for each number that matches.
    fn parse(&self, text: &str) -> Result<u64, CronError> {
        let wrong = || CronError::Field {
            field: self.name,
            value: text.chars().take(32).collect(),
            least: self.least,
            most: self.most,
        };
        let mut bits = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => {
                    let step = step
                        .parse::<u8>()
                        .ok()
                        .filter(|step| *step > 0)
                        .ok_or_else(wrong)?;
                    (range, Some(step))
                }
                None => (part, None),
            };
            let (first, last) = match (range, range.split_once('-')) {
                ("*", _) => (self.least, self.most),
                (_, Some((first, last))) => (
                    self.number(first).ok_or_else(wrong)?,
                    self.number(last).ok_or_else(wrong)?,
                ),
                (one, None) => {
                    let first = self.number(one).ok_or_else(wrong)?;
                    // `5/15` is 5, 20, 35 and so on.
                    (first, if step.is_some() { self.most } else { first })
                }
            };
            if first > last {
                return Err(wrong());
            }
            for number in (first..=last).step_by(step.unwrap_or(1).into()) {
                bits |= 1_u64 << number;
            }
        }
        Ok(bits)
    }

    fn number(&self, text: &str) -> Option<u8> {
        let lower = text.to_ascii_lowercase();
        if let Some(place) = self.names.iter().position(|name| *name == lower) {
            return u8::try_from(place).ok().map(|place| place + self.least);
        }
        // `parse` alone would take a sign.
        let number = text
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse::<u8>().ok())??;
        (self.least..=self.most).contains(&number).then_some(number)
    }
}

/// The highest number in `bits` that is at most `most`.
fn highest(bits: u64, most: i8) -> Option<i8> {
    let most = u32::try_from(most).ok().filter(|most| *most < 64)?;
    let kept = bits & (u64::MAX >> (63 - most));
    kept.checked_ilog2().and_then(|number| i8::try_from(number).ok())
}

/// The low bits, as many as fit; each field's fit by its greatest number.
fn low<T: TryFrom<u64> + Default>(bits: u64) -> T {
    T::try_from(bits).unwrap_or_default()
}

impl fmt::Display for Cron {
    /// What it matches, in one spelling for all that mean the same.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            minutes,
            hours,
            days,
            months,
            weekdays,
            any_day,
            any_weekday,
        } = self;
        write!(
            out,
            "{minutes:x} {hours:x} {days:x} {months:x} {weekdays:x} {any_day} {any_weekday}"
        )
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn last(cron: &str, now: DateTime) -> DateTime {
        Cron::parse(cron).unwrap().last(now).unwrap()
    }

    #[test]
    fn the_last_time_is_found() {
        // A Wednesday.
        let now = date(2026, 3, 11).at(10, 30, 59, 0);
        for (cron, expected) in [
            ("* * * * *", date(2026, 3, 11).at(10, 30, 0, 0)),
            ("30 10 * * *", date(2026, 3, 11).at(10, 30, 0, 0)),
            ("31 10 * * *", date(2026, 3, 10).at(10, 31, 0, 0)),
            ("0 8 * * 1-5", date(2026, 3, 11).at(8, 0, 0, 0)),
            ("0 20 * * mon-fri", date(2026, 3, 10).at(20, 0, 0, 0)),
            ("0 8 * * sat,SUN", date(2026, 3, 8).at(8, 0, 0, 0)),
            ("0 8 * * 7", date(2026, 3, 8).at(8, 0, 0, 0)),
            ("0 8 * * 0", date(2026, 3, 8).at(8, 0, 0, 0)),
            ("*/20 9 * * *", date(2026, 3, 11).at(9, 40, 0, 0)),
            ("5/25 9 * * *", date(2026, 3, 11).at(9, 55, 0, 0)),
            ("0 0 1 * *", date(2026, 3, 1).at(0, 0, 0, 0)),
            ("0 0 31 * *", date(2026, 1, 31).at(0, 0, 0, 0)),
            ("0 0 29 2 *", date(2024, 2, 29).at(0, 0, 0, 0)),
            ("0 12 1 jan *", date(2026, 1, 1).at(12, 0, 0, 0)),
            // Either day is enough where both are given.
            ("0 0 1 * tue", date(2026, 3, 10).at(0, 0, 0, 0)),
            ("0 0 11 * tue", date(2026, 3, 11).at(0, 0, 0, 0)),
        ] {
            assert_eq!(last(cron, now), expected, "{cron}");
        }
        assert_eq!(
            last("0 0 29 2 *", date(2104, 2, 28).at(0, 0, 0, 0)),
            date(2096, 2, 29).at(0, 0, 0, 0)
        );
    }

    #[test]
    fn what_is_no_cron_is_refused_with_what_is_allowed() {
        for (cron, part) in [
            ("", "0 fields"),
            ("* * * *", "4 fields"),
            ("* * * * * *", "6 fields"),
            ("60 * * * *", "minute is \"60\""),
            ("* 24 * * *", "hour"),
            ("* * 0 * *", "day of the month"),
            ("* * * 13 *", "month"),
            ("* * * foo *", "month"),
            ("* * * * 8", "day of the week"),
            ("5-1 * * * *", "minute"),
            ("*/0 * * * *", "minute"),
            ("+5 * * * *", "minute"),
            ("1,,2 * * * *", "minute"),
            ("- * * * *", "minute"),
            ("0 0 30 2 *", "never"),
        ] {
            let error = Cron::parse(cron).unwrap_err().to_string();
            assert!(error.contains(part), "{cron}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in "\\PC{0,40}|([-*/,0-9a-z]{1,8} ){4}[-*/,0-9a-z]{1,8}") {
            let _ = Cron::parse(&text);
        }

        #[test]
        fn the_last_time_is_the_nearest(
            minute in 0i8..60, hour in 0i8..24, day in 1i8..=31, weekday in 0u8..8, any in 0u8..4,
            days in 0i32..3000, hours in 0i8..24, minutes in 0i8..60,
        ) {
            let text = match any {
                0 => format!("{minute} {hour} * * *"),
                1 => format!("{minute} {hour} {day} * *"),
                2 => format!("{minute} {hour} * * {weekday}"),
                _ => format!("{minute} {hour} {day} * {weekday}"),
            };
            let cron = Cron::parse(&text).unwrap();
            let now = date(2026, 1, 1).saturating_add(days.days()).at(hours, minutes, 30, 0);
            let found = cron.last(now).unwrap();
            prop_assert!(found <= now && cron.matches(found.date()));
            prop_assert_eq!((found.hour(), found.minute()), (hour, minute));
            // Nothing matches in between, day by day.
            let mut later = found.date().saturating_add(1.day());
            while later < now.date() {
                prop_assert!(!cron.matches(later), "{} on {}", text, later);
                later = later.saturating_add(1.day());
            }
        }
    }
}
