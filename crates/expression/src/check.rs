use crate::error::{ExpressionError, Problem};
use crate::evaluate::{Slots, State};
use crate::tree::{Binary, Function, Id, Node, Tree, Unary};
use crate::{Dimension, NameSet, Names};

/// What a part of an expression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// A number without names, which takes the unit that it meets.
    Literal,
    Number(Dimension),
    Condition,
}

/// Checks every part for its type and unit, and gives that of the whole.
pub(crate) fn check(text: &str, tree: &Tree, names: &Names) -> Result<Type, ExpressionError> {
    let mut checker = Checker {
        text,
        tree,
        types: Vec::with_capacity(tree.len()),
    };
    for (id, node) in tree.nodes() {
        let found = checker.node(id, node, names)?;
        checker.types.push(found);
    }
    constants(text, tree)?;
    Ok(checker.types.last().copied().unwrap_or(Type::Literal))
}

struct Checker<'a> {
    text: &'a str,
    tree: &'a Tree,
    types: Vec<Type>,
}

impl Checker<'_> {
    fn node(&self, id: Id, node: Node, names: &Names) -> Result<Type, ExpressionError> {
        Ok(match node {
            Node::Number(_) => Type::Literal,
            Node::Percent(_) => Type::Number(Dimension::RATIO),
            Node::Name(place) => {
                let unit = names.declared(place).map(|declared| declared.unit);
                Type::Number(unit.map_or(Dimension::RATIO, Dimension::of))
            }
            Node::Unary(Unary::Negate, operand) => self.number("-", operand)?,
            Node::Unary(Unary::Not, operand) => self.condition("!", operand)?,
            Node::Binary(operator, left, right) => self.binary(id, operator, left, right)?,
            Node::Call(function, arguments) => self.call(function, self.tree.arguments(arguments))?,
        })
    }

    fn binary(&self, id: Id, operator: Binary, left: Id, right: Id) -> Result<Type, ExpressionError> {
        let symbol = operator.symbol();
        match operator {
            Binary::Or | Binary::And => {
                self.condition(symbol, left)?;
                self.condition(symbol, right)
            }
            Binary::OrElse => {
                for side in [left, right] {
                    if self.found(side) == Type::Condition {
                        return Err(self.error(id, Problem::OrOfConditions));
                    }
                }
                self.same(symbol, &[left, right])
            }
            Binary::Add | Binary::Subtract => self.same(symbol, &[left, right]),
            Binary::Multiply | Binary::Divide => {
                let sides = (self.number(symbol, left)?, self.number(symbol, right)?);
                let dimension = match (operator, sides) {
                    (_, (Type::Literal, Type::Literal)) => return Ok(Type::Literal),
                    // A literal divisor takes the unit of what it divides.
                    (Binary::Divide, (_, Type::Literal)) => Some(Dimension::RATIO),
                    (Binary::Divide, sides) => plain(sides.0).per(plain(sides.1)),
                    (_, sides) => plain(sides.0).times(plain(sides.1)),
                };
                dimension
                    .map(Type::Number)
                    .ok_or_else(|| self.error(id, Problem::UnitPower))
            }
            Binary::Less
            | Binary::LessOrEqual
            | Binary::Greater
            | Binary::GreaterOrEqual
            | Binary::Equal
            | Binary::NotEqual => self.same(symbol, &[left, right]).map(|_| Type::Condition),
        }
    }

    fn call(&self, function: Function, arguments: &[Id]) -> Result<Type, ExpressionError> {
        let name = function.name();
        match (function, arguments) {
            (Function::Known, _) => Ok(Type::Condition),
            (Function::If, &[condition, then, otherwise]) => {
                self.condition("the first argument of if", condition)?;
                match (self.found(then), self.found(otherwise)) {
                    (Type::Condition, Type::Condition) => Ok(Type::Condition),
                    (Type::Condition, _) => Err(self.error(otherwise, Problem::Branches)),
                    (_, Type::Condition) => Err(self.error(then, Problem::Branches)),
                    _ => self.same(name, &[then, otherwise]),
                }
            }
            _ => self.same(name, arguments),
        }
    }

    /// The type of numbers that must have the same unit; literals take that of the others.
    fn same(&self, operation: &'static str, operands: &[Id]) -> Result<Type, ExpressionError> {
        let mut first: Option<(Id, Dimension)> = None;
        for operand in operands {
            let Type::Number(dimension) = self.number(operation, *operand)? else {
                continue;
            };
            match first {
                None => first = Some((*operand, dimension)),
                Some((_, other)) if other == dimension => {}
                Some((other, other_dimension)) => {
                    let problem = Problem::UnitsDiffer {
                        operation,
                        left: self.written(other),
                        left_unit: other_dimension,
                        left_at: self.position(other),
                        right: self.written(*operand),
                        right_unit: dimension,
                        right_at: self.position(*operand),
                    };
                    return Err(self.error(*operand, problem));
                }
            }
        }
        Ok(first.map_or(Type::Literal, |(_, dimension)| Type::Number(dimension)))
    }

    fn number(&self, place: &'static str, id: Id) -> Result<Type, ExpressionError> {
        let found = self.found(id);
        if found == Type::Condition {
            let found = self.written(id);
            return Err(self.error(id, Problem::NeedsNumber { place, found }));
        }
        Ok(found)
    }

    fn condition(&self, place: &'static str, id: Id) -> Result<Type, ExpressionError> {
        if self.found(id) != Type::Condition {
            let found = self.written(id);
            return Err(self.error(id, Problem::NeedsCondition { place, found }));
        }
        Ok(Type::Condition)
    }

    fn found(&self, id: Id) -> Type {
        self.types.get(id.index()).copied().unwrap_or(Type::Literal)
    }

    fn written(&self, id: Id) -> String {
        shorten(self.tree.span(id).of(self.text))
    }

    fn position(&self, id: Id) -> usize {
        let before = self.text.get(..self.tree.span(id).start);
        before.unwrap_or_default().chars().count() + 1
    }

    fn error(&self, id: Id, problem: Problem) -> ExpressionError {
        ExpressionError::new(self.text, self.tree.span(id), problem)
    }
}

