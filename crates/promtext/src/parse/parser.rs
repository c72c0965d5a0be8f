use super::error::{Fault, LineError, Problem};
use super::line::Line;
use super::metadata::metadata;
use super::{Families, Item, Limits};
use crate::Format;

/// Reads a page line by line.
///
/// A line that cannot be read is an error with its position, and reading goes on with the next line: a
/// page from an engine that is half dead yields what is whole and says what is not. After an error that
/// [is final](LineError::is_final) nothing follows.
#[derive(Clone, Debug)]
pub struct Parser<'page> {
    page: &'page [u8],
    /// Where the next line begins.
    at: usize,
    /// Number of the line that was read last.
    line: usize,
    format: Format,
    limits: Limits,
    families: Option<&'page Families>,
    complete: bool,
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
        Self {
            page,
            at: 0,
            line: 0,
            format: detect(page),
            limits: *limits,
            families,
            complete: false,
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

    /// What the next line says; `None` where it says nothing or is not wanted.
    fn line(&mut self, line: &'page [u8]) -> Result<Option<Item<'page>>, Fault> {
        let first = line.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
        let first = first.and_then(|first| line.get(first));
        let text = match std::str::from_utf8(line) {
            Ok(text) => text,
            Err(error) => {
                return Err(Fault {
                    at: error.valid_up_to(),
                    problem: Problem::NotUtf8,
                });
            }
        };
        let item = match first {
            None if self.format == Format::Prometheus => return Ok(None),
            None => {
                return Err(Fault {
                    at: 0,
                    problem: Problem::Comment,
                });
            }
            Some(b'#') => metadata(text, self.format)?,
            Some(_) => {
                if self.skips(text) {
                    return Ok(None);
                }
                Some(Item::Sample(
                    Line::new(text, self.format).sample(self.limits.labels)?,
                ))
            }
        };
        let Some(families) = self.families else {
            return Ok(item);
        };
        Ok(item.filter(|item| match item {
            Item::Sample(sample) => families.contain(&sample.name),
            Item::Type { family, .. } | Item::Help { family, .. } | Item::Unit { family, .. } => {
                families.contain(family)
            }
            Item::End => true,
        }))
    }

    /// Whether the line is a sample of a family that is not wanted.
    fn skips(&self, line: &str) -> bool {
        self.families.is_some_and(|families| {
            let end = line
                .bytes()
                .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':')));
            let name = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
            !name.is_empty() && !families.contain(name)
        })
    }

    /// What is wrong with the page as a whole, at its start.
    fn page_problem(&self) -> Option<Problem> {
        let start = self.page.trim_ascii_start();
        if start.starts_with(b"<") {
            Some(Problem::Html)
        } else if self.page.starts_with(&[0x1f, 0x8b]) || self.page.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Some(Problem::Compressed)
        } else {
            None
        }
    }

    fn end_with(&mut self, line: &[u8], at: usize, problem: Problem) -> LineError {
        self.done = true;
        LineError::new(self.line, line, at, problem)
    }
}

impl<'page> Iterator for Parser<'page> {
    type Item = Result<Item<'page>, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.at == 0
            && let Some(problem) = self.page_problem()
        {
            self.line = 1;
            return Some(Err(self.end_with(self.page, 0, problem)));
        }
        loop {
            let rest = self.page.get(self.at..).unwrap_or_default();
            if rest.is_empty() {
                self.done = true;
                self.line += 1;
                let cut = self.format == Format::OpenMetrics && !self.ended;
                return cut.then(|| Err(self.end_with(rest, 0, Problem::NoEnd)));
            }
            self.line += 1;
            let newline = memchr::memchr(b'\n', rest);
            let line = &rest[..newline.unwrap_or(rest.len())];
            if self.ended {
                return Some(Err(self.end_with(line, 0, Problem::AfterEnd)));
            }
            if line.len() > self.limits.line_bytes {
                let most = self.limits.line_bytes;
                return Some(Err(self.end_with(line, most, Problem::LineTooLong(most))));
            }
            if self.at + line.len() > self.limits.page_bytes {
                let most = self.limits.page_bytes;
                return Some(Err(self.end_with(
                    line,
                    most - self.at,
                    Problem::PageTooLong(most),
                )));
            }
            let unterminated = newline.is_none() && !self.complete && !line.trim_ascii().is_empty();
            if unterminated && !(self.format == Format::OpenMetrics && line == b"# EOF") {
                return Some(Err(self.end_with(line, line.len(), Problem::Unterminated)));
            }
            self.at += line.len() + usize::from(newline.is_some());
            match self.line(line) {
                Ok(None) => {}
                Ok(Some(Item::Sample(_))) if self.samples == self.limits.samples => {
                    let most = self.limits.samples;
                    return Some(Err(self.end_with(line, 0, Problem::TooManySamples(most))));
                }
                Ok(Some(item)) => {
                    self.samples += usize::from(matches!(item, Item::Sample(_)));
                    self.ended = item == Item::End;
                    return Some(Ok(item));
                }
                Err(Fault { problem, .. }) if self.errors == self.limits.errors && !problem.is_final() => {
                    let most = self.limits.errors;
                    return Some(Err(self.end_with(line, 0, Problem::TooManyErrors(most))));
                }
                Err(Fault { at, problem }) => {
                    self.errors += 1;
                    self.done = problem.is_final();
                    return Some(Err(LineError::new(self.line, line, at, problem)));
                }
            }
        }
    }
}

impl std::iter::FusedIterator for Parser<'_> {}

/// The format of `page`, from its end.
fn detect(page: &[u8]) -> Format {
    let page = page.strip_suffix(b"\n").unwrap_or(page);
    match page.strip_suffix(b"# EOF") {
        Some(before) if before.is_empty() || before.ends_with(b"\n") => Format::OpenMetrics,
        _ => Format::Prometheus,
    }
}
