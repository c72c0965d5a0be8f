use std::borrow::Cow;

use super::labels::{Labels, Mark, Marks};
use super::metadata::{is_blank, kind};
use super::number;
use super::scan::{common, first, first_below, first_of, in_label_name, in_metric_name, word};
use super::{Item, Limits};
use crate::Format;

/// Reads samples as nearly all are written: `name{label="value",label="value"} 12.5`, without blanks,
/// escapes, timestamp or exemplar.
///
/// A line mostly differs from the one before in a single label and the value, so the reader remembers
/// what it read last: what two lines have in common is compared, not read again.
#[derive(Clone, Debug, Default)]
pub(super) struct Fast<'page> {
    /// The last line that was read, up to the space before its value; empty if the last was not read.
    head: &'page str,
    /// Its name.
    name: &'page str,
    /// How long its first labels are. No two of all have the same name.
    marks: Marks,
    /// The label that was the only one to differ the last time, and mostly is the next time too.
    varies: Option<Varies>,
    value: f64,
}

/// A label of which the value varies from line to line.
#[derive(Clone, Copy, Debug)]
struct Varies {
    /// Which one.
    index: usize,
    /// Where in the line the value begins.
    from: usize,
    /// Where it ended in the line before.
    end: usize,
}

impl<'page> Fast<'page> {
    /// Reads the line that begins at `start` of `text`, and says where it ends.
    ///
    /// `None` is no error: the line is for [`Line`](super::line::Line) to read, which gives the same
    /// answers for all samples that are read here.
    #[inline(always)]
    pub(super) fn read(&mut self, text: &'page str, start: usize, limits: &Limits) -> Option<usize> {
        let line = text.as_bytes().get(start..)?;
        // If this line turns out to be none of ours, there is no line before for the next.
        let before = std::mem::take(&mut self.head).as_bytes();
        let at = match self.varied(line, before) {
            Some(at) => at,
            None => {
                let (named, at) = self.head(line, before, limits)?;
                self.name = text.get(start..start + named)?;
                at
            }
        };
        if *line.get(at)? != b' ' {
            return None;
        }
        let (value, end) = number(text, start + at + 1)?;
        if end - start > limits.line_bytes {
            return None;
        }
        self.head = text.get(start..start + at)?;
        self.value = value;
        Some(end)
    }

    /// Where the name and the labels of `line` end, if they are those of `before` but for the value of
    /// the label that was the only one to differ the last time.
    #[inline(always)]
    fn varied(&mut self, line: &[u8], before: &[u8]) -> Option<usize> {
        let varies = self.varies.as_mut()?;
        if !line.starts_with(before.get(..varies.from)?) {
            return None;
        }
        let end = value_end(line, varies.from)?;
        let rest = before.get(varies.end..)?;
        if !line.get(end..)?.starts_with(rest) {
            return None;
        }
        let length = u16::try_from(end - varies.from).ok()?;
        self.marks.set_value(varies.index, length);
        varies.end = end;
        Some(end + rest.len())
    }

    /// Where the name and the labels of `line` end, with what they have in common with those of `before`
    /// compared and the rest read.
    #[inline(never)]
    fn head(&mut self, line: &[u8], before: &[u8], limits: &Limits) -> Option<(usize, usize)> {
        let same = common(line, before);
        let old_named = self.name.len();
        // It may go on where that of the line before ended.
        let named = first(line, same.min(old_named), |byte| !in_metric_name(byte));
        if named == 0 || line.first()?.is_ascii_digit() {
            return None;
        }
        self.varies = None;
        if *line.get(named)? != b'{' {
            self.marks.clear();
            return Some((named, named));
        }
        let inside = line.get(named + 1..)?;
        let old = before.get(old_named + 1..).unwrap_or_default();
        let same = match same.checked_sub(named + 1) {
            Some(same) if named == old_named => same,
            _ => common(inside, old),
        };
        let brace = match self.labels_again(inside, old, same, named + 1) {
            Some(brace) => brace,
            None => labels(inside, limits.labels, &mut self.marks)?,
        };
        Some((named, named + brace + 2))
    }

