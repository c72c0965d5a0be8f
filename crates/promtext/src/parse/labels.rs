use std::borrow::Cow;
use std::fmt;

use super::escape::unescape;

/// The labels of a sample or an exemplar, in the order of the page. They were checked when the line was
/// read; escapes are resolved when they are asked for.
#[derive(Clone, Copy, Default)]
pub struct Labels<'page> {
    /// What is between the braces, checked.
    text: &'page str,
}

/// The labels one by one; see [`Labels::iter`].
#[derive(Clone, Debug)]
pub struct LabelsIter<'page> {
    rest: &'page str,
}

impl<'page> Labels<'page> {
    /// Labels of which `text` is known to be well-formed.
    pub(super) const fn checked(text: &'page str) -> Self {
        Self { text }
    }

    /// The value of the label `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'page, str>> {
        self.iter()
            .find_map(|(label, value)| (label == name).then_some(value))
    }

    /// Names and values.
    pub fn iter(&self) -> LabelsIter<'page> {
        LabelsIter { rest: self.text }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl<'page> Iterator for LabelsIter<'page> {
    type Item = (Cow<'page, str>, Cow<'page, str>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest.trim_start_matches([' ', '\t', ',']);
            let (name, rest) = match rest.strip_prefix('"') {
                Some(quoted) => {
                    let (name, rest) = quoted_end(quoted)?;
                    (unescape(name, true), rest.trim_start_matches([' ', '\t']))
                }
                None => {
                    let end = memchr::memchr3(b'=', b' ', b'\t', rest.as_bytes())?;
                    let (name, rest) = rest.split_at(end);
                    (Cow::Borrowed(name), rest.trim_start_matches([' ', '\t']))
                }
            };
            // A quoted text without a value is the name of the sample.
            let Some(rest) = rest.strip_prefix('=') else {
                self.rest = rest;
                continue;
            };
            let (value, rest) = quoted_end(rest.trim_start_matches([' ', '\t']).strip_prefix('"')?)?;
            self.rest = rest;
            return Some((name, unescape(value, true)));
        }
    }
}

/// What is before the quote that ends `text`, and what is after it.
pub(super) fn quoted_end(text: &str) -> Option<(&str, &str)> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.as_bytes().get(at..)?)?;
        if text.as_bytes().get(at) == Some(&b'"') {
            return Some((text.get(..at)?, text.get(at + 1..)?));
        }
        at += 2;
    }
}

impl<'page> IntoIterator for &Labels<'page> {
    type Item = (Cow<'page, str>, Cow<'page, str>);
    type IntoIter = LabelsIter<'page>;

    fn into_iter(self) -> LabelsIter<'page> {
        self.iter()
    }
}

/// Equal where they have the same names and values in the same order, however they are written.
impl PartialEq for Labels<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Labels<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}
