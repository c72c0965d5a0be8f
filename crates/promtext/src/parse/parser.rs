use std::borrow::Cow;

use super::error::{Fault, LineError, Problem};
use super::fast::{self, Fast};
use super::line::Line;
use super::metadata::metadata;
use super::scan::in_metric_name;
use super::{Families, Item, Limits, Sample};
use crate::Format;

/// Reads a page line by line.
///
/// A line that cannot be read is an error with its position, and reading goes on with the next line: a
/// page from an engine that is half dead yields what is whole and says what is not. After an error that
/// [is final](LineError::is_final) nothing follows.
#[derive(Clone, Debug)]
pub struct Parser<'page> {
    /// The page, as far as it is within the limit.
    page: &'page [u8],
    /// A piece of it that is UTF-8, mostly with the next line.
    text: &'page str,
    /// Where that begins.
    text_at: usize,
    /// From where on `text` is too short.
    text_until: usize,
    /// Where the next line begins.
    at: usize,
    /// Number of the line that was read last.
    line: usize,
    format: Format,
    limits: Limits,
    families: Option<&'page Families>,
    complete: bool,
    /// Whether `page` is not all there is.
    too_long: bool,
    fast: Fast<'page>,
    samples: usize,
    errors: usize,
    /// Whether `# EOF` was read.
    ended: bool,
    done: bool,
}

/// Reads `page` within the default [`Limits`], with all its families.
#[must_use]
pub fn parse(page: &[u8]) -> Parser<'_> {
    Parser::with(page, &Limits::default(), None)
}

impl<'page> Parser<'page> {
    /// Reads `page` within `limits`; only those of `families`, where they are given. Lines of other
    /// families are skipped without a look at more than their name, so that what is wrong with them is
    /// not seen either.
    ///
    /// The page is OpenMetrics if it ends in `# EOF`, else the Prometheus format, unless
    /// [`Parser::format`] says what it is.
    #[must_use]
    pub fn with(page: &'page [u8], limits: &Limits, families: Option<&'page Families>) -> Self {
        let (whole, page) = (page, page.get(..limits.page_bytes).unwrap_or(page));
        Self {
            page,
            text: "",
            text_at: 0,
            text_until: 0,
            at: 0,
            line: 0,
            format: detect(page),
            limits: *limits,
            families,
            complete: false,
            too_long: page.len() < whole.len(),
            fast: Fast::default(),
            samples: 0,
            errors: 0,
            ended: false,
            done: false,
        }
    }

    /// The page is in `format`, as its `Content-Type` says: an OpenMetrics page that was cut is told by
    /// its missing end.
    #[must_use]
    pub const fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// The page is whole, as whoever received it knows (all bytes of its `Content-Length`, or the last
    /// chunk): its last line can be trusted although it does not end in a newline.
    #[must_use]
    pub const fn complete(mut self) -> Self {
        self.complete = true;
        self
    }

    /// Makes sure that the next line is in `text`, unless it is very long or not UTF-8. Of a page of which
    /// little is wanted, little is looked at so.
    #[inline(always)]
    fn look_ahead(&mut self) {
        /// Nearly all lines are shorter.
        const LINE: usize = 512;
        if self.at >= self.text_until {
            self.text = utf8(self.page.get(self.at..).unwrap_or_default());
            self.text_at = self.at;
            let end = self.at + self.text.len();
            self.text_until = if end < self.page.len() {
                end.saturating_sub(LINE)
            } else {
                usize::MAX
            };
        }
    }

