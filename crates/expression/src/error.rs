use std::fmt;

use crate::{Dimension, MAX_DEPTH, MAX_LENGTH, MAX_NODES, TroubleKind};

/// Why a text is no expression, and where.
///
/// Shown as one line that says what is wrong and what is allowed, the line of the text that it is
/// about, and a caret under the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} (at {})\n{}", self.position(), self.caret())]
pub struct ExpressionError {
    text: Box<str>,
    span: Span,
    problem: Box<Problem>,
}

/// A part of an expression's text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Where it begins.
    pub start: usize,
    /// Where it ends; the first byte that is not in it.
    pub end: usize,
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nothing but blanks.
    #[error("the expression is empty; it needs a number, a name or a call such as max(a, b)")]
    Empty,
    /// More text than is read.
    #[error("the expression is {bytes} bytes long; at most {MAX_LENGTH} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Nested too deeply.
    #[error("the expression is nested more than {MAX_DEPTH} deep here, which is the most allowed")]
    TooDeep,
    /// Too many parts.
    #[error(
        "the expression has more than {MAX_NODES} numbers, names, operators and calls, which is the most allowed"
    )]
    TooLarge,
    /// A character that is no part of the language.
    #[error("{found:?} means nothing here{}; allowed are numbers, names, + - * / < <= > >= == != && || ! and parentheses",
        instead.map_or_else(String::new, |instead| format!(", {instead}")))]
    Character {
        /// The character.
        found: char,
        /// What may have been meant.
        instead: Option<&'static str>,
    },
    /// Something that begins like a number.
    #[error(
        "{found:?} is no number; numbers are such as 5, 0.8, 1e9 or 80%, or end in k, M, G, T, Ki, Mi, Gi or Ti"
    )]
    Number {
        /// How it is written.
        found: String,
    },
    /// A word or sign where another is needed.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What is allowed here.
        expected: &'static str,
        /// What stands here.
        found: String,
    },
    /// `a < b < c`.
    #[error("comparisons do not chain; write two of them with && between")]
    ChainedComparison,
    /// A name that is not declared.
    #[error("unknown name {name:?}{}; {}", Nearest(nearest), Allowed("names", allowed))]
    UnknownName {
        /// The name.
        name: String,
        /// The declared names that look most like it.
        nearest: Vec<String>,
        /// All declared names.
        allowed: Vec<String>,
    },
    /// A call of something that is no function.
    #[error(
        "unknown function {name:?}{}; {}",
        Nearest(nearest),
        Allowed("functions", allowed)
    )]
    UnknownFunction {
        /// The function.
        name: String,
        /// The functions that look most like it.
        nearest: Vec<String>,
        /// All functions.
        allowed: Vec<String>,
    },
    /// Too few or too many arguments.
    #[error("{usage} does not take {count} argument{}", if *count == 1 { "" } else { "s" })]
    Arity {
        /// How the function is called.
        usage: &'static str,
        /// How many arguments there are.
        count: usize,
    },
    /// Numbers of different units where they must have the same.
    #[error(
        "{operation} needs equal units, but {left} is in {left_unit} (at {left_at}) and {right} in {right_unit} (at {right_at}); \
         divide each by what one replica carries, such as a/5, which gives a ratio"
    )]
    UnitsDiffer {
        /// The operator or function.
        operation: &'static str,
        /// The first operand.
        left: String,
        /// Its unit.
        left_unit: Dimension,
        /// Its position in the text, from 1.
        left_at: usize,
        /// The operand that does not fit.
        right: String,
        /// Its unit.
        right_unit: Dimension,
        /// Its position in the text, from 1.
        right_at: usize,
    },
    /// A condition where a number is needed.
    #[error("{place} needs a number, but {found} is a condition; if({found}, 1, 0) makes it a number")]
    NeedsNumber {
        /// What needs it.
        place: &'static str,
        /// The condition.
        found: String,
    },
    /// A number where a condition is needed.
    #[error(
        "{place} needs a condition, but {found} is a number; a comparison such as {found} > 0 makes it one"
    )]
    NeedsCondition {
        /// What needs it.
        place: &'static str,
        /// The number.
        found: String,
    },
    /// One branch is a number, the other a condition.
    #[error("both branches of if must be numbers or both conditions")]
    Branches,
    /// `or` with a condition.
    #[error(
        "or is no logical operator: a or b is the number a where it is known, else b; where either condition is to do, write ||, \
         and to compare an alternative, write (a or b) > 0"
    )]
    OrOfConditions,
    /// A unit with too high a power.
    #[error(
        "the unit of this product or quotient has a power too high to be meant; at most the fourth is allowed"
    )]
    UnitPower,
    /// A part that no readings can make known.
    #[error("this can never be a number: {0}")]
    Always(TroubleKind),
}

