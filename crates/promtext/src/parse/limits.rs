/// How much of a page is read. Each limit that is passed ends the page with an error; what was read
/// before it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the page.
    pub page_bytes: usize,
    /// Bytes of one line.
    pub line_bytes: usize,
    /// Samples that are given out; those of families that are not wanted do not count.
    pub samples: usize,
    /// Labels of one sample or exemplar.
    pub labels: usize,
    /// Lines that cannot be read.
    pub errors: usize,
}

impl Default for Limits {
    /// 16 MiB, lines of 64 KiB, 200,000 samples of 64 labels, 100 errors: many times the largest page
    /// of an engine or an exporter.
    fn default() -> Self {
        Self {
            page_bytes: 16 << 20,
            line_bytes: 64 << 10,
            samples: 200_000,
            labels: 64,
            errors: 100,
        }
    }
}