    /// Where the closing brace is, if of the labels in `inside`, which begin at `start` of the line and of
    /// which the first `same` bytes are those of `old` with the marks, only the value of one differs. Both
    /// begin after the opening brace, and `old` ends with the closing one.
    #[inline(always)]
    fn labels_again(&mut self, inside: &[u8], old: &[u8], same: usize, start: usize) -> Option<usize> {
        let (index, at) = self.marks.first_beyond(same);
        if same >= old.len() {
            return old.len().checked_sub(1);
        }
        let differs = self.marks.get(index)?;
        let from = at + usize::from(differs.name) + 2;
        let old_end = from + usize::from(differs.value);
        // The difference is in the value, not before it or after.
        if same < from || same > old_end {
            return None;
        }
        let end = value_end(inside, same)?;
        let rest = old.get(old_end..)?;
        if !inside.get(end..)?.starts_with(rest) {
            return None;
        }
        self.marks.set_value(index, u16::try_from(end - from).ok()?);
        self.varies = Some(Varies {
            index,
            from: start + from,
            end: start + end,
        });
        Some(end + rest.len() - 1)
    }

    /// Name of the sample that was read.
    #[inline(always)]
    pub(super) const fn name(&self) -> &'page str {
        self.name
    }

    /// Whether `line` is a sample of that name.
    #[inline(always)]
    pub(super) fn has_name_of(&self, line: &[u8]) -> bool {
        !self.head.is_empty()
            && matches!(line.get(self.name.len()), Some(b'{' | b' '))
            && line.starts_with(self.name.as_bytes())
    }

    /// Its labels.
    #[inline(always)]
    pub(super) fn labels(&self) -> Labels<'page> {
        let inside = self.head.len().checked_sub(1);
        let text = inside.and_then(|end| self.head.get(self.name.len() + 1..end));
        Labels::new(text.unwrap_or_default(), self.marks)
    }

    /// Its value.
    #[inline(always)]
    pub(super) const fn value(&self) -> f64 {
        self.value
    }
}

/// Where the brace is that closes the labels in `inside`, which begins after the opening one, if all of
/// them are well-formed; `marks` are of the first of them.
fn labels(inside: &[u8], most: usize, marks: &mut Marks) -> Option<usize> {
    /// More labels than this are read elsewhere.
    const NAMES: usize = 32;
    let mut names = [(0u16, 0u16); NAMES];
    marks.clear();
    let mut at = 0;
    for count in 0..most.min(NAMES) {
        let name_end = first(inside, at, |byte| !in_label_name(byte));
        let name = inside.get(at..name_end)?;
        if inside.get(name_end..name_end + 2)? != b"=\""
            || name.first()?.is_ascii_digit()
            || name == b"__name__"
        {
            return None;
        }
        let (before, after) = names.split_at_mut(count);
        if before
            .iter()
            .any(|(from, to)| inside.get(usize::from(*from)..usize::from(*to)) == Some(name))
        {
            return None;
        }
        let value_end = value_end(inside, name_end + 2)?;
        let mark = Mark::new(name_end - at, value_end - name_end - 2)?;
        *after.first_mut()? = (u16::try_from(at).ok()?, u16::try_from(name_end).ok()?);
        marks.push(mark);
        match inside.get(value_end + 1)? {
            b',' => at = value_end + 2,
            b'}' => return Some(value_end + 1),
            _ => return None,
        }
    }
    None
}

/// Where the quote is that ends a value, unless there is an escape in it.
#[inline(always)]
fn value_end(bytes: &[u8], from: usize) -> Option<usize> {
    // Values that differ from line to line are mostly short.
    let near = word(bytes, from).map_or(8, |word| first_of(word, *b"\"\\\n"));
    let end = if near < 8 {
        from + near
    } else {
        first(bytes, from, |byte| {
            (byte == b'"') | (byte == b'\\') | (byte == b'\n')
        })
    };
    (*bytes.get(end)? == b'"').then_some(end)
}

