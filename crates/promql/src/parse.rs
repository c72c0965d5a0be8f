use crate::checked::{Checked, MatchOp, Matcher, Piece, Selector, is_plain_label};
use crate::error::{Problem, QueryError, Span};
use crate::text::quote;
use crate::token::{Token, Tokens};
use crate::{MAX_DEPTH, MAX_LENGTH};

/// Whether `text` is an instant query in PromQL, and what it selects.
///
/// # Errors
///
/// What is wrong with it, and where: not PromQL, too long, too deeply nested, or a query whose result
/// is a range or a text.
pub fn check_query(text: &str) -> Result<Checked, QueryError> {
    let whole = Span {
        start: 0,
        end: text.len(),
    };
    if text.len() > MAX_LENGTH {
        let problem = Problem::TooLong { bytes: text.len() };
        return Err(QueryError::new(text, Span::default(), problem));
    }
    let mut parser = Parser {
        tokens: Tokens::new(text),
        peeked: None,
        depth: 0,
        pieces: Vec::new(),
        written: String::new(),
        unbound: Vec::new(),
    };
    if parser.peek()?.0 == Token::End {
        return Err(QueryError::new(text, whole, Problem::Empty));
    }
    parser.instant()?;
    match parser.next()? {
        (Token::End, _) => {
            parser.pieces.push(Piece::Text(parser.written));
            Ok(Checked {
                text: text.into(),
                pieces: parser.pieces,
                unbound: parser.unbound,
            })
        }
        (found, span) => Err(parser.expected("an operator or the end", &found, span)),
    }
}

/// Keywords that cannot stand where a value is expected. Prometheus allows most of them as names of
/// metrics; whoever has such a metric writes `{__name__="by"}`.
const RESERVED: &[&str] = &[
    "and",
    "or",
    "unless",
    "atan2",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
];

const AGGREGATIONS: &[&str] = &[
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "count_values",
    "quantile",
    "limitk",
    "limit_ratio",
];

/// `info` joins labels of series that it finds by itself.
const UNBOUND_FUNCTIONS: &[&str] = &["info"];

/// What a part of a query gives, as far as it matters for what may stand behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A selector without a range.
    Selector,
    /// A selector with a range, or a subquery.
    Range,
    Text,
    /// Numbers or instant vectors otherwise.
    Other,
}

/// Reads a query by recursive descent. Precedence does not matter: tokens keep their order.
struct Parser<'a> {
    tokens: Tokens<'a>,
    peeked: Option<(Token<'a>, Span)>,
    depth: usize,
    pieces: Vec<Piece>,
    /// What comes behind the last piece.
    written: String,
    unbound: Vec<(String, Span)>,
}

impl<'a> Parser<'a> {
    /// An expression that gives numbers or an instant vector.
    fn instant(&mut self) -> Result<(), QueryError> {
        let start = self.peek()?.1.start;
        let kind = self.expression()?;
        self.must_be_instant(kind, start)
    }

    fn must_be_instant(&mut self, kind: Kind, start: usize) -> Result<(), QueryError> {
        let problem = match kind {
            Kind::Selector | Kind::Other => return Ok(()),
            Kind::Range => Problem::Range,
            Kind::Text => Problem::Text,
        };
        let end = self.peek()?.1.start;
        Err(self.error(Span { start, end }, problem))
    }