    /// Reads up to the next line that says something.
    fn read(&mut self) -> Option<Result<Item<'page>, LineError>> {
        loop {
            let rest = self.page.get(self.at..).unwrap_or_default();
            self.line += 1;
            if rest.is_empty() {
                return self.end();
            }
            let newline = memchr::memchr(b'\n', rest);
            let line = rest.get(..newline.unwrap_or(rest.len())).unwrap_or_default();
            if let Some(Fault { at, problem }) = self.ends_page(line, newline.is_some()) {
                return Some(Err(self.end_with(line, at, problem)));
            }
            self.at += line.len() + usize::from(newline.is_some());
            match self.item(line) {
                Ok(None) => {}
                Ok(Some(item)) => {
                    self.samples += usize::from(matches!(item, Item::Sample(_)));
                    self.ended = matches!(item, Item::End);
                    return Some(Ok(item));
                }
                Err(Fault { at, problem }) => return Some(Err(self.fault(line, at, problem))),
            }
        }
    }

    /// What is wrong at `line` with the page as a whole.
    fn ends_page(&self, line: &[u8], terminated: bool) -> Option<Fault> {
        let fault = |at, problem| Some(Fault { at, problem });
        if self.at == 0
            && let Some(problem) = no_text(self.page)
        {
            return fault(0, problem);
        }
        if self.ended {
            return fault(0, Problem::AfterEnd);
        }
        if line.len() > self.limits.line_bytes {
            return fault(
                self.limits.line_bytes,
                Problem::LineTooLong(self.limits.line_bytes),
            );
        }
        if terminated {
            return None;
        }
        if self.too_long {
            return fault(line.len(), Problem::PageTooLong(self.limits.page_bytes));
        }
        let says_nothing_more = match self.format {
            Format::Prometheus => line.iter().all(|byte| matches!(byte, b' ' | b'\t')),
            Format::OpenMetrics => line == b"# EOF",
        };
        if self.complete || says_nothing_more {
            return None;
        }
        fault(line.len(), Problem::Unterminated)
    }

    /// What `line` says; `None` where it says nothing or is not wanted.
    fn item(&self, line: &'page [u8]) -> Result<Option<Item<'page>>, Fault> {
        let text = std::str::from_utf8(line).map_err(|error| Fault {
            at: error.valid_up_to(),
            problem: Problem::NotUtf8,
        })?;
        let indent = line.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
        let item = match indent.and_then(|indent| line.get(indent)) {
            None if self.format == Format::Prometheus => None,
            None => {
                return Err(Fault {
                    at: 0,
                    problem: Problem::Comment,
                });
            }
            Some(b'#') => metadata(text, self.format)?,
            Some(_) => Some(Item::Sample(self.sample(text)?)),
        };
        Ok(item.filter(|item| self.wants(item)))
    }

    fn sample(&self, text: &'page str) -> Result<Sample<'page>, Fault> {
        let sample = Line::new(text, self.format).sample(self.limits.labels)?;
        if self.samples < self.limits.samples
            || self.families.is_some_and(|wanted| !wanted.contain(&sample.name))
        {
            Ok(sample)
        } else {
            Err(Fault {
                at: 0,
                problem: Problem::TooManySamples(self.limits.samples),
            })
        }
    }

    fn wants(&self, item: &Item<'_>) -> bool {
        self.families.is_none_or(|families| match item {
            Item::Sample(sample) => families.contain(&sample.name),
            Item::Type { family, .. } | Item::Help { family, .. } | Item::Unit { family, .. } => {
                families.contain(family)
            }
            Item::End => true,
        })
    }

    /// Passes lines of families that are not wanted.
    fn skip(&mut self, families: &Families) {
        if self.ended {
            return;
        }
        let mut rest = self.page.get(self.at..).unwrap_or_default();
        let mut passed = (0, 0);
        loop {
            // Mostly this is one more of the family that was passed last.
            let beginning = families.beginning(rest);
            if beginning != passed || beginning.0 == 0 {
                if !self.is_unwanted(rest, families) {
                    break;
                }
                let at_a_glance = !rest.starts_with(b"#") && !families.may_contain(rest);
                passed = if at_a_glance { beginning } else { (0, 0) };
            }
            match memchr::memchr(b'\n', rest) {
                Some(length) if length <= self.limits.line_bytes => {
                    self.line += 1;
                    rest = rest.get(length + 1..).unwrap_or_default();
                }
                _ => break,
            }
        }
        self.at = self.page.len() - rest.len();
    }

    /// Whether `line` begins with the name of a family that is not wanted.
    fn is_unwanted(&self, line: &[u8], families: &Families) -> bool {
        let name = match line {
            [b'#', b' ', b'H', b'E', b'L', b'P', b' ', name @ ..]
            | [b'#', b' ', b'T', b'Y', b'P', b'E', b' ', name @ ..] => name,
            _ => line,
        };
        // What does not begin with a name, such as one in quotes, is not for a glance.
        name.first().is_some_and(|byte| in_metric_name(*byte))
            && !(families.may_contain(name)
                // More of the family that was read last is wanted too.
                && (self.fast.has_name_of(line) || families.contain_name_of(name)))
    }

    /// An error in a line, after which reading goes on, unless there were too many.
    fn fault(&mut self, line: &[u8], at: usize, problem: Problem) -> LineError {
        if problem.is_final() {
            return self.end_with(line, at, problem);
        }
        if self.errors == self.limits.errors {
            return self.end_with(line, at, Problem::TooManyErrors(self.limits.errors));
        }
        self.errors += 1;
        LineError::new(self.line, line, at, problem)
    }

    /// At the end of the page.
    fn end(&mut self) -> Option<Result<Item<'page>, LineError>> {
        self.done = true;
        let problem = if self.too_long {
            Problem::PageTooLong(self.limits.page_bytes)
        } else if self.format == Format::OpenMetrics && !self.ended {
            Problem::NoEnd
        } else {
            return None;
        };
        Some(Err(self.end_with(b"", 0, problem)))
    }

    fn end_with(&mut self, line: &[u8], at: usize, problem: Problem) -> LineError {
        self.done = true;
        LineError::new(self.line, line, at, problem)
    }
}

