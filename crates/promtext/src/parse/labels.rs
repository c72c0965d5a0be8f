use std::borrow::Cow;
use std::fmt;

use super::escape::unescape;

/// The labels of a sample or an exemplar, in the order of the page. They were checked when the line was
/// read; escapes are resolved when they are asked for.
#[derive(Clone, Copy, Default)]
pub struct Labels<'page> {
    /// What is between the braces, checked.
    text: &'page str,
    /// How long the first of them are; none where there are blanks, quoted names or escapes.
    marks: Marks,
}

/// The labels one by one; see [`Labels::iter`].
#[derive(Clone, Debug)]
pub struct LabelsIter<'page> {
    /// The labels that are still to come.
    rest: &'page str,
    marks: Marks,
    /// How many came before.
    index: usize,
}

/// How long labels are that are written `name="value",name="value"`: the first few of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    list: [Mark; Self::MOST],
    count: u8,
}

/// How long a label is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    /// Length of its name.
    pub(super) name: u16,
    /// Length of its value, without quotes.
    pub(super) value: u16,
}

impl Mark {
    /// `None` where the numbers are too large.
    pub(super) fn new(name: usize, value: usize) -> Option<Self> {
        Some(Self {
            name: u16::try_from(name).ok()?,
            value: u16::try_from(value).ok()?,
        })
    }

    /// The length of both with what is around them, up to and with the closing quote.
    pub(super) fn length(self) -> usize {
        usize::from(self.name) + usize::from(self.value) + 3
    }
}

impl Marks {
    /// Labels for which there is room.
    const MOST: usize = 8;

    #[inline(always)]
    pub(super) fn get(&self, index: usize) -> Option<Mark> {
        self.list
            .get(index)
            .copied()
            .filter(|_| index < usize::from(self.count))
    }

    /// Which label is the first that is not wholly, with what follows it, within the first `bytes`, and
    /// where that begins.
    pub(super) fn first_beyond(&self, bytes: usize) -> (usize, usize) {
        let (mut index, mut at) = (0, 0);
        while let Some(mark) = self.get(index)
            && at + mark.length() < bytes
        {
            at += mark.length() + 1;
            index += 1;
        }
        (index, at)
    }

    /// Adds one, if there is room.
    #[inline(always)]
    pub(super) fn push(&mut self, mark: Mark) {
        if let Some(free) = self.list.get_mut(usize::from(self.count)) {
            *free = mark;
            self.count += 1;
        }
    }

    pub(super) const fn clear(&mut self) {
        self.count = 0;
    }

    /// The value of label `index` has another length now.
    #[inline(always)]
    pub(super) fn set_value(&mut self, index: usize, length: u16) {
        if let Some(mark) = self.list.get_mut(index) {
            mark.value = length;
        }
    }
}

impl<'page> Labels<'page> {
    /// Labels of which `text` is known to be well-formed, with marks of the first of them, if known.
    pub(super) const fn new(text: &'page str, marks: Marks) -> Self {
        Self { text, marks }
    }

    /// The value of the label `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'page, str>> {
        self.iter()
            .find_map(|(label, value)| (label == name).then_some(value))
    }

    /// Names and values.
    #[inline]
    pub fn iter(&self) -> LabelsIter<'page> {
        LabelsIter {
            rest: self.text,
            marks: self.marks,
            index: 0,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl<'page> Iterator for LabelsIter<'page> {
    type Item = (Cow<'page, str>, Cow<'page, str>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(mark) = self.marks.get(self.index) else {
            return self.search();
        };
        let (name, rest) = self.rest.split_at_checked(usize::from(mark.name))?;
        let (value, rest) = rest.get(2..)?.split_at_checked(usize::from(mark.value))?;
        self.index += 1;
        self.rest = rest.get(2..).unwrap_or_default();
        Some((Cow::Borrowed(name), Cow::Borrowed(value)))
    }
}

impl<'page> LabelsIter<'page> {
    /// The next label, however it is written.
    #[inline(never)]
    fn search(&mut self) -> Option<(Cow<'page, str>, Cow<'page, str>)> {
        const BLANKS: [char; 2] = [' ', '\t'];
        loop {
            let rest = self.rest.trim_start_matches([' ', '\t', ',']);
            let (name, rest) = match rest.strip_prefix('"') {
                Some(quoted) => {
                    let (name, rest) = quoted_end(quoted)?;
                    (unescape(name, true), rest.trim_start_matches(BLANKS))
                }
                None => {
                    let end = rest.find(['=', ' ', '\t'])?;
                    let (name, rest) = rest.split_at(end);
                    (Cow::Borrowed(name), rest.trim_start_matches(BLANKS))
                }
            };
            // A quoted text without a value is the name of the sample.
            let Some(rest) = rest.strip_prefix('=') else {
                self.rest = rest;
                continue;
            };
            let (value, rest) = quoted_end(rest.trim_start_matches(BLANKS).strip_prefix('"')?)?;
            self.rest = rest;
            return Some((name, unescape(value, true)));
        }
    }
}

/// What is before the quote that ends `text`, and what is after it.
fn quoted_end(text: &str) -> Option<(&str, &str)> {
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
