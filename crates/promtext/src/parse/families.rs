use super::scan::{common, first, in_metric_name};

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
    /// What all names begin with.
    prefix: Box<[u8]>,
    /// Which of the eight bytes after it the shortest name still has.
    mask: u64,
    /// These bytes of the names.
    keys: Box<[u64]>,
    /// One bit for each of 64 classes of keys that has a key.
    classes: u64,
}

/// What the name of a sample can have after the name of its family and `_`.
const SUFFIXES: [&str; 8] = [
    "bucket", "sum", "count", "total", "info", "created", "gsum", "gcount",
];

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
        let has = |name: &str| self.names.binary_search_by(|other| (**other).cmp(name)).is_ok();
        self.glance.passes(name.as_bytes())
            && (has(name)
                || name
                    .rsplit_once('_')
                    .is_some_and(|(family, suffix)| SUFFIXES.contains(&suffix) && has(family)))
    }

    /// Whether `text`, which begins with a name, is surely of another family.
    #[inline]
    pub(super) fn rule_out(&self, text: &[u8]) -> bool {
        if !self.glance.passes(text) {
            return true;
        }
        let name = text.get(..first(text, 0, |byte| !in_metric_name(byte)));
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        name.is_some_and(|name| !self.contain(name))
    }
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
        let mut keys: Vec<u64> = names
            .iter()
            .map(|name| window(name.as_bytes(), same) & mask)
            .collect();
        keys.dedup();
        Self {
            classes: keys.iter().fold(0, |classes, key| classes | class(*key)),
            prefix: start.as_bytes().get(..same).unwrap_or_default().into(),
            mask,
            keys: keys.into(),
        }
    }

    #[inline(always)]
    fn passes(&self, text: &[u8]) -> bool {
        let key = window(text, self.prefix.len()) & self.mask;
        self.classes & class(key) != 0 && self.keys.contains(&key) && text.starts_with(&self.prefix)
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
    let rest = text.get(at..).unwrap_or_default();
    if let Some(bytes) = rest.first_chunk() {
        return u64::from_le_bytes(*bytes);
    }
    rest.iter()
        .rev()
        .fold(0, |window, byte| window << 8 | u64::from(*byte))
}
