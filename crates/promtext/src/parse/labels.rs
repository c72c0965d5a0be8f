use std::borrow::Cow;
use std::fmt;

use super::escape::unescape;

/// The labels of a sample or an exemplar, in the order of the page. They were checked when the line was
/// read; escapes are resolved when they are asked for.
#[derive(Clone, Copy, Default)]
pub struct Labels<'page> {
    /// What is between the braces, checked.
    text: &'page str,
    /// Where the labels are in `text`; none if it is not known, or where there are blanks, quoted names or
    /// escapes.
    marks: Marks,
}

/// The labels one by one; see [`Labels::iter`].
#[derive(Clone, Debug)]
pub struct LabelsIter<'page> {
    labels: Labels<'page>,
    /// Where the next label begins.
    at: usize,
    /// How many came before.
    index: usize,
}

/// Where labels are that are written `name="value",name="value"`; all of them or none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    list: [Mark; Self::MOST],
    count: u8,
}

/// Where a label is, from the beginning of all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    /// Where its `="` is.
    pub(super) name_end: u16,
    /// Where its closing quote is.
    pub(super) value_end: u16,
}

impl Mark {
    /// `None` where the numbers are too large.
    pub(super) fn new(name_end: usize, value_end: usize) -> Option<Self> {
        Some(Self {
            name_end: u16::try_from(name_end).ok()?,
            value_end: u16::try_from(value_end).ok()?,
        })
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

    /// How many labels are wholly within the first `bytes`, with what follows them.
    #[inline(always)]
    pub(super) fn known(&self, bytes: usize) -> usize {
        let mut known = 0;
        while self
            .get(known)
            .is_some_and(|mark| usize::from(mark.value_end) + 1 < bytes)
        {
            known += 1;
        }
        known
    }

    /// Adds one; whether there was room.
    #[inline(always)]
    pub(super) fn push(&mut self, mark: Mark) -> bool {
        let Some(free) = self.list.get_mut(usize::from(self.count)) else {
            return false;
        };
        *free = mark;
        self.count += 1;
        true
    }

    pub(super) const fn clear(&mut self) {
        self.count = 0;
    }

    /// The value of label `index` ends at `new` and no longer at `old`, so all that follows has moved. The
    /// last of them still ends below 65536.
    #[inline(always)]
    pub(super) fn shift(&mut self, index: usize, old: usize, new: usize) {
        let by = (new as u16).wrapping_sub(old as u16);
        // All are looked at, also those that are not there, since that takes the fewest branches.
        for (at, mark) in self.list.iter_mut().enumerate() {
            let (name, value) = (if at > index { by } else { 0 }, if at >= index { by } else { 0 });
            mark.name_end = mark.name_end.wrapping_add(name);
            mark.value_end = mark.value_end.wrapping_add(value);
        }
    }
}

impl<'page> Labels<'page> {
    /// Labels of which `text` is known to be well-formed, with marks of where they are, if known.
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
            labels: *self,
            at: 0,
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
        if self.labels.marks.count == 0 {
            return self.search();
        }
        let mark = self.labels.marks.get(self.index)?;
        let (name_end, value_end) = (usize::from(mark.name_end), usize::from(mark.value_end));
        let name = self.labels.text.get(self.at..name_end)?;
        let value = self.labels.text.get(name_end + 2..value_end)?;
        self.index += 1;
        self.at = value_end + 2;
        Some((Cow::Borrowed(name), Cow::Borrowed(value)))
    }
}

impl<'page> LabelsIter<'page> {
    /// The next label, however it is written.
    fn search(&mut self) -> Option<(Cow<'page, str>, Cow<'page, str>)> {
        const BLANKS: [char; 2] = [' ', '\t'];
        let text = self.labels.text;
        loop {
            let rest = text.get(self.at..)?.trim_start_matches([' ', '\t', ',']);
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
                self.at = text.len() - rest.len();
                continue;
            };
            let (value, rest) = quoted_end(rest.trim_start_matches(BLANKS).strip_prefix('"')?)?;
            self.at = text.len() - rest.len();
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
