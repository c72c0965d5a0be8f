use std::fmt;

use crate::{MAX_DEPTH, MAX_LENGTH};

/// Why a text is no query that can be asked, and where.
///
/// Shown as what is wrong with what is allowed, the position, and the place marked in its line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} (at {}: {})", self.position(), Marked(self))]
pub struct QueryError {
    text: Box<str>,
    span: Span,
    #[source]
    problem: Box<Problem>,
}

/// A part of a query's text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Where it begins.
    pub start: usize,
    /// Where it ends; the first byte that is not in it.
    pub end: usize,
}

/// What is wrong with a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Nothing but blanks and comments.
    #[error("the query is empty; it needs PromQL such as sum(rate(requests_total[1m]))")]
    Empty,
    /// More text than is read.
    #[error("the query is {bytes} bytes long; at most {MAX_LENGTH} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Nested too deeply.
    #[error("the query is nested more than {MAX_DEPTH} deep here, which is the most allowed")]
    TooDeep,
    /// A character that is no part of PromQL.
    #[error("{0:?} means nothing in PromQL")]
    Character(char),
    /// A quoted text without its end.
    #[error("the closing {0} is missing")]
    Quote(char),
    /// A backslash with something that it does not stand before.
    #[error(
        "no escape; allowed are \\a \\b \\f \\n \\r \\t \\v \\\\ \\' \\\", and \\123, \\x7f, \\u1234, \\U00012345 for characters"
    )]
    Escape,
    /// Something that begins like a number.
    #[error(
        "{0:?} is neither a number such as 5, 0.8, 1e9 or 0x1f nor a duration such as 30s, 5m or 1h30m (units from the largest to the smallest, each once)"
    )]
    Number(String),
    /// A word or sign where another is needed.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What is allowed here.
        expected: &'static str,
        /// What stands here.
        found: String,
    },
    /// `{}`.
    #[error("a selector without a name and without matchers selects everything; name a metric or a label")]
    SelectsEverything,
    /// `foo{"bar"}` and the like.
    #[error("the selector has a second metric name; one is allowed")]
    SecondName,
    /// `[5m]` behind something that is no selector.
    #[error(
        "only a selector can have a range such as [5m]; a subquery such as [5m:30s] can stand behind anything that gives an instant vector"
    )]
    RangeOfOther,
    /// `offset` or `@` behind something else than a selector or a subquery.
    #[error("{0} can only stand behind a selector or a subquery")]
    ModifierOfOther(&'static str),
    /// A range where an instant value is needed.
    #[error(
        "this is a range of samples; an instant value is needed here, such as rate(…) or max_over_time(…) of it"
    )]
    Range,
    /// A text where a number or a vector is needed.
    #[error("this is a text; a number or an instant vector is needed here")]
    Text,
    /// A matcher of the enforced label that asks for something else.
    #[error(
        "the query may only see {label}={value:?}, which Rheostat adds itself; leave the matcher of {label} out"
    )]
    Conflict {
        /// The enforced label.
        label: String,
        /// Its only value.
        value: String,
    },
    /// Something that can reach series beside the enforced matcher.
    #[error("{what} cannot be used where the queries of a server are bound to a namespace, because {why}")]
    Unbound {
        /// The function or label.
        what: String,
        /// How it gets around the matcher.
        why: &'static str,
    },
}

/// How much of a line is shown on either side of the place.
const AROUND: usize = 40;

impl QueryError {
    pub(crate) fn new(text: &str, span: Span, problem: Problem) -> Self {
        Self {
            text: text.get(..floor(text, MAX_LENGTH)).unwrap_or_default().into(),
            span,
            problem: Box::new(problem),
        }
    }

    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Where, in bytes of the text.
    #[must_use]
    pub const fn span(&self) -> Span {
        self.span
    }

    /// Where, as people count, from 1: `position 5`, or `line 2, position 5` where there are lines.
    #[must_use]
    pub fn position(&self) -> String {
        let before = &self.text[..self.start()];
        let line = before.matches('\n').count() + 1;
        let position = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        if self.text.contains('\n') {
            format!("line {line}, position {position}")
        } else {
            format!("position {position}")
        }
    }

    fn start(&self) -> usize {
        floor(&self.text, self.span.start)
    }
}

/// The place in its line, between `»` and `«`.
struct Marked<'a>(&'a QueryError);

impl fmt::Display for Marked<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &*self.0.text;
        let start = self.0.start();
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..]
            .find('\n')
            .map_or(text.len(), |newline| start + newline);
        let end = floor(text, self.0.span.end).clamp(start, line_end);
        let from = floor(text, start.saturating_sub(AROUND).max(line_start));
        let to = floor(text, end.saturating_add(AROUND).min(line_end)).max(end);
        let shown_end = floor(text, end.min(start.saturating_add(2 * AROUND))).max(start);
        let (cut, to) = if shown_end < end {
            ("…", shown_end)
        } else {
            ("", to)
        };
        write!(
            out,
            "{}»{}{cut}«{}",
            printable(&text[from..start]),
            printable(&text[start..shown_end]),
            printable(&text[shown_end..to])
        )
    }
}

/// `text` on one line: an error can be logged.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// `at`, or the next smaller place that is between two characters of `text`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
