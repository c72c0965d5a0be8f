/// The families that are wanted from a page, prepared once for many pages.
#[derive(Clone, Debug, Default)]
pub struct Families {
    /// Sorted, without the suffixes of counters and infos, each once.
    names: Box<[Box<str>]>,
}

/// What the name of a sample can have after the name of its family.
const SUFFIXES: [&str; 8] = [
    "_bucket", "_sum", "_count", "_total", "_info", "_created", "_gsum", "_gcount",
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
        Self { names: names.into() }
    }

    /// Whether a sample or a family called `name` belongs to a wanted family: has its name, or its name
    /// and a suffix that a format adds (`_bucket`, `_sum`, `_count`, `_total`, `_info`, `_created`,
    /// `_gsum`, `_gcount`).
    #[must_use]
    pub fn contain(&self, name: &str) -> bool {
        let has = |name: &str| self.names.binary_search_by(|other| (**other).cmp(name)).is_ok();
        has(name)
            || SUFFIXES
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .any(has)
    }
}