/// Refuses what no readings can make known: a division by a constant zero, constants that
/// overflow, a clamp between constant bounds that are the wrong way round.
fn constants(text: &str, tree: &Tree) -> Result<(), ExpressionError> {
    let slots = Slots::evaluate(tree, &[]);
    let mut names: Vec<NameSet> = Vec::with_capacity(tree.len());
    for (id, node) in tree.nodes() {
        let operands = tree.operands(node);
        let within = |id: &Id| names.get(id.index()).copied().unwrap_or_default();
        let own = match node {
            Node::Name(place) => NameSet::one(place),
            _ => operands.iter().map(within).fold(NameSet::EMPTY, NameSet::with),
        };
        let decides = match node {
            Node::Binary(Binary::Divide, _, divisor) => within(&divisor),
            Node::Call(Function::Clamp, _) => operands
                .iter()
                .skip(1)
                .map(within)
                .fold(NameSet::EMPTY, NameSet::with),
            _ => own,
        };
        if let State::Absent {
            trouble: Some(trouble),
            ..
        } = slots.get(id).state
            && trouble.at == id
            && decides.is_empty()
        {
            return Err(ExpressionError::new(
                text,
                tree.span(id),
                Problem::Always(trouble.kind),
            ));
        }
        names.push(own);
    }
    Ok(())
}

const fn plain(found: Type) -> Dimension {
    match found {
        Type::Number(dimension) => dimension,
        Type::Literal | Type::Condition => Dimension::RATIO,
    }
}

/// As much of a part as a message can hold.
pub(crate) fn shorten(text: &str) -> String {
    const MOST: usize = 40;
    let mut words: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = words.char_indices().nth(MOST) {
        words.truncate(at);
        words.push('…');
    }
    words
}
