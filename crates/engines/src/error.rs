use rheostat_promtext::LineError;

use crate::{Engine, PageKind};

/// A page of which nothing can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// There is nothing on it.
    #[error("the page is empty")]
    Empty,
    /// It is no page of metrics at all, is cut, or passes a limit. A page that was cut is refused as a
    /// whole: a sum over some of the ranks is a wrong number, not half a number.
    #[error("the page cannot be used: {0}")]
    Unreadable(#[source] LineError),
    /// It has metrics, but of no engine that is known.
    #[error("the page is of no known engine; it has {seen}")]
    UnknownEngine {
        /// Some of its names.
        seen: String,
    },
    /// It has none of the metrics of the engine that was named.
    #[error("the page has no metric of {engine}; it has {seen}")]
    OtherEngine {
        /// The engine that was named.
        engine: Engine,
        /// Some of the page's names, and whose they are where that is known.
        seen: String,
    },
    /// A page that has to be JSON is not, or not of the form that its engine gives it.
    #[error("the {kind} page of {engine} is not what it should be: {source}, at `{excerpt}`")]
    Json {
        /// Whose page.
        engine: Engine,
        /// Which of its pages.
        kind: PageKind,
        /// What is wrong.
        source: serde_json::Error,
        /// How it begins.
        excerpt: String,
    },
}

/// The beginning of `page`, short and on one line.
pub(crate) fn excerpt(page: &[u8]) -> String {
    const MOST: usize = 60;
    let start = page.get(..page.len().min(4 * MOST)).unwrap_or_default();
    String::from_utf8_lossy(start)
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(MOST)
        .collect()
}

/// `names` quoted, a few of them.
pub(crate) fn list<N: AsRef<str>>(names: &[N]) -> String {
    const MOST: usize = 6;
    const LONGEST: usize = 80;
    let mut text = String::new();
    for (place, name) in names.iter().take(MOST).enumerate() {
        if place > 0 {
            text.push_str(", ");
        }
        text.push('`');
        text.extend(name.as_ref().chars().filter(|c| !c.is_control()).take(LONGEST));
        text.push('`');
    }
    if names.len() > MOST {
        text.push_str(", …");
    }
    text
}
