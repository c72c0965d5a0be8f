use std::borrow::Cow;

use super::error::{Fault, Problem};
use super::escape::unescape;
use super::labels::{Labels, Marks};
use super::scan::{first, in_label_name, in_metric_name};
use super::{Exemplar, Sample, number};
use crate::Format;

/// What an exemplar begins with.
const EXEMPLAR: &str = " # {";

/// Reads a line from left to right, byte by byte; the one place that knows the whole grammar.
pub(super) struct Line<'page> {
    text: &'page str,
    at: usize,
    format: Format,
}

impl<'page> Line<'page> {
    pub(super) const fn new(text: &'page str, format: Format) -> Self {
        Self { text, at: 0, format }
    }

    /// The line as a sample, of which it has at most `max_labels` labels.
    pub(super) fn sample(mut self, max_labels: usize) -> Result<Sample<'page>, Fault> {
        self.blanks();
        let mut name = match self.peek() {
            Some(b'{') => None,
            _ => Some(Cow::Borrowed(self.name(true, Problem::Start)?)),
        };
        let after_name = self.at;
        self.blanks();
        let mut labels = Labels::default();
        let braces = self.eat(b'{');
        if braces {
            let start = self.at;
            let second = self.labels(name.is_some(), max_labels)?;
            labels = Labels::new(self.since(start, 1), Marks::default());
            name = name.or(second);
        } else {
            self.at = after_name;
        }
        let Some(name) = name else {
            return Err(self.fault(Problem::NoName));
        };
        self.gap(!braces)?;
        let value = self.number(number::float)?;
        let (timestamp_millis, exemplar) = match self.format {
            Format::Prometheus => (self.millis()?, ""),
            Format::OpenMetrics => self.seconds_and_exemplar(max_labels)?,
        };
        if self.at < self.text.len() {
            return Err(self.fault(Problem::Trailing));
        }
        Ok(Sample {
            name,
            labels,
            value,
            timestamp_millis,
            exemplar,
        })
    }

    /// What is after the value in the Prometheus format.
    fn millis(&mut self) -> Result<Option<i64>, Fault> {
        self.blanks();
        if self.at == self.text.len() {
            return Ok(None);
        }
        let timestamp = self.number(number::millis)?;
        self.blanks();
        Ok(Some(timestamp))
    }

    /// What is after the value in OpenMetrics: a timestamp and the text of an exemplar.
    fn seconds_and_exemplar(&mut self, max_labels: usize) -> Result<(Option<i64>, &'page str), Fault> {
        let timestamp = self.seconds(EXEMPLAR)?;
        let start = self.at;
        self.exemplar(max_labels)?;
        Ok((timestamp, self.since(start, 0)))
    }

    /// An exemplar, where there is one.
    pub(super) fn exemplar(&mut self, max_labels: usize) -> Result<Option<Exemplar<'page>>, Fault> {
        if !self.rest().starts_with(EXEMPLAR) {
            return Ok(None);
        }
        self.at += EXEMPLAR.len();
        let start = self.at;
        self.labels(true, max_labels)?;
        let labels = Labels::new(self.since(start, 1), Marks::default());
        self.gap(true)?;
        let value = self.number(number::float)?;
        let timestamp_millis = self.seconds("")?;
        Ok(Some(Exemplar {
            labels,
            value,
            timestamp_millis,
        }))
    }

    /// A timestamp in seconds, unless the line ends or goes on with `other` (which is not looked for
    /// where it is empty).
    fn seconds(&mut self, other: &str) -> Result<Option<i64>, Fault> {
        if self.rest().is_empty() || (!other.is_empty() && self.rest().starts_with(other)) {
            return Ok(None);
        }
        self.gap(true)?;
        self.number(number::seconds).map(Some)
    }

    /// Labels up to and with the closing brace, and the name of the sample if it is among them.
    fn labels(&mut self, named: bool, max_labels: usize) -> Result<Option<Cow<'page, str>>, Fault> {
        let start = self.at;
        let mut name = None;
        let mut count = 0;
        loop {
            self.blanks();
            if self.eat(b'}') {
                return Ok(name);
            }
            let label_at = self.at;
            let label = self.quoted_or_name(false, Problem::LabelName)?;
            let quoted = self.text.as_bytes().get(label_at) == Some(&b'"');
            let fault = |problem| Fault {
                at: label_at,
                problem,
            };
            self.blanks();
            if quoted && matches!(self.peek(), Some(b',' | b'}')) {
                if named || name.is_some() {
                    return Err(fault(Problem::SecondName));
                }
                name = Some(label);
            } else {
                if label == "__name__" {
                    return Err(fault(Problem::ReservedLabel));
                }
                if count == max_labels {
                    return Err(fault(Problem::TooManyLabels(max_labels)));
                }
                let before = Labels::new(
                    self.text.get(start..label_at).unwrap_or_default(),
                    Marks::default(),
                );
                if before.iter().any(|(other, _)| other == label) {
                    return Err(fault(Problem::DuplicateLabel));
                }
                count += 1;
                self.value()?;
            }
            self.blanks();
            if !self.eat(b',') && self.peek() != Some(b'}') {
                return Err(self.fault(Problem::Comma));
            }
        }
    }

    /// `="value"`.
    fn value(&mut self) -> Result<(), Fault> {
        if !self.eat(b'=') {
            return Err(self.fault(Problem::Equals));
        }
        self.blanks();
        if self.peek() != Some(b'"') {
            return Err(self.fault(Problem::LabelValue));
        }
        self.quoted().map(drop)
    }

    /// A name, in quotes or not. `colons`: whether a name without quotes can have colons.
    pub(super) fn quoted_or_name(
        &mut self,
        colons: bool,
        problem: Problem,
    ) -> Result<Cow<'page, str>, Fault> {
        if self.peek() != Some(b'"') {
            return self.name(colons, problem).map(Cow::Borrowed);
        }
        let start = self.at;
        let name = self.quoted()?;
        if name.is_empty() {
            return Err(Fault { at: start, problem });
        }
        Ok(unescape(name, true))
    }

    /// A text in quotes, with its escapes.
    fn quoted(&mut self) -> Result<&'page str, Fault> {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'"' => return Ok(self.since(start + 1, 1)),
                // Whatever is escaped, it is not the end. A character of several bytes is passed by
                // its first; the others are neither quote nor backslash.
                b'\\' => self.at += 1,
                _ => {}
            }
        }
        Err(Fault {
            at: start,
            problem: Problem::Quote,
        })
    }

    /// A name without quotes, or `problem` where there is none.
    fn name(&mut self, colons: bool, problem: Problem) -> Result<&'page str, Fault> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let end = if colons {
            first(bytes, start, |byte| !in_metric_name(byte))
        } else {
            first(bytes, start, |byte| !in_label_name(byte))
        };
        if end == start || self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.fault(problem));
        }
        self.at = end;
        Ok(self.since(start, 0))
    }

    /// A number up to the next blank, as `read` reads it.
    fn number<T>(&mut self, read: impl FnOnce(&str) -> Result<T, Problem>) -> Result<T, Fault> {
        let start = self.at;
        while !matches!(self.peek(), None | Some(b' ' | b'\t')) {
            self.at += 1;
        }
        let text = self.since(start, 0);
        let read = if text.is_empty() {
            Err(Problem::NoValue)
        } else {
            read(text)
        };
        read.map_err(|problem| Fault { at: start, problem })
    }

    /// What is between a name or labels and a number: in OpenMetrics one space; else any blanks, and at
    /// least one where `needed`.
    fn gap(&mut self, needed: bool) -> Result<(), Fault> {
        let start = self.at;
        let passed = match self.format {
            Format::OpenMetrics => self.eat(b' '),
            Format::Prometheus => {
                self.blanks();
                self.at > start || !needed || self.at == self.text.len()
            }
        };
        if passed {
            Ok(())
        } else {
            Err(self.fault(Problem::Space))
        }
    }

    /// Passes blanks, where the format has them.
    pub(super) fn blanks(&mut self) {
        if self.format == Format::Prometheus {
            while matches!(self.peek(), Some(b' ' | b'\t')) {
                self.at += 1;
            }
        }
    }

    /// Passes `byte` if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Passes one byte; true, for use in conditions.
    pub(super) fn pass(&mut self) -> bool {
        self.advance(1);
        true
    }

    pub(super) fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The line from here on.
    pub(super) fn rest(&self) -> &'page str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The text from `start` up to `less` bytes before here.
    fn since(&self, start: usize, less: usize) -> &'page str {
        self.text.get(start..self.at - less).unwrap_or_default()
    }

    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) const fn fault(&self, problem: Problem) -> Fault {
        Fault { at: self.at, problem }
    }
}