    /// Operands with operators between them.
    fn expression(&mut self) -> Result<Kind, QueryError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let span = self.peek()?.1;
            return Err(self.error(span, Problem::TooDeep));
        }
        let mut start = self.peek()?.1.start;
        let mut kind = self.operand()?;
        while let Some(operator) = self.operator()? {
            self.must_be_instant(kind, start)?;
            self.next()?;
            self.write(&format!(" {operator} "));
            let compares = matches!(operator.as_str(), "==" | "!=" | "<" | ">" | "<=" | ">=");
            if compares && self.word()? == Some("bool") {
                self.next()?;
                self.write("bool ");
            }
            self.matching()?;
            start = self.peek()?.1.start;
            kind = self.operand()?;
            self.must_be_instant(kind, start)?;
            kind = Kind::Other;
        }
        self.depth -= 1;
        Ok(kind)
    }

    /// The operator that comes next, in lower case.
    fn operator(&mut self) -> Result<Option<String>, QueryError> {
        let operator = match &self.peek()?.0 {
            Token::Sign(
                sign @ ("+" | "-" | "*" | "/" | "%" | "^" | "==" | "!=" | "<=" | ">=" | "<" | ">"),
            ) => *sign,
            Token::Word(word) => *word,
            _ => return Ok(None),
        };
        let operator = operator.to_ascii_lowercase();
        let is_one = !operator.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':')
            || matches!(operator.as_str(), "and" | "or" | "unless" | "atan2");
        Ok(is_one.then_some(operator))
    }

    /// `on (…)` or `ignoring (…)`, with `group_left (…)` or `group_right (…)`.
    fn matching(&mut self) -> Result<(), QueryError> {
        let Some(word @ ("on" | "ignoring")) = self.word()? else {
            return Ok(());
        };
        self.next()?;
        self.write(word);
        self.labels()?;
        self.write(" ");
        if let Some(word @ ("group_left" | "group_right")) = self.word()? {
            self.next()?;
            self.write(word);
            if self.peek()?.0 == Token::Sign("(") {
                self.labels()?;
            }
            self.write(" ");
        }
        Ok(())
    }

    /// Signs, a value, and what modifies it.
    fn operand(&mut self) -> Result<Kind, QueryError> {
        let mut signed = false;
        while let Token::Sign(sign @ ("+" | "-")) = self.peek()?.0 {
            self.next()?;
            self.write(sign);
            signed = true;
        }
        let start = self.peek()?.1.start;
        let mut kind = self.value()?;
        let mut is_bare = true;
        loop {
            let span = self.peek()?.1;
            if self.peek()?.0 == Token::Sign("[") {
                kind = self.range(kind, is_bare, start)?;
                is_bare = true;
                continue;
            }
            let modifier = if self.word()? == Some("offset") {
                "offset"
            } else if self.peek()?.0 == Token::Sign("@") {
                "@"
            } else {
                break;
            };
            if !matches!(kind, Kind::Selector | Kind::Range) {
                return Err(self.error(span, Problem::ModifierOfOther(modifier)));
            }
            self.next()?;
            self.write(&format!(" {modifier} "));
            self.moment(modifier)?;
            is_bare = false;
        }
        if signed {
            self.must_be_instant(kind, start)?;
            kind = Kind::Other;
        }
        Ok(kind)
    }

    /// A number, a text, a selector, a call, an aggregation or something in parentheses.
    fn value(&mut self) -> Result<Kind, QueryError> {
        let (token, span) = self.next()?;
        match token {
            Token::Number(text) | Token::Duration(text) => {
                self.write(text);
                Ok(Kind::Other)
            }
            Token::Text(text) => {
                self.write_quoted(&text);
                Ok(Kind::Text)
            }
            Token::Sign("(") => {
                self.write("(");
                let kind = self.expression()?;
                self.sign(")", "\")\"")?;
                // `(x)[5m]` is no range, and `(x) offset 5m` no offset, of a selector.
                Ok(if kind == Kind::Selector { Kind::Other } else { kind })
            }
            Token::Sign("{") => self.selector(None, span),
            Token::Word(word) => self.named(word, span),
            found => Err(self.expected("a value (a selector, a call, a number)", &found, span)),
        }
    }

    fn named(&mut self, word: &'a str, span: Span) -> Result<Kind, QueryError> {
        let lower = word.to_ascii_lowercase();
        if RESERVED.contains(&lower.as_str()) {
            return Err(self.expected("a value (a selector, a call, a number)", &Token::Word(word), span));
        }
        let is_call = self.peek()?.0 == Token::Sign("(");
        let is_grouped = matches!(self.word()?, Some("by" | "without"));
        if AGGREGATIONS.contains(&lower.as_str()) && (is_call || is_grouped) {
            return self.aggregation(&lower);
        }
        if is_call {
            if word.contains(':') {
                return Err(self.expected("the name of a function", &Token::Word(word), span));
            }
            return self.call(word, span);
        }
        if matches!(lower.as_str(), "inf" | "nan") {
            self.write(word);
            return Ok(Kind::Other);
        }
        if self.peek()?.0 == Token::Sign("{") {
            self.next()?;
        } else {
            self.write_selector(Selector {
                name: Some(word.to_owned()),
                matchers: Vec::new(),
            });
            return Ok(Kind::Selector);
        }
        self.selector(Some(word), span)
    }

    fn call(&mut self, function: &str, span: Span) -> Result<Kind, QueryError> {
        if UNBOUND_FUNCTIONS.contains(&function.to_ascii_lowercase().as_str()) {
            self.unbound.push((function.to_owned(), span));
        }
        self.write(function);
        self.sign("(", "\"(\"")?;
        if self.peek()?.0 != Token::Sign(")") {
            self.expression()?;
            while self.peek()?.0 == Token::Sign(",") {
                self.next()?;
                self.write(", ");
                self.expression()?;
            }
        }
        self.sign(")", "\",\" or \")\"")?;
        Ok(Kind::Other)
    }

    /// The arguments of an aggregation; its labels may stand before or after them.
    fn aggregation(&mut self, name: &str) -> Result<Kind, QueryError> {
        self.write(name);
        let grouped = self.grouping()?;
        if grouped {
            self.write(" ");
        }
        self.sign("(", "\"(\"")?;
        let mut start = self.peek()?.1.start;
        let mut kind = self.expression()?;
        if self.peek()?.0 == Token::Sign(",") {
            self.next()?;
            self.write(", ");
            start = self.peek()?.1.start;
            kind = self.expression()?;
        }
        self.must_be_instant(kind, start)?;
        self.sign(")", "\")\"")?;
        if !grouped {
            self.grouping()?;
        }
        Ok(Kind::Other)
    }

    fn grouping(&mut self) -> Result<bool, QueryError> {
        let Some(word @ ("by" | "without")) = self.word()? else {
            return Ok(false);
        };
        self.next()?;
        self.write(" ");
        self.write(word);
        self.labels()?;
        Ok(true)
    }

    /// `(a, b)`
    fn labels(&mut self) -> Result<(), QueryError> {
        self.write(" ");
        self.sign("(", "\"(\" and labels")?;
        let mut is_first = true;
        while self.peek()?.0 != Token::Sign(")") {
            if !is_first {
                match self.next()? {
                    (Token::Sign(","), _) => {}
                    (found, span) => return Err(self.expected("\",\" or \")\"", &found, span)),
                }
                // A comma at the end is allowed, and not needed.
                if self.peek()?.0 == Token::Sign(")") {
                    break;
                }
                self.write(", ");
            }
            is_first = false;
            match self.next()? {
                (Token::Word(label), _) if is_plain_label(label) => self.write(label),
                (Token::Text(label), _) if !label.is_empty() => {
                    if is_plain_label(&label) {
                        self.write(&label);
                    } else {
                        self.write_quoted(&label);
                    }
                }
                (found, span) => return Err(self.expected("a label", &found, span)),
            }
        }
        self.sign(")", "\",\" or \")\"")
    }

    /// The matchers of a selector, from behind its `{` on.
    fn selector(&mut self, name: Option<&str>, start: Span) -> Result<Kind, QueryError> {
        let mut matchers = Vec::new();
        let mut quoted_name = false;
        loop {
            let (token, span) = self.next()?;
            let label = match token {
                Token::Sign("}") => break,
                Token::Word(label) if is_plain_label(label) => label.to_owned(),
                Token::Text(text) if !text.is_empty() => {
                    let comes_matcher = matches!(self.peek()?.0, Token::Sign("=" | "!=" | "=~" | "!~"));
                    if !comes_matcher {
                        if name.is_some() || quoted_name {
                            return Err(self.error(span, Problem::SecondName));
                        }
                        quoted_name = true;
                        matchers.push(Matcher {
                            label: "__name__".to_owned(),
                            op: MatchOp::Equal,
                            value: text,
                            span,
                        });
                        if self.ends()? {
                            break;
                        }
                        continue;
                    }
                    text
                }
                found => return Err(self.expected("a label or \"}\"", &found, span)),
            };
            let (token, op_span) = self.next()?;
            let op = match &token {
                Token::Sign(sign) => MatchOp::of_sign(sign),
                _ => None,
            };
            let Some(op) = op else {
                return Err(self.expected("=, !=, =~ or !~", &token, op_span));
            };
            let (value, end) = match self.next()? {
                (Token::Text(value), span) => (value, span.end),
                (found, span) => return Err(self.expected("a text in quotes", &found, span)),
            };
            let start = span.start;
            matchers.push(Matcher {
                label,
                op,
                value,
                span: Span { start, end },
            });
            if self.ends()? {
                break;
            }
        }
        if name.is_none() && matchers.is_empty() {
            return Err(self.error(start, Problem::SelectsEverything));
        }
        self.write_selector(Selector {
            name: name.map(str::to_owned),
            matchers,
        });
        Ok(Kind::Selector)
    }

    /// What stands behind a matcher: `,`, or the `}` that ends them.
    fn ends(&mut self) -> Result<bool, QueryError> {
        match self.next()? {
            (Token::Sign("}"), _) => Ok(true),
            (Token::Sign(","), _) => Ok(false),
            (found, span) => Err(self.expected("\",\" or \"}\"", &found, span)),
        }
    }

    /// `[5m]` or `[5m:30s]`
    fn range(&mut self, of: Kind, is_bare: bool, start: usize) -> Result<Kind, QueryError> {
        let (_, opening) = self.next()?;
        self.tokens.in_brackets = true;
        self.write("[");
        self.length("a duration such as 5m")?;
        let is_subquery = self.peek()?.0 == Token::Sign(":");
        if is_subquery {
            self.next()?;
            self.write(":");
            if self.peek()?.0 != Token::Sign("]") {
                self.length("a duration such as 30s, or \"]\"")?;
            }
        }
        let end = self.peek()?.1.end;
        self.sign("]", "\"]\" or \":\"")?;
        self.tokens.in_brackets = false;
        let span = Span {
            start: opening.start,
            end,
        };
        if is_subquery {
            self.must_be_instant(of, start)?;
        } else if of != Kind::Selector || !is_bare {
            return Err(self.error(span, Problem::RangeOfOther));
        }
        Ok(Kind::Range)
    }

    fn length(&mut self, expected: &'static str) -> Result<(), QueryError> {
        match self.next()? {
            (Token::Number(text) | Token::Duration(text), _) => {
                self.write(text);
                Ok(())
            }
            (found, span) => Err(self.expected(expected, &found, span)),
        }
    }

    /// What stands behind `offset` or `@`.
    fn moment(&mut self, modifier: &'static str) -> Result<(), QueryError> {
        if let Token::Sign(sign @ ("+" | "-")) = self.peek()?.0 {
            self.next()?;
            self.write(sign);
        } else if modifier == "@"
            && let Some(word @ ("start" | "end")) = self.word()?
        {
            self.next()?;
            self.write(word);
            self.sign("(", "\"(\"")?;
            return self.sign(")", "\")\"");
        }
        match (self.next()?, modifier) {
            ((Token::Number(text), _), _) | ((Token::Duration(text), _), "offset") => {
                self.write(text);
                Ok(())
            }
            ((found, span), "offset") => Err(self.expected("a duration such as 5m", &found, span)),
            ((found, span), _) => {
                Err(self.expected("a time in seconds since 1970, start() or end()", &found, span))
            }
        }
    }

    /// The next token must be `sign`.
    fn sign(&mut self, sign: &'static str, expected: &'static str) -> Result<(), QueryError> {
        match self.next()? {
            (Token::Sign(found), _) if found == sign => {
                self.write(sign);
                Ok(())
            }
            (found, span) => Err(self.expected(expected, &found, span)),
        }
    }

    /// The keyword that comes next, if one of those that are asked for does; they have no case.
    fn word(&mut self) -> Result<Option<&'static str>, QueryError> {
        const KEYWORDS: &[&str] = &[
            "by",
            "without",
            "on",
            "ignoring",
            "group_left",
            "group_right",
            "bool",
            "offset",
            "start",
            "end",
        ];
        Ok(match self.peek()?.0 {
            Token::Word(word) => KEYWORDS
                .iter()
                .copied()
                .find(|known| word.eq_ignore_ascii_case(known)),
            _ => None,
        })
    }

    fn peek(&mut self) -> Result<&(Token<'a>, Span), QueryError> {
        let token = match self.peeked.take() {
            Some(token) => token,
            None => self.tokens.next()?,
        };
        Ok(self.peeked.insert(token))
    }

    fn next(&mut self) -> Result<(Token<'a>, Span), QueryError> {
        match self.peeked.take() {
            Some(token) => Ok(token),
            None => self.tokens.next(),
        }
    }

    fn write(&mut self, text: &str) {
        self.written.push_str(text);
    }

    fn write_quoted(&mut self, text: &str) {
        let mut quoted = String::new();
        quote(text, &mut quoted);
        self.write(&quoted);
    }

    fn write_selector(&mut self, selector: Selector) {
        let before = std::mem::take(&mut self.written);
        self.pieces.push(Piece::Text(before));
        self.pieces.push(Piece::Selector(selector));
    }

    fn expected(&self, expected: &'static str, found: &Token<'_>, span: Span) -> QueryError {
        let found = found.describe();
        self.error(span, Problem::Expected { expected, found })
    }

    fn error(&self, span: Span, problem: Problem) -> QueryError {
        QueryError::new(self.tokens.text, span, problem)
    }
}
