use std::fmt;

use crate::error::{Problem, QueryError, Span};
use crate::text::quote;

/// A query that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// As it was written, for errors.
    pub(crate) text: Box<str>,
    pub(crate) pieces: Vec<Piece>,
    /// Functions that reach series which no selector of the query names.
    pub(crate) unbound: Vec<(String, Span)>,
}

/// What a query is put together from, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Selector(Selector),
}

/// Which series are read in one place of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The metric's name where it stands before the braces.
    pub name: Option<String>,
    /// What stands in the braces; a quoted metric name is a matcher of `__name__`.
    pub matchers: Vec<Matcher>,
}

/// A condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The label; any text where it was quoted.
    pub label: String,
    /// How the label's value must fit.
    pub op: MatchOp,
    /// What it must fit.
    pub value: String,
    /// Where it stands in the query.
    pub span: Span,
}

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl Checked {
    /// All selectors, in the order of the query.
    pub fn selectors(&self) -> impl Iterator<Item = &Selector> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Selector(selector) => Some(selector),
            Piece::Text(_) => None,
        })
    }

    /// The query in one way of writing: no comments, no needless blanks, double quotes. Queries that
    /// differ in nothing else are equal in it.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.write(&[])
    }

    /// The query with `label="value"` in every selector.
    ///
    /// # Errors
    ///
    /// The query matches the label otherwise, or uses something that the matcher does not bind: the
    /// function `info`, or labels that servers give a meaning of their own.
    pub fn enforced(&self, label: &str, value: &str) -> Result<String, QueryError> {
        if let Some((function, span)) = self.unbound.first() {
            let what = format!("the function {function}");
            let why = "it reads series that no selector of the query names";
            return Err(QueryError::new(&self.text, *span, Problem::Unbound { what, why }));
        }
        for matcher in self.selectors().flat_map(|selector| &selector.matchers) {
            let problem = if matcher.label == label {
                (matcher.op != MatchOp::Equal || matcher.value != value).then(|| Problem::Conflict {
                    label: label.to_owned(),
                    value: value.to_owned(),
                })
            } else {
                special(&matcher.label).map(|why| Problem::Unbound {
                    what: format!("the label {}", matcher.label),
                    why,
                })
            };
            if let Some(problem) = problem {
                return Err(QueryError::new(&self.text, matcher.span, problem));
            }
        }
        let enforced = Matcher {
            label: label.to_owned(),
            op: MatchOp::Equal,
            value: value.to_owned(),
            span: Span::default(),
        };
        Ok(self.write(&[enforced]))
    }

    /// As text, with `first` before each selector's own matchers, of which those that say the same
    /// are left out.
    fn write(&self, first: &[Matcher]) -> String {
        let mut out = String::with_capacity(self.text.len());
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Selector(selector) => selector.write(first, &mut out),
            }
        }
        out
    }
}

impl Selector {
    fn write(&self, first: &[Matcher], out: &mut String) {
        out.push_str(self.name.as_deref().unwrap_or_default());
        let own = self.matchers.iter().filter(|matcher| !first.contains(matcher));
        let mut matchers = first.iter().chain(own).peekable();
        if matchers.peek().is_none() {
            return;
        }
        out.push('{');
        while let Some(matcher) = matchers.next() {
            if is_plain_label(&matcher.label) {
                out.push_str(&matcher.label);
            } else {
                quote(&matcher.label, out);
            }
            out.push_str(matcher.op.sign());
            quote(&matcher.value, out);
            if matchers.peek().is_some() {
                out.push(',');
            }
        }
        out.push('}');
    }
}

impl MatchOp {
    /// As PromQL writes it.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }

    pub(crate) fn of_sign(sign: &str) -> Option<Self> {
        [Self::Equal, Self::NotEqual, Self::Regex, Self::NotRegex]
            .into_iter()
            .find(|op| op.sign() == sign)
    }
}

/// Two matchers are equal that say the same, wherever they stand.
impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.label, self.op, &self.value) == (&other.label, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Checked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.canonical())
    }
}

/// Whether `label` can be written without quotes.
pub(crate) fn is_plain_label(label: &str) -> bool {
    let mut bytes = label.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Why a label is more than a label to some server.
fn special(label: &str) -> Option<&'static str> {
    if label.starts_with("__") && label != "__name__" {
        // Such as VictoriaMetrics' __graphite__ and Mimir's __query_shard__.
        Some("labels with two leading underscores steer some servers instead of matching")
    } else if label.eq_ignore_ascii_case("or") {
        Some("VictoriaMetrics reads it as the start of another selector")
    } else {
        None
    }
}
