use std::time::Duration;

use crate::error::TraceError;
use crate::format::Format;
use crate::input::Input;
use crate::random::Random;
use crate::request::Request;
use crate::source::{Draw, SECOND};
use crate::table::{Table, number};

/// Requests as a file lists them, in order of time.
#[derive(Debug)]
pub(crate) struct Rows(Vec<Row>);

/// One of them, in 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    at: u64,
    prompt: u32,
    output: u32,
}

/// The most requests that are read: they take 800 MB. The largest public trace has 27 million a week.
const MOST: usize = 50_000_000;
/// The longest time between the first request and the last: a time that is mistyped by a century would
/// otherwise make a trace that never ends.
const LONGEST: u64 = 10 * 366 * 24 * 3600 * SECOND;
/// More tokens than any model's context holds.
const MOST_TOKENS: u32 = 100_000_000;

const TOKENS: &str = "a whole number of tokens, at most 100000000";
const TIME: &str = "a time such as 2023-11-16 18:15:46.6805900, within 10 years of the others";
const SECONDS: &str = "a number of seconds, at least 0 and within 10 years of the others";
const MILLISECONDS: &str = "a number of milliseconds, at least 0 and within 10 years of the others";

impl Rows {
    /// Nanoseconds of a window. A multiple of a second, in which copies of a request stay.
    pub(crate) const WINDOW: u64 = 60 * SECOND;

    /// `TIMESTAMP,ContextTokens,GeneratedTokens`, times of a calendar with or without an offset.
    pub(crate) fn azure(input: &mut Input<'_>) -> Result<Self, TraceError> {
        const NAMES: [&str; 3] = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"];
        let mut rows = Unordered::new(Format::Azure);
        let header = "the header TIMESTAMP,ContextTokens,GeneratedTokens";
        let Some(mut table) = Table::new(input, &NAMES, header)? else {
            return rows.ordered();
        };
        while let Some(line) = table.next()? {
            let at = line.get(0, TIME, time)?;
            let (prompt, output) = (line.get(1, TOKENS, tokens)?, line.get(2, TOKENS, tokens)?);
            rows.push(at, prompt, output, || line.wrong(0, TIME))?;
        }
        rows.ordered()
    }

    /// `Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type`, and versions with more
    /// columns; seconds.
    pub(crate) fn burstgpt(input: &mut Input<'_>) -> Result<Self, TraceError> {
        const NAMES: [&str; 3] = ["Timestamp", "Request tokens", "Response tokens"];
        let mut rows = Unordered::new(Format::BurstGpt);
        let header = "a header with Timestamp, Request tokens and Response tokens";
        let Some(mut table) = Table::new(input, &NAMES, header)? else {
            return rows.ordered();
        };
        while let Some(line) = table.next()? {
            let at = line.get(0, SECONDS, |text| number(text, 0.0, 1e12))?;
            let (prompt, output) = (line.get(1, TOKENS, tokens)?, line.get(2, TOKENS, tokens)?);
            rows.push(nanoseconds(at, 1e9), prompt, output, || line.wrong(0, SECONDS))?;
        }
        rows.ordered()
    }

    /// A JSON object a line with `timestamp` (milliseconds), `input_length` and `output_length`.
    pub(crate) fn mooncake(input: &mut Input<'_>) -> Result<Self, TraceError> {
        #[derive(serde::Deserialize)]
        struct Object {
            timestamp: f64,
            input_length: u32,
            output_length: u32,
        }
        let mut rows = Unordered::new(Format::Mooncake);
        while let Some((line, text)) = input.line()? {
            let object: Object = serde_json::from_str(text).map_err(|source| TraceError::Json {
                line,
                format: Format::Mooncake,
                source,
            })?;
            let field = |column, found: &dyn ToString, wanted| {
                Err(crate::table::field(line, column, &found.to_string(), wanted))
            };
            for (column, tokens) in [
                ("input_length", object.input_length),
                ("output_length", object.output_length),
            ] {
                if tokens > MOST_TOKENS {
                    return field(column, &tokens, TOKENS);
                }
            }
            if !(0.0..=1e15).contains(&object.timestamp) {
                return field("timestamp", &object.timestamp, MILLISECONDS);
            }
            rows.push(
                nanoseconds(object.timestamp, 1e6),
                object.input_length,
                object.output_length,
                || crate::table::field(line, "timestamp", &object.timestamp.to_string(), MILLISECONDS),
            )?;
        }
        rows.ordered()
    }

