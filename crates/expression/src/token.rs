use crate::error::{ExpressionError, Problem, Span};
use crate::tree::Binary;

/// The smallest part of a text that means something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    Number(f64),
    Percent(f64),
    /// A name, a function or a word.
    Word(&'a str),
    Operator(Binary),
    Not,
    Open,
    Close,
    Comma,
    End,
}

/// Splits a text into tokens, one at a time.
#[derive(Clone, Debug)]
pub(crate) struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

/// What the letters behind a number multiply it by.
const SUFFIXES: &[(&str, f64)] = &[
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
];

/// Signs of one or two characters; the longer ones first.
const SIGNS: &[(&str, Token<'_>)] = &[
    ("<=", Token::Operator(Binary::LessOrEqual)),
    (">=", Token::Operator(Binary::GreaterOrEqual)),
    ("==", Token::Operator(Binary::Equal)),
    ("!=", Token::Operator(Binary::NotEqual)),
    ("&&", Token::Operator(Binary::And)),
    ("||", Token::Operator(Binary::Or)),
    ("<", Token::Operator(Binary::Less)),
    (">", Token::Operator(Binary::Greater)),
    ("+", Token::Operator(Binary::Add)),
    ("-", Token::Operator(Binary::Subtract)),
    ("*", Token::Operator(Binary::Multiply)),
    ("/", Token::Operator(Binary::Divide)),
    ("!", Token::Not),
    ("(", Token::Open),
    (")", Token::Close),
    (",", Token::Comma),
];

impl<'a> Tokens<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and where it stands; [`Token::End`] for ever after the last.
    pub(crate) fn next(&mut self) -> Result<(Token<'a>, Span), ExpressionError> {
        let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r');
        let rest = self.text.get(self.at..).unwrap_or_default();
        let trimmed = rest.trim_start_matches(blank);
        let start = self.at + (rest.len() - trimmed.len());
        let Some(first) = trimmed.chars().next() else {
            self.at = self.text.len();
            return Ok((Token::End, Span::new(self.at, self.at)));
        };
        let (token, length) = if first.is_ascii_digit() {
            let length = number_length(trimmed);
            let written = trimmed.get(..length).unwrap_or_default();
            let token = number(written).ok_or_else(|| {
                let found = written.chars().take(32).collect();
                self.error(start, length, Problem::Number { found })
            })?;
            (token, length)
        } else if is_word(first) {
            let length = trimmed.find(|c| !is_word(c)).unwrap_or(trimmed.len());
            (word(trimmed.get(..length).unwrap_or_default()), length)
        } else {
            let Some((sign, token)) = SIGNS.iter().find(|(sign, _)| trimmed.starts_with(sign)) else {
                let problem = Problem::Character {
                    found: first,
                    instead: instead(first),
                };
                return Err(self.error(start, first.len_utf8(), problem));
            };
            (*token, sign.len())
        };
        self.at = start + length;
        Ok((token, Span::new(start, self.at)))
    }

    fn error(&self, start: usize, length: usize, problem: Problem) -> ExpressionError {
        ExpressionError::new(self.text, Span::new(start, start + length), problem)
    }
}

impl Token<'_> {
    /// For a message.
    pub(crate) fn describe(self, text: &str, span: Span) -> String {
        match self {
            Self::End => "the end".to_owned(),
            _ => {
                let shown: String = span.of(text).chars().take(64).collect();
                format!("{shown:?}")
            }
        }
    }
}

const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn word(written: &str) -> Token<'_> {
    match written {
        "or" => Token::Operator(Binary::OrElse),
        "and" => Token::Operator(Binary::And),
        "not" => Token::Not,
        _ => Token::Word(written),
    }
}

/// How long the run is that was meant as a number: digits, letters, dots, one `%`, and a sign
/// behind an exponent's `e`.
fn number_length(text: &str) -> usize {
    let mut before = (None, None);
    for (at, c) in text.char_indices() {
        let exponent = matches!(before, (Some('0'..='9' | '.'), Some('e' | 'E')));
        match c {
            '%' => return at + 1,
            '+' | '-' if exponent => {}
            _ if is_word(c) || c == '.' => {}
            _ => return at,
        }
        before = (before.1, Some(c));
    }
    text.len()
}

