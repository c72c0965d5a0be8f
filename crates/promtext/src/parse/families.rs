use super::scan::{common, first, in_metric_name, word};

/// The families that are wanted from a page, prepared once for many pages.
#[derive(Clone, Debug, Default)]
pub struct Families {
    /// Sorted, without the suffixes of counters and infos, each once.
    names: Box<[Box<str>]>,
    glance: Glance,
}

/// What tells nearly all names that are not wanted from those that are, at one glance: bytes where the
/// wanted names begin to differ.
#[derive(Clone, Debug, Default)]
struct Glance {
    /// How many bytes all names have in common at their beginning.
    same: usize,
    /// Which of the eight bytes after them the shortest name still has.
    mask: u64,
    /// These bytes of the names, in their order.
    keys: Box<[u64]>,
    /// One bit for each of 64 classes of keys that has a key.
    classes: u64,
}

impl Families {
    /// The families called `names`. A counter can be named with or without `_total` and an info with or
    /// without `_info`, since the formats differ in that.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        let mut names: Vec<Box<str>> = names
            .into_iter()
            .map(|name| {
                let name = name.as_ref();
                let base = name.strip_suffix("_total").or_else(|| name.strip_suffix("_info"));
                base.filter(|base| !base.is_empty()).unwrap_or(name).into()
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        Self {
            glance: Glance::of(&names),
            names: names.into(),
        }
    }

    /// Whether a sample or a family called `name` belongs to a wanted family: has its name, or its name
    /// and a suffix that a format adds (`_bucket`, `_sum`, `_count`, `_total`, `_info`, `_created`,
    /// `_gsum`, `_gcount`).
    #[must_use]
    pub fn contain(&self, name: &str) -> bool {
        self.contain_bytes(name.as_bytes())
    }

    fn contain_bytes(&self, name: &[u8]) -> bool {
        let key = self.glance.key(name);
        let same_key = self
            .glance
            .keys
            .iter()
            .zip(&self.names)
            .filter(|(other, _)| **other == key);
        same_key
            .filter_map(|(_, family)| name.strip_prefix(family.as_bytes()))
            .any(|rest| rest.is_empty() || is_suffix(rest))
    }

    /// Whether `text`, which begins with a name, may be of a wanted family, at a glance.
    #[inline(always)]
    pub(super) fn may_contain(&self, text: &[u8]) -> bool {
        self.glance.passes(text)
    }

    /// Its first bytes, zero where it is short, and those at which a glance looks: samples with the same
    /// are both ruled out at a glance, or neither is.
    #[inline(always)]
    pub(super) fn beginning(&self, line: &[u8]) -> (u64, u64) {
        (word(line, 0).unwrap_or_default(), self.glance.key(line))
    }

    /// Whether the name with which `text` begins belongs to a wanted family.
    pub(super) fn contain_name_of(&self, text: &[u8]) -> bool {
        let end = first(text, 0, |byte| !in_metric_name(byte));
        text.get(..end).is_some_and(|name| self.contain_bytes(name))
    }
}

/// Whether a sample can have `rest` after the name of its family.
fn is_suffix(rest: &[u8]) -> bool {
    matches!(
        rest,
        b"_bucket" | b"_sum" | b"_count" | b"_total" | b"_info" | b"_created" | b"_gsum" | b"_gcount"
    )
}

impl Glance {
    fn of(names: &[Box<str>]) -> Self {
        // The first and the last of sorted names differ the earliest.
        let (Some(start), Some(end)) = (names.first(), names.last()) else {
            return Self::default();
        };
        let same = common(start.as_bytes(), end.as_bytes());
        let shortest = names.iter().map(|name| name.len()).min().unwrap_or_default();
        let mask = match shortest.saturating_sub(same) {
            0 => 0,
            bytes => u64::MAX >> (64 - 8 * bytes.min(8)),
        };
        let keys: Box<[u64]> = names
            .iter()
            .map(|name| window(name.as_bytes(), same) & mask)
            .collect();
        Self {
            classes: keys.iter().fold(0, |classes, key| classes | class(*key)),
            same,
            mask,
            keys,
        }
    }

    /// The bytes of `text` that are compared first.
    #[inline(always)]
    fn key(&self, text: &[u8]) -> u64 {
        window(text, self.same) & self.mask
    }

    #[inline(always)]
    fn passes(&self, text: &[u8]) -> bool {
        let key = self.key(text);
        self.classes & class(key) != 0 && self.keys.contains(&key)
    }
}

/// The bit of the class of `key`: multiplied with an odd number, whose bits spread all of the key's into
/// the highest ones.
#[inline(always)]
const fn class(key: u64) -> u64 {
    1 << (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}

/// The eight bytes from `at`; zeros where the text has no more.
#[inline(always)]
fn window(text: &[u8], at: usize) -> u64 {
    if let Some(word) = word(text, at) {
        return word;
    }
    let rest = text.get(at..).unwrap_or_default();
    rest.iter()
        .rev()
        .fold(0, |window, byte| window << 8 | u64::from(*byte))
}