impl ExpressionError {
    pub(crate) fn new(text: &str, span: Span, problem: Problem) -> Self {
        let mut kept = text.len().min(MAX_LENGTH);
        while !text.is_char_boundary(kept) {
            kept -= 1;
        }
        Self {
            text: text.get(..kept).unwrap_or_default().into(),
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

    /// Where, as people count: `position 5`, or `line 2, position 5` where there are lines.
    #[must_use]
    pub fn position(&self) -> String {
        let position = self.line().1 + 1;
        if self.text.contains('\n') {
            let number = self.before().matches('\n').count() + 1;
            format!("line {number}, position {position}")
        } else {
            format!("position {position}")
        }
    }

    /// The line that it is about, and one with carets under the place.
    #[must_use]
    pub fn caret(&self) -> String {
        let (line, before) = self.line();
        // Long lines are cut around the place, so that the message fits an Event.
        let skipped = before.saturating_sub(BEFORE);
        let cut = if skipped > 0 { "…" } else { "" };
        let shown: String = line
            .chars()
            .skip(skipped)
            .take(SHOWN)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let rest = if line.chars().count() > skipped + SHOWN {
            "…"
        } else {
            ""
        };
        let indent = before - skipped + cut.chars().count();
        let marked = self.text.get(self.span.start..self.span.end).unwrap_or_default();
        let wide = marked.lines().next().unwrap_or_default().chars().count();
        let most = SHOWN.saturating_sub(before - skipped);
        let carets = "^".repeat(wide.clamp(1, most.max(1)));
        format!("  {cut}{shown}{rest}\n  {}{carets}", " ".repeat(indent))
    }

    fn before(&self) -> &str {
        let mut start = self.span.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        self.text.get(..start).unwrap_or_default()
    }

    /// The line with the beginning of the span, and how many characters of it come before.
    fn line(&self) -> (&str, usize) {
        let before = self.before();
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text.get(start..).unwrap_or_default();
        let line = line.split('\n').next().unwrap_or_default();
        (line, before.get(start..).unwrap_or_default().chars().count())
    }
}

impl Span {
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// From the beginning of this to the end of the other.
    pub(crate) const fn to(self, end: Self) -> Self {
        Self::new(self.start, end.end)
    }

    /// The part of the text; empty where it is none.
    #[must_use]
    pub fn of(self, text: &str) -> &str {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// The greatest number of characters of a line that an error shows.
const SHOWN: usize = 100;
/// How many of them may come before the place.
const BEFORE: usize = 60;
/// How many look-alikes are named.
const NEAREST: usize = 3;

struct Nearest<'a>(&'a [String]);
struct Allowed<'a>(&'static str, &'a [String]);

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(out, ", did you mean {}?", self.0.join(" or "))
    }
}

impl fmt::Display for Allowed<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.1.is_empty() {
            return write!(out, "there are no {}", self.0);
        }
        write!(out, "the {} are {}", self.0, self.1.join(", "))
    }
}

/// The candidates that look most like a name, best first.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut close: Vec<_> = candidates
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(2).min(3))
        .collect();
    close.sort_unstable();
    close.truncate(NEAREST);
    close
        .into_iter()
        .map(|(_, candidate)| candidate.to_owned())
        .collect()
}

/// Levenshtein's distance of two short texts, by bytes.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, a) in one.bytes().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        for (b, above) in other.bytes().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = *above;
            left = replaced.min(diagonal + 1).min(left + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_are_found() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        let names = ["waiting", "running", "kv"];
        assert_eq!(nearest("wating", names.into_iter()), ["waiting"]);
        assert_eq!(nearest("temperature", names.into_iter()), [""; 0]);
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        let error = ExpressionError::new("max(é, wat)", Span::new(8, 11), Problem::Empty);
        assert_eq!(error.position(), "position 8");
        assert_eq!(error.caret(), "  max(é, wat)\n         ^^^");
        let error = ExpressionError::new("1 +\n\t2 + wat\n+ 3", Span::new(9, 12), Problem::Empty);
        assert_eq!(error.position(), "line 2, position 6");
        assert_eq!(error.caret(), "   2 + wat\n       ^^^");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}wat{}", "1+".repeat(100), "+1".repeat(200));
        let error = ExpressionError::new(&text, Span::new(200, 203), Problem::Empty);
        let shown = error.caret();
        let lines: Vec<_> = shown.lines().collect();
        assert!(
            lines.iter().all(|line| line.chars().count() <= SHOWN + 4),
            "{shown}"
        );
        let at = lines[1].find('^').unwrap();
        assert_eq!(lines[0].chars().skip(at).take(3).collect::<String>(), "wat");
    }
}
