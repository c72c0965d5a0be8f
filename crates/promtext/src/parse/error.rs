/// A line that could not be read, or a limit that the page passed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}, at `{excerpt}`")]
pub struct LineError {
    /// Number of the line, from 1.
    pub line: usize,
    /// Where in the line, in bytes from 1; one more than the line has where its end is the problem.
    pub column: usize,
    /// What is wrong.
    pub problem: Problem,
    /// A short piece of the line from there on; control characters are escaped, so that it can be
    /// logged.
    pub excerpt: Box<str>,
}

/// What is wrong with a line or a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The line is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// The line begins with nothing that a line can begin with.
    #[error("neither a metric name nor a comment")]
    Start,
    /// The name in `# HELP`, `# TYPE` or `# UNIT` is missing or malformed.
    #[error("a metric name is expected")]
    FamilyName,
    /// A comment other than HELP, TYPE, UNIT and EOF, or a blank line, on an OpenMetrics page.
    #[error("OpenMetrics has neither comments nor blank lines")]
    Comment,
    /// `# TYPE` with a word that is no type in this format.
    #[error("not a type of this format")]
    Type,
    /// `# UNIT` whose unit is not what the family's name ends with.
    #[error("the name of the family does not end in its unit")]
    Unit,
    /// There is no name, neither before the braces nor in them.
    #[error("the sample has no name")]
    NoName,
    /// There are two names: before the braces and in them, or twice in them.
    #[error("the sample has a second name")]
    SecondName,
    /// A label name is expected.
    #[error("a label name or `}}` is expected")]
    LabelName,
    /// `__name__` as a label.
    #[error("`__name__` is not a label")]
    ReservedLabel,
    /// A label name is there twice.
    #[error("the label is there twice")]
    DuplicateLabel,
    /// `=` is expected after a label name.
    #[error("`=` is expected")]
    Equals,
    /// A quoted label value is expected after `=`.
    #[error("a label value in double quotes is expected")]
    LabelValue,
    /// A quoted text does not end on its line.
    #[error("the closing quote is missing")]
    Quote,
    /// `,` or `}` is expected after a label.
    #[error("`,` or `}}` is expected")]
    Comma,
    /// A blank is expected.
    #[error("a space is expected")]
    Space,
    /// A value is expected.
    #[error("a value is expected")]
    NoValue,
    /// The value is not a number as the formats write numbers.
    #[error("not a number")]
    Number,
    /// The number is too large for a 64-bit float.
    #[error("the number is too large")]
    NumberTooLarge,
    /// The timestamp is not one: whole milliseconds, in OpenMetrics finite seconds.
    #[error("not a timestamp")]
    Timestamp,
    /// More text after the end of the sample.
    #[error("nothing more is expected on this line")]
    Trailing,
    /// The last line has no end, so that a number on it can be cut.
    #[error("the page ends in the middle of this line")]
    Unterminated,
    /// An OpenMetrics page does not end in `# EOF`.
    #[error("the page does not end in `# EOF`")]
    NoEnd,
    /// There is more after `# EOF`.
    #[error("there is more after `# EOF`")]
    AfterEnd,
    /// The page is HTML.
    #[error("the page is HTML, not metrics")]
    Html,
    /// The page is compressed (gzip or zstd).
    #[error("the page is compressed")]
    Compressed,
    /// [`Limits::page_bytes`](crate::Limits::page_bytes) was passed.
    #[error("the page is longer than {0} bytes")]
    PageTooLong(usize),
    /// [`Limits::line_bytes`](crate::Limits::line_bytes) was passed.
    #[error("the line is longer than {0} bytes")]
    LineTooLong(usize),
    /// [`Limits::samples`](crate::Limits::samples) was passed.
    #[error("the page has more than {0} samples")]
    TooManySamples(usize),
    /// [`Limits::labels`](crate::Limits::labels) was passed.
    #[error("the sample has more than {0} labels")]
    TooManyLabels(usize),
    /// [`Limits::errors`](crate::Limits::errors) was passed.
    #[error("more than {0} lines could not be read")]
    TooManyErrors(usize),
}

impl LineError {
    /// What an excerpt has at most, in characters of the line.
    const EXCERPT: usize = 32;

    /// An error at the byte `at` of `line`.
    pub(super) fn new(number: usize, line: &[u8], at: usize, problem: Problem) -> Self {
        let rest = line.get(at..).unwrap_or_default();
        // A character has at most four bytes.
        let rest = &rest[..rest.len().min(4 * Self::EXCERPT)];
        let excerpt: String = String::from_utf8_lossy(rest)
            .chars()
            .take(Self::EXCERPT)
            .flat_map(|character| {
                let escape = character.is_control();
                let escaped = character
                    .escape_default()
                    .take(if escape { usize::MAX } else { 0 });
                escaped.chain((!escape).then_some(character))
            })
            .collect();
        Self {
            line: number,
            column: at + 1,
            problem,
            excerpt: excerpt.into(),
        }
    }

    /// Whether nothing comes after it, although the page may go on.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.problem.is_final()
    }
}

impl Problem {
    pub(super) const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Unterminated
                | Self::NoEnd
                | Self::AfterEnd
                | Self::Html
                | Self::Compressed
                | Self::PageTooLong(_)
                | Self::LineTooLong(_)
                | Self::TooManySamples(_)
                | Self::TooManyLabels(_)
                | Self::TooManyErrors(_)
        )
    }
}

/// A [`Problem`] and the byte of the line where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) problem: Problem,
}