/// What a line of `# HELP` or `# TYPE` says that begins at `start` of `text`, and where it ends: written
/// with one space between the words and without escapes. Else `None`, as with [`Fast::read`].
#[inline]
pub(super) fn metadata<'page>(
    text: &'page str,
    start: usize,
    limits: &Limits,
    format: Format,
) -> Option<(Item<'page>, usize)> {
    let bytes = text.as_bytes();
    let line = bytes.get(start..)?;
    let is_type = line.starts_with(b"# TYPE ");
    if !is_type && !line.starts_with(b"# HELP ") {
        return None;
    }
    let name = start + b"# TYPE ".len();
    let name_end = first(bytes, name, |byte| !in_metric_name(byte));
    if *bytes.get(name_end)? != b' ' || name_end == name || bytes.get(name)?.is_ascii_digit() {
        return None;
    }
    let argument = name_end + 1;
    let length = memchr::memchr2(b'\n', b'\\', bytes.get(argument..)?)?;
    let end = argument + length;
    if *bytes.get(end)? != b'\n' || end - start > limits.line_bytes {
        return None;
    }
    let family = Cow::Borrowed(text.get(name..name_end)?);
    let argument = text.get(argument..end)?;
    let item = if is_type {
        Item::Type {
            family,
            kind: kind(argument, format)?,
        }
    } else if is_blank(argument) {
        return None;
    } else {
        Item::Help {
            family,
            text: Cow::Borrowed(argument),
        }
    };
    Some((item, end))
}

/// The number from `start` to the end of its line, and where that is.
#[inline(always)]
fn number(text: &str, start: usize) -> Option<(f64, usize)> {
    let bytes = text.as_bytes();
    if let Some(word) = word(bytes, start) {
        let length = first_below(word, b' ' + 1);
        if let Some(value) = short_integer(word, length)
            && *bytes.get(start + length)? == b'\n'
        {
            return Some((value, start + length));
        }
    }
    long_number(text, start)
}

/// As [`number`], of any number.
fn long_number(text: &str, start: usize) -> Option<(f64, usize)> {
    let bytes = text.as_bytes();
    let end = first(bytes, start, |byte| byte <= b' ');
    if *bytes.get(end)? != b'\n' {
        return None;
    }
    Some((decimal(text.get(start..end)?)?, end))
}

/// The first `length` bytes of `word`, at most eight, as an integer with or without `.0`: what counts and
/// most gauges are. All digits are handled at once.
#[inline(always)]
fn short_integer(word: u64, length: usize) -> Option<f64> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let has_fraction =
        length > 2 && word >> (8 * (length - 2)) & 0xffff == u64::from(u16::from_le_bytes(*b".0"));
    let count = length - if has_fraction { 2 } else { 0 };
    if !(1..=8).contains(&count) {
        return None;
    }
    // Digits that are not there are zeros before those that are.
    let unused = 64 - 8 * count as u32;
    let digits = (word << unused) ^ ZEROS ^ (ZEROS & !(u64::MAX << unused));
    // Of a digit the upper half is zero, also when six is added.
    if (digits | digits.wrapping_add(0x0606_0606_0606_0606)) & 0xf0f0_f0f0_f0f0_f0f0 != 0 {
        return None;
    }
    // Neighbours make pairs, pairs fours and fours the whole.
    let pairs = (digits.wrapping_mul(10) + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let whole = (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xffff_ffff;
    Some(whole as f64)
}

/// A decimal number. Up to 15 digits are an exact integer and so is the power of ten below it: their
/// quotient is the nearest float. All else is left to the standard library.
#[inline]
fn decimal(text: &str) -> Option<f64> {
    const TENS: [f64; 16] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    ];
    // More than 15 digits and a point.
    if text.len() > 16 {
        return number::float(text).ok();
    }
    let mut digits = 0u64;
    let mut point = None;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'0'..=b'9' => digits = digits * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => return number::float(text).ok(),
        }
    }
    let fraction = point.map_or(0, |point| text.len() - point - 1);
    let count = text.len() - usize::from(point.is_some());
    match TENS.get(fraction) {
        Some(ten) if (1..=15).contains(&count) => Some(digits as f64 / ten),
        _ => number::float(text).ok(),
    }
}