fn number(written: &str) -> Option<Token<'static>> {
    if let Some(percent) = written.strip_suffix('%') {
        return finite(percent).map(Token::Percent);
    }
    if let Some(number) = finite(written) {
        return Some(Token::Number(number));
    }
    // The longer suffix first: what ends in `Ki` does not end in `k`.
    let (digits, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((written.strip_suffix(suffix)?, factor)))?;
    // An exponent and a suffix together are no number.
    if digits.contains(['e', 'E']) {
        return None;
    }
    finite(digits)
        .map(|number| number * factor)
        .filter(|number| number.is_finite())
        .map(Token::Number)
}

fn finite(digits: &str) -> Option<f64> {
    // Rust's own parser takes `5.` and `.5`, `inf` and `nan`; only the digits are wanted.
    let plain =
        digits.starts_with(|c: char| c.is_ascii_digit()) && !digits.ends_with('.') && !digits.contains(".e");
    digits
        .parse::<f64>()
        .ok()
        .filter(|number| plain && number.is_finite())
}

const fn instead(found: char) -> Option<&'static str> {
    match found {
        '.' => Some("names have no dot, and numbers a digit before it"),
        '=' => Some("to compare write =="),
        '&' => Some("the logical and is &&"),
        '|' => Some("the logical or is ||"),
        '%' => Some("for percent write it right behind the number, such as 80%"),
        '×' | '·' => Some("to multiply write *"),
        '÷' | ':' => Some("to divide write /"),
        '≤' => Some("write <="),
        '≥' => Some("write >="),
        '≠' => Some("write !="),
        '−' | '–' => Some("to subtract write -"),
        '^' => Some("to square a write a*a"),
        '?' => Some("to choose write if(condition, then, else)"),
        '[' | '{' => Some("write ( instead"),
        ']' | '}' => Some("write ) instead"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token<'_>>, ExpressionError> {
        let mut tokens = Tokens::new(text);
        let mut all = Vec::new();
        loop {
            match tokens.next()? {
                (Token::End, _) => return Ok(all),
                (token, _) => all.push(token),
            }
        }
    }

    #[test]
    fn numbers_as_they_are_written() {
        for (text, number) in [
            ("5", 5.0),
            ("0.8", 0.8),
            ("1e9", 1e9),
            ("1.5E-3", 1.5e-3),
            ("2e+2", 200.0),
            ("20Gi", 20.0 * 1_073_741_824.0),
            ("1.5k", 1500.0),
            ("4Ki", 4096.0),
            ("3T", 3e12),
            ("007", 7.0),
        ] {
            assert_eq!(tokens(text).unwrap(), [Token::Number(number)], "{text}");
        }
        assert_eq!(tokens("80%").unwrap(), [Token::Percent(80.0)]);
        assert_eq!(tokens("1-2").unwrap().len(), 3);
    }

    #[test]
    fn what_is_no_number_is_refused_whole() {
        for text in [
            "5.", "1e999", "1e", "1e5Gi", "0x10", "5m", "1_000", "5Kb", "1.2.3", "9x%", "1.e3", "1e308T",
        ] {
            let error = tokens(text).unwrap_err();
            assert_eq!(error.span(), Span::new(0, text.len()), "{text}");
            assert!(matches!(error.problem(), Problem::Number { .. }), "{text}");
        }
    }

    #[test]
    fn signs_and_words() {
        use Binary::{And, GreaterOrEqual, LessOrEqual, NotEqual, Or, OrElse, Subtract};
        assert_eq!(
            tokens("a<=b>=!=&&||-!").unwrap(),
            [
                Token::Word("a"),
                Token::Operator(LessOrEqual),
                Token::Word("b"),
                Token::Operator(GreaterOrEqual),
                Token::Operator(NotEqual),
                Token::Operator(And),
                Token::Operator(Or),
                Token::Operator(Subtract),
                Token::Not,
            ]
        );
        assert_eq!(
            tokens("or and not order").unwrap(),
            [
                Token::Operator(OrElse),
                Token::Operator(And),
                Token::Not,
                Token::Word("order")
            ]
        );
    }
}
