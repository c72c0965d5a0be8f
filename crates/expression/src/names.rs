use std::fmt;

use rheostat_reading::Unit;

use crate::tree::{Function, KEYWORDS};
use crate::{MAX_NAME_LENGTH, MAX_NAMES};

/// The names that an expression may use, in the order of their declaration.
///
/// The order is that of the values given to [`Expression::evaluate`](crate::Expression::evaluate).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    declared: Vec<(Box<str>, Declared)>,
}

/// What is known of a name before any value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Declared {
    /// The unit of its values.
    pub unit: Unit,
    /// Whether its values add up over pods.
    pub kind: Kind,
}

/// Whether a signal adds up over pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It adds up: requests, bytes, watts, rates.
    Amount,
    /// It does not: a ratio, a latency, a temperature.
    Intensity,
}

/// Why a name cannot be declared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is not spelled as names are.
    #[error(
        "the name {name:?} is not allowed; a name begins with a-z, goes on with a-z, 0-9 and _, and has at most {MAX_NAME_LENGTH} bytes"
    )]
    Spelling {
        /// The name, cut to the greatest length of a name.
        name: String,
    },
    /// It is a word of the language.
    #[error("the name {name:?} is a word of the language; the words are {}", words())]
    Reserved {
        /// The name.
        name: String,
    },
    /// It is declared already.
    #[error("the name {name:?} is declared twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// There are too many.
    #[error("there is no room for the name {name:?}; at most {MAX_NAMES} names are allowed")]
    TooMany {
        /// The name.
        name: String,
    },
}

/// Some of the declared names, as their places in the order of declaration.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct NameSet(u16);

impl Names {
    /// No names yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { declared: Vec::new() }
    }

    /// Adds a name and returns its place, which is that of its value in
    /// [`Expression::evaluate`](crate::Expression::evaluate).
    ///
    /// # Errors
    /// [`NameError`] where the name is misspelled, taken, a word of the language, or one too many.
    pub fn declare(&mut self, name: &str, declared: Declared) -> Result<usize, NameError> {
        let spelled = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= MAX_NAME_LENGTH
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !spelled {
            let name = name.chars().take(MAX_NAME_LENGTH).collect();
            return Err(NameError::Spelling { name });
        }
        let owned = name.to_owned();
        if KEYWORDS.contains(&name) || Function::named(name).is_some() {
            return Err(NameError::Reserved { name: owned });
        }
        if self.place(name).is_some() {
            return Err(NameError::Twice { name: owned });
        }
        let place = self.declared.len();
        if place >= MAX_NAMES {
            return Err(NameError::TooMany { name: owned });
        }
        self.declared.push((name.into(), declared));
        Ok(place)
    }

    /// Every name with what is known of it, in the order of declaration.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Declared)> {
        self.declared
            .iter()
            .map(|(name, declared)| (name.as_ref(), *declared))
    }

    /// The place of a name; `None` where it is not declared.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<usize> {
        self.declared.iter().position(|(known, _)| known.as_ref() == name)
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.declared.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.declared.is_empty()
    }

    pub(crate) fn declared(&self, place: usize) -> Option<Declared> {
        self.declared.get(place).map(|entry| entry.1)
    }

    pub(crate) fn name(&self, place: usize) -> &str {
        self.declared.get(place).map_or("?", |entry| entry.0.as_ref())
    }
}

impl NameSet {
    /// No names.
    pub const EMPTY: Self = Self(0);

    pub(crate) const fn one(place: usize) -> Self {
        if place < MAX_NAMES {
            Self(1 << place)
        } else {
            Self::EMPTY
        }
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the name declared at `place` is among them.
    #[must_use]
    pub const fn contains(self, place: usize) -> bool {
        self.0 & Self::one(place).0 != 0
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The places of the names, in the order of declaration.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_NAMES).filter(move |place| self.contains(*place))
    }
}

impl fmt::Debug for NameSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.iter()).finish()
    }
}

fn words() -> String {
    let functions = Function::ALL.iter().map(|function| function.name());
    let mut words: Vec<_> = KEYWORDS.iter().copied().chain(functions).collect();
    words.sort_unstable();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: Declared = Declared {
        unit: Unit::Count,
        kind: Kind::Amount,
    };

    #[test]
    fn a_name_is_refused_with_what_is_allowed() {
        let mut names = Names::new();
        assert_eq!(names.declare("waiting", COUNT), Ok(0));
        assert_eq!(names.declare("kv_2", COUNT), Ok(1));
        let mut refused = |name: &str| names.declare(name, COUNT).unwrap_err().to_string();
        assert_eq!(refused("waiting"), r#"the name "waiting" is declared twice"#);
        assert_eq!(
            refused("max"),
            "the name \"max\" is a word of the language; the words are abs, and, ceil, clamp, false, floor, if, \
             known, max, min, not, or, round, sum, true"
        );
        for name in ["", "_a", "2a", "A", "a-b", "a.b", "é", &"a".repeat(65)] {
            let message = refused(name);
            assert!(message.contains("begins with a-z"), "{message}");
            assert!(message.len() < 260, "{message}");
        }
    }

    #[test]
    fn there_are_sixteen_names_at_most() {
        let mut names = Names::new();
        for place in 0..MAX_NAMES {
            assert_eq!(names.declare(&format!("n{place}"), COUNT), Ok(place));
        }
        let error = names.declare("one_more", COUNT).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no room for the name \"one_more\"; at most 16 names are allowed"
        );
    }

    #[test]
    fn a_set_lists_its_places_in_order() {
        let set = NameSet::one(15).with(NameSet::one(0)).with(NameSet::one(16));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 15]);
        assert!(!set.contains(16) && !set.contains(400) && set.contains(15));
        assert_eq!(format!("{set:?}"), "{0, 15}");
        assert!(NameSet::EMPTY.is_empty());
    }
}
