use crate::error::Problem;

/// The text that begins `written` in `"`, `'` or backquotes, and how many bytes it is written in.
/// An error has its place, its length and what is wrong.
pub(crate) fn unquote(written: &str) -> Result<(String, usize), (usize, usize, Problem)> {
    let Some(quote) = written.chars().next() else {
        return Err((0, 0, Problem::Quote('"')));
    };
    let mut text = String::new();
    let mut at = quote.len_utf8();
    loop {
        let rest = written.get(at..).unwrap_or_default();
        match rest.chars().next() {
            None => return Err((0, 1, Problem::Quote(quote))),
            Some(c) if c == quote => return Ok((text, at + quote.len_utf8())),
            Some('\n') if quote != '`' => return Err((0, 1, Problem::Quote(quote))),
            Some('\\') if quote != '`' => {
                let (c, length) = escape(rest).ok_or((at, 2, Problem::Escape))?;
                text.push(c);
                at += length;
            }
            Some(c) => {
                text.push(c);
                at += c.len_utf8();
            }
        }
    }
}

/// `text` in double quotes, as every server reads it.
pub(crate) fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The character that the backslash at the start of `rest` stands for, and the length of the escape.
fn escape(rest: &str) -> Option<(char, usize)> {
    let kind = rest[1..].chars().next()?;
    let simple = match kind {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' | '\'' | '"' => kind,
        '0'..='7' => return code(rest, 1, 3, 8),
        'x' => return code(rest, 2, 2, 16),
        'u' => return code(rest, 2, 4, 16),
        'U' => return code(rest, 2, 8, 16),
        _ => return None,
    };
    Some((simple, 2))
}

/// The character with the number in `digits` digits from `start` on. `\x` and octal escapes stand for
/// bytes: those above 127 are parts of characters and refused.
fn code(rest: &str, start: usize, digits: usize, radix: u32) -> Option<(char, usize)> {
    let written = rest.get(start..start + digits)?;
    if !written.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let number = u32::from_str_radix(written, radix).ok()?;
    let of_bytes = digits < 4;
    if of_bytes && number > 127 {
        return None;
    }
    Some((char::from_u32(number)?, start + digits))
}
