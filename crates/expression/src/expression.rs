use std::fmt;

use crate::check::{Type, check, shorten};
use crate::error::{ExpressionError, Problem};
use crate::evaluate::Slots;
use crate::parse::parse;
use crate::tree::{Node, Tree};
use crate::{Dimension, NameSet, Names, Outcome, Unknown, Value, print};

/// A text that has been parsed and checked; evaluating it cannot fail, only be absent.
///
/// Two are equal where they mean the same to the last parenthesis, however they are spaced, and
/// have the same names.
#[derive(Clone)]
pub struct Expression {
    pub(crate) text: Box<str>,
    pub(crate) tree: Tree,
    pub(crate) names: Names,
    result: ResultType,
}

/// What an expression results in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultType {
    /// A number in this unit; a ratio where the expression is made of literals alone.
    Number(Dimension),
    /// A condition, which holds or does not.
    Condition,
}

/// Reads an expression that may use `names`, and checks its types and units.
///
/// # Errors
/// [`ExpressionError`] with the place and what is allowed there.
pub fn compile(text: &str, names: &Names) -> Result<Expression, ExpressionError> {
    let tree = parse(text, names)?;
    let result = match check(text, &tree, names)? {
        Type::Condition => ResultType::Condition,
        Type::Number(dimension) => ResultType::Number(dimension),
        Type::Literal => ResultType::Number(Dimension::RATIO),
    };
    Ok(Expression {
        text: text.into(),
        tree,
        names: names.clone(),
        result,
    })
}

/// As [`compile`], for an expression that must result in a number, as one to scale by must.
///
/// # Errors
/// [`ExpressionError`] with the place and what is allowed there.
pub fn compile_number(text: &str, names: &Names) -> Result<Expression, ExpressionError> {
    let expression = compile(text, names)?;
    if let (ResultType::Condition, Some(root)) = (expression.result, expression.tree.root()) {
        let span = expression.tree.span(root);
        let problem = Problem::NeedsNumber {
            place: "the result",
            found: shorten(span.of(text)),
        };
        return Err(ExpressionError::new(text, span, problem));
    }
    Ok(expression)
}

impl Expression {
    /// What it results in.
    #[must_use]
    pub const fn result(&self) -> ResultType {
        self.result
    }

    /// The names that it uses, as places in the order of declaration.
    #[must_use]
    pub fn used(&self) -> NameSet {
        let places = self.tree.nodes().filter_map(|(_, node)| match node {
            Node::Name(place) => Some(NameSet::one(place)),
            _ => None,
        });
        places.fold(NameSet::EMPTY, NameSet::with)
    }

    /// The names that it uses, in the order of declaration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names_of(self.used())
    }

    /// The names in a set that this expression's outcome holds.
    pub fn names_of(&self, set: NameSet) -> impl Iterator<Item = &str> {
        set.iter()
            .filter(|place| *place < self.names.len())
            .map(|place| self.names.name(place))
    }

    /// All names that it was compiled with, used or not.
    #[must_use]
    pub const fn declared(&self) -> &Names {
        &self.names
    }

    /// The text that it was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same expression in the one spelling that all its spellings share: `&&`, `||` and `!`,
    /// no parentheses that are not needed, numbers without suffix.
    ///
    /// It compiles to an equal expression, unless the text was so long that its spelling out
    /// takes more than [`MAX_LENGTH`](crate::MAX_LENGTH) bytes.
    #[must_use]
    pub fn canonical(&self) -> String {
        print::canonical(&self.tree, |place| self.names.name(place).to_owned())
    }

    /// Computes the result from one value per declared name, in the order of declaration. A name
    /// without a value is absent.
    ///
    /// Pure; allocates nothing; never gives NaN or an infinity.
    #[must_use]
    pub fn evaluate(&self, values: &[Value]) -> Outcome {
        match self.tree.root() {
            Some(root) => Slots::evaluate(&self.tree, values).outcome(&self.tree, root),
            None => Outcome::Absent(Unknown::default()),
        }
    }

    /// Why there is no result, in words: the missing names with their reasons, and the part that
    /// went wrong.
    #[must_use]
    pub fn reason(&self, unknown: &Unknown, values: &[Value]) -> String {
        let missing = unknown.missing.iter().map(|place| {
            let name = self.names.name(place);
            match values.get(place) {
                Some(Value::Absent(reason)) => format!("{name} is absent ({reason})"),
                Some(Value::Known { .. }) => format!("{name} is absent"),
                None => format!("{name} is absent (no value was given)"),
            }
        });
        let trouble = unknown
            .trouble
            .map(|trouble| format!("{}: {}", shorten(trouble.span.of(&self.text)), trouble.kind));
        missing.chain(trouble).collect::<Vec<_>>().join("; ")
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.tree == other.tree && self.names == other.names
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Expression")
            .field("text", &self.text)
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ResultType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(dimension) => write!(out, "a number in {dimension}"),
            Self::Condition => out.write_str("a condition"),
        }
    }
}