    /// Those of a caller, in any order; their times stay as they are.
    pub(crate) fn from_requests(requests: impl IntoIterator<Item = Request>) -> Self {
        let row = |request: Request| Row {
            at: u64::try_from(request.at.as_nanos())
                .unwrap_or(LONGEST)
                .min(LONGEST),
            prompt: request.prompt_tokens.max(1),
            output: request.output_tokens.max(1),
        };
        let mut rows: Vec<Row> = requests.into_iter().map(row).collect();
        rows.sort_by_key(|row| row.at);
        Self(rows)
    }

    pub(crate) fn length(&self) -> u64 {
        self.0.last().map_or(0, |row| row.at)
    }

    /// The rows of `window`.
    pub(crate) fn within(&self, window: u64) -> &[Row] {
        let from = self.0.partition_point(|row| row.at < window * Self::WINDOW);
        let to = self.0.partition_point(|row| row.at < (window + 1) * Self::WINDOW);
        &self.0[from..to]
    }

    /// Each request stays with the chance `factor`. Above 1 it stays and gets copies, which fall anywhere in
    /// the same second: so the rate is multiplied and its course stays as it is.
    pub(crate) fn fill(&self, window: u64, draw: &Draw, into: &mut Vec<Request>) {
        let rows = self.within(window);
        if (draw.factor - 1.0).abs() < f64::EPSILON {
            into.extend(rows.iter().map(|row| row.request(row.at)));
            return;
        }
        let mut random = Random::new(draw.seed, 0, window);
        for row in rows {
            let times = random.round(draw.factor);
            if times > 0 {
                into.push(row.request(row.at));
            }
            for _ in 1..times {
                let second = row.at / SECOND * SECOND;
                let within = nanoseconds(random.uniform(), 1e9).clamp(0, SECOND as i64 - 1);
                into.push(row.request(second + within.unsigned_abs()));
            }
        }
        into.sort_by_key(|request| request.at);
    }
}

impl Row {
    fn request(self, at: u64) -> Request {
        Request {
            at: Duration::from_nanos(at),
            prompt_tokens: self.prompt,
            output_tokens: self.output,
        }
    }
}

/// Rows with times from anywhere.
struct Unordered {
    format: Format,
    rows: Vec<(i64, u32, u32)>,
    first: i64,
    last: i64,
}

impl Unordered {
    fn new(format: Format) -> Self {
        Self {
            format,
            rows: Vec::new(),
            first: i64::MAX,
            last: i64::MIN,
        }
    }

    fn push(
        &mut self,
        at: i64,
        prompt: u32,
        output: u32,
        wrong: impl FnOnce() -> TraceError,
    ) -> Result<(), TraceError> {
        if self.rows.len() >= MOST {
            return Err(TraceError::TooLarge {
                what: "requests",
                most: MOST as u64,
            });
        }
        self.first = self.first.min(at);
        self.last = self.last.max(at);
        if self.first.abs_diff(self.last) > LONGEST {
            return Err(wrong());
        }
        // A request of which nothing was written, or whose prompt was not counted, counts as one token.
        self.rows.push((at, prompt.max(1), output.max(1)));
        Ok(())
    }

    /// In order of time, from the first on.
    fn ordered(self) -> Result<Rows, TraceError> {
        if self.rows.is_empty() {
            return Err(TraceError::Empty { format: self.format });
        }
        let first = self.first;
        let mut rows: Vec<Row> = self
            .rows
            .into_iter()
            .map(|(at, prompt, output)| Row {
                at: at.abs_diff(first),
                prompt,
                output,
            })
            .collect();
        rows.sort_by_key(|row| row.at);
        Ok(Rows(rows))
    }
}

/// Nanoseconds since 1970, as if times without an offset were UTC.
fn time(text: &str) -> Option<i64> {
    // Behind the seconds only an offset has a sign or a letter.
    let has_offset = text.get(19..)?.contains(['+', '-', 'Z', 'z']);
    let nanoseconds = if has_offset {
        text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()
    } else {
        let time: jiff::civil::DateTime = text.parse().ok()?;
        let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        zoned.timestamp().as_nanosecond()
    };
    i64::try_from(nanoseconds).ok()
}

fn tokens(text: &str) -> Option<u32> {
    text.parse().ok().filter(|tokens| *tokens <= MOST_TOKENS)
}

/// `amount` of a unit that has `each` nanoseconds; callers bound it.
#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn nanoseconds(amount: f64, each: f64) -> i64 {
    (amount * each).round() as i64
}
