use std::borrow::Cow;

/// `text` without its escapes: `\n`, `\\` and, where `quotes`, `\"`. An escape that the formats do not
/// have stays as it is, backslash and all. Allocates only where there is a backslash.
pub(super) fn unescape(text: &str, quotes: bool) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', text.as_bytes()) else {
        return Cow::Borrowed(text);
    };
    let (start, rest) = text.split_at(first);
    let mut plain = String::with_capacity(text.len());
    plain.push_str(start);
    let mut characters = rest.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => plain.push('\n'),
            Some('\\') | None => plain.push('\\'),
            Some('"') if quotes => plain.push('"'),
            Some(other) => plain.extend(['\\', other]),
        }
    }
    Cow::Owned(plain)
}
