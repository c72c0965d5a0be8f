use crate::error::{Problem, QueryError, Span};
use crate::text::unquote;

/// The smallest part of a query that means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A name or a keyword; may have `:` in it.
    Word(&'a str),
    /// A number as it is written.
    Number(&'a str),
    /// A duration as it is written.
    Duration(&'a str),
    /// A quoted text, its escapes resolved.
    Text(String),
    Sign(&'static str),
    End,
}

/// Splits a query into tokens, one at a time.
#[derive(Clone, Debug)]
pub(crate) struct Tokens<'a> {
    pub(crate) text: &'a str,
    at: usize,
    /// In `[…]` a `:` parts range and step; elsewhere it is part of a name.
    pub(crate) in_brackets: bool,
}

/// The longer ones first.
const SIGNS: &[&str] = &[
    "==", "!=", "=~", "!~", "<=", ">=", "<", ">", "=", "+", "-", "*", "/", "%", "^", "(", ")", "{", "}", "[",
    "]", ",", "@",
];

/// The units of durations in the only order in which they may follow each other.
const UNITS: &[&str] = &["y", "w", "d", "h", "m", "s", "ms"];

impl<'a> Tokens<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            in_brackets: false,
        }
    }

    /// The next token and where it stands; [`Token::End`] for ever after the last.
    pub(crate) fn next(&mut self) -> Result<(Token<'a>, Span), QueryError> {
        self.skip_blanks();
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        let Some(first) = rest.chars().next() else {
            return Ok((Token::End, Span { start, end: start }));
        };
        let (token, length) = match first {
            '"' | '\'' | '`' => {
                let (text, length) = unquote(rest).map_err(|(at, length, problem)| {
                    let start = start + at;
                    let end = start + length;
                    QueryError::new(self.text, Span { start, end }, problem)
                })?;
                (Token::Text(text), length)
            }
            '0'..='9' | '.' => {
                let length = number_length(rest);
                (self.number(start, length)?, length)
            }
            ':' if self.in_brackets => (Token::Sign(":"), 1),
            _ if is_word_start(first) => {
                let end = |c| !(is_word_start(c) || c.is_ascii_digit()) || (c == ':' && self.in_brackets);
                let length = rest.find(end).unwrap_or(rest.len());
                (Token::Word(rest.get(..length).unwrap_or_default()), length)
            }
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => (Token::Sign(sign), sign.len()),
                None => {
                    let end = start + first.len_utf8();
                    let problem = Problem::Character(first);
                    return Err(QueryError::new(self.text, Span { start, end }, problem));
                }
            },
        };
        self.at = start + length;
        Ok((token, Span { start, end: self.at }))
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            // Prometheus ends a comment at either of the two.
            self.at += trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
        }
    }

    fn number(&self, start: usize, length: usize) -> Result<Token<'a>, QueryError> {
        let end = start + length;
        let written = self.text.get(start..end).unwrap_or_default();
        if is_number(written) {
            Ok(Token::Number(written))
        } else if is_duration(written) {
            Ok(Token::Duration(written))
        } else {
            let problem = Problem::Number(written.chars().take(32).collect());
            Err(QueryError::new(self.text, Span { start, end }, problem))
        }
    }
}

impl Token<'_> {
    /// For a message.
    pub(crate) fn describe(&self) -> String {
        let short = |text: &str| text.chars().take(40).collect::<String>();
        match self {
            Self::Word(text) | Self::Number(text) | Self::Duration(text) => format!("{:?}", short(text)),
            Self::Sign(text) => format!("{text:?}"),
            Self::Text(text) => format!("the text {:?}", short(text)),
            Self::End => "the end".to_owned(),
        }
    }
}

const fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':'
}

/// How long the run is that was meant as a number: digits, letters, dots, and a sign behind an exponent.
fn number_length(text: &str) -> usize {
    let is_hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    let mut exponent = false;
    for (at, c) in text.char_indices() {
        match c {
            '+' | '-' if exponent => {}
            _ if c.is_ascii_alphanumeric() || c == '_' || c == '.' => {}
            _ => return at,
        }
        exponent = matches!(c, 'e' | 'E') && !is_hexadecimal;
    }
    text.len()
}

fn is_number(written: &str) -> bool {
    match written.strip_prefix("0x").or_else(|| written.strip_prefix("0X")) {
        Some(digits) => {
            !digits.is_empty() && digits.len() <= 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        }
        // Rust's own words for infinity and NaN begin with letters and do not come here.
        None => written.parse::<f64>().is_ok_and(f64::is_finite),
    }
}

fn is_duration(written: &str) -> bool {
    let mut rest = written;
    let mut units = UNITS;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let length = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(length);
        let place = units.iter().position(|known| *known == unit);
        let (Some(place), true) = (place, number.parse::<u32>().is_ok()) else {
            return false;
        };
        units = units.get(place + 1..).unwrap_or_default();
        rest = after;
    }
    !written.is_empty()
}