impl<'page> Iterator for Parser<'page> {
    type Item = Result<Item<'page>, LineError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if let Some(families) = self.families {
            self.skip(families);
        }
        self.look_ahead();
        let next = self.text.as_bytes().get(self.at - self.text_at);
        if next == Some(&b'#') && !self.ended {
            let item = fast::metadata(self.text, self.at - self.text_at, &self.limits, self.format);
            if let Some((item, end)) = item
                && self.wants(&item)
            {
                self.line += 1;
                self.at = self.text_at + end + 1;
                return Some(Ok(item));
            }
            return self.read();
        }
        // What follows `# EOF` is wrong, however well it reads.
        if self.samples < self.limits.samples
            && !self.ended
            && let Some(end) = self.fast.read(self.text, self.at - self.text_at, &self.limits)
        {
            self.line += 1;
            self.at = self.text_at + end + 1;
            self.samples += 1;
            return Some(Ok(Item::Sample(Sample {
                name: Cow::Borrowed(self.fast.name()),
                labels: self.fast.labels(),
                value: self.fast.value(),
                timestamp_millis: None,
                exemplar: "",
            })));
        }
        self.read()
    }
}

impl std::iter::FusedIterator for Parser<'_> {}

/// What of the first few thousand bytes of `page` is UTF-8.
#[inline(never)]
fn utf8(page: &[u8]) -> &str {
    /// Few enough to be read again from the nearest cache.
    const PIECE: usize = 4 << 10;
    let piece = page.get(..PIECE).unwrap_or(page);
    simdutf8::compat::from_utf8(piece).unwrap_or_else(|error| {
        let valid = piece.get(..error.valid_up_to()).unwrap_or_default();
        std::str::from_utf8(valid).unwrap_or_default()
    })
}

/// The format of `page`, from its end.
fn detect(page: &[u8]) -> Format {
    let page = page.strip_suffix(b"\n").unwrap_or(page);
    match page.strip_suffix(b"# EOF") {
        Some(before) if before.is_empty() || before.ends_with(b"\n") => Format::OpenMetrics,
        _ => Format::Prometheus,
    }
}

/// Why `page` is no page of metrics at all, as far as its start tells.
fn no_text(page: &[u8]) -> Option<Problem> {
    const GZIP: &[u8] = &[0x1f, 0x8b];
    const ZSTANDARD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    if page.starts_with(GZIP) || page.starts_with(ZSTANDARD) {
        Some(Problem::Compressed)
    } else if page.trim_ascii_start().starts_with(b"<") {
        Some(Problem::Html)
    } else {
        None
    }
}
