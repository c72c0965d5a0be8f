use crate::tree::{Binary, Function, Id, Node, Unary};
use crate::{Expression, Kind};
use rheostat_reading::Unit;

/// How a result moves when one name's value rises and all else stays.
///
/// A condition counts as higher where it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It stays.
    Constant,
    /// It never falls.
    Growing,
    /// It never rises.
    Falling,
    /// It may do either.
    Unknown,
}

impl Expression {
    /// How the result moves with the value of a name, as far as it is known; `Constant` for a
    /// name that it does not use.
    ///
    /// Cautious: `Unknown` where it is not certain. Values are taken to be at least 0, as counts,
    /// ratios, bytes and the like are, except temperatures; none to be beyond 1e30, and nothing that is
    /// divided by within 1e-30 of zero without being zero.
    #[must_use]
    pub fn direction(&self, name: &str) -> Direction {
        let place = self.names.place(name);
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.tree.len());
        for (_, node) in self.tree.nodes() {
            let operands: Vec<Shape> = self
                .tree
                .operands(node)
                .into_iter()
                .map(|id| at(&shapes, id))
                .collect();
            let shape = match node {
                Node::Name(own) => Shape {
                    range: self.range(own),
                    direction: if Some(own) == place {
                        Direction::Growing
                    } else {
                        Direction::Constant
                    },
                    steady: true,
                },
                _ => shape(node, &operands),
            };
            shapes.push(shape);
        }
        shapes.last().map_or(Direction::Constant, |shape| shape.direction)
    }

    /// Whether the result for the sums of all pods' values is the sum of the results for each
    /// pod: a weighted sum of amounts without a constant term, such as `waiting + 0.5*running`.
    ///
    /// Where it is not, it matters whether pods are added up before or after.
    #[must_use]
    pub fn is_additive(&self) -> bool {
        let mut parts: Vec<Additive> = Vec::with_capacity(self.tree.len());
        for (_, node) in self.tree.nodes() {
            let part = |id: Id| parts.get(id.index()).copied().unwrap_or(Additive::No);
            let found = match node {
                Node::Number(_) | Node::Percent(_) => Additive::Constant,
                Node::Name(place) => match self.names.declared(place).map(|declared| declared.kind) {
                    Some(Kind::Amount) => Additive::Yes,
                    _ => Additive::No,
                },
                Node::Unary(Unary::Negate, operand) => part(operand),
                Node::Binary(Binary::Add | Binary::Subtract, left, right) => part(left).plus(part(right)),
                Node::Binary(Binary::Multiply, left, right) => match (part(left), part(right)) {
                    (Additive::Constant, other) | (other, Additive::Constant) => other,
                    _ => Additive::No,
                },
                Node::Binary(Binary::Divide, left, right) if part(right) == Additive::Constant => part(left),
                Node::Call(Function::Sum, arguments) => {
                    let arguments = self.tree.arguments(arguments).iter();
                    arguments
                        .map(|id| part(*id))
                        .reduce(Additive::plus)
                        .unwrap_or(Additive::No)
                }
                _ if self
                    .tree
                    .operands(node)
                    .into_iter()
                    .all(|id| part(id) == Additive::Constant) =>
                {
                    Additive::Constant
                }
                _ => Additive::No,
            };
            parts.push(found);
        }
        parts.last() == Some(&Additive::Yes)
    }

    fn range(&self, place: usize) -> Range {
        match self.names.declared(place).map(|declared| declared.unit) {
            None | Some(Unit::Celsius) => Range {
                low: -GREATEST,
                high: GREATEST,
            },
            Some(_) => Range {
                low: 0.0,
                high: GREATEST,
            },
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Additive {
    Constant,
    Yes,
    No,
}

impl Additive {
    fn plus(self, other: Self) -> Self {
        if self == other { self } else { Self::No }
    }
}

/// No reading is as large, in whatever unit, and nothing that is divided by as small, but for zero. What stays finite
/// for this much cannot overflow.
const GREATEST: f64 = 1e30;

/// What is known of a part before any value is: its range and its direction in one name.
#[derive(Clone, Copy)]
struct Shape {
    range: Range,
    direction: Direction,
    /// Whether the part is known does not hang on the value of the name, as it does where that could be
    /// divided by and be zero.
    steady: bool,
}

/// The least and greatest number that a part can be.
#[derive(Clone, Copy)]
struct Range {
    low: f64,
    high: f64,
}

fn at(shapes: &[Shape], id: Id) -> Shape {
    let unknown = Shape {
        range: Range::ANY,
        direction: Direction::Unknown,
        steady: false,
    };
    shapes.get(id.index()).copied().unwrap_or(unknown)
}

/// The shape of a node that is no name, from those of its operands.
fn shape(node: Node, operands: &[Shape]) -> Shape {
    let constant = |value: f64| (Range::new(value, value), Direction::Constant);
    let (range, direction) = match (node, operands) {
        (Node::Number(value), _) => constant(value),
        (Node::Percent(value), _) => constant(value / 100.0),
        (Node::Unary(Unary::Negate, _), [x]) => (x.range.negated(), x.direction.flipped()),
        (Node::Unary(Unary::Not, _), [x]) => (Range::ANY, x.direction.flipped()),
        (Node::Binary(operator, ..), [left, right]) => binary(operator, *left, *right),
        (Node::Call(function, _), operands) => call(function, operands),
        _ => (Range::ANY, Direction::Unknown),
    };
    Shape {
        range,
        direction,
        steady: direction == Direction::Constant || is_steady(node, operands, range),
    }
}

/// Whether a part that moves with the name is known or not whatever its value.
fn is_steady(node: Node, operands: &[Shape], range: Range) -> bool {
    let all = operands.iter().all(|operand| operand.steady);
    match (node, operands) {
        (
            Node::Binary(Binary::Add | Binary::Subtract | Binary::Multiply, ..)
            | Node::Call(Function::Sum, _),
            _,
        ) => all && range.is_finite(),
        (Node::Binary(Binary::Divide, ..), [_, divisor]) => {
            let same = divisor.direction == Direction::Constant || divisor.range.is_without_zero();
            all && same && range.is_finite()
        }
        (Node::Call(Function::Clamp, _), [_, low, high]) => {
            let same = low.direction.and(high.direction) == Direction::Constant;
            all && (same || low.range.high <= high.range.low)
        }
        // Which side or branch is needed turns with the value, and one may be known and the other not.
        (Node::Binary(Binary::And | Binary::Or, ..), _) => false,
        (Node::Call(Function::If, _), [condition, ..]) => all && condition.direction == Direction::Constant,
        _ => all,
    }
}

fn binary(operator: Binary, left: Shape, right: Shape) -> (Range, Direction) {
    let along = left.direction.and(right.direction);
    let against = left.direction.and(right.direction.flipped());
    let (a, b) = (left.range, right.range);
    match operator {
        Binary::OrElse if left.steady => (a.hull(b), along),
        // It may come and go, and the other in its place.
        Binary::OrElse => (a.hull(b), Direction::Unknown),
        Binary::And | Binary::Or => (Range::ANY, along),
        Binary::Greater | Binary::GreaterOrEqual => (Range::ANY, against),
        Binary::Less | Binary::LessOrEqual => (Range::ANY, against.flipped()),
        Binary::Equal | Binary::NotEqual => (Range::ANY, along.unless_constant()),
        Binary::Add => (Range::new(a.low + b.low, a.high + b.high), along),
        Binary::Subtract => (Range::new(a.low - b.high, a.high - b.low), against),
        Binary::Multiply => {
            let direction = left.direction.scaled(b).and(right.direction.scaled(a));
            (a.times(b), direction)
        }
        Binary::Divide => {
            let by_divisor = match b.crosses_zero() {
                true => right.direction.unless_constant(),
                false => right.direction.flipped().scaled(a),
            };
            (a.times(b.inverse()), left.direction.scaled(b).and(by_divisor))
        }
    }
}

fn call(function: Function, operands: &[Shape]) -> (Range, Direction) {
    let all = || {
        operands
            .iter()
            .map(|operand| operand.direction)
            .fold(Direction::Constant, Direction::and)
    };
    let fold = |combine: fn(Range, Range) -> Range| {
        operands
            .iter()
            .map(|operand| operand.range)
            .reduce(combine)
            .unwrap_or(Range::ANY)
    };
    match (function, operands) {
        (Function::Min, _) => (
            fold(|a, b| Range::new(a.low.min(b.low), a.high.min(b.high))),
            all(),
        ),
        (Function::Max, _) => (
            fold(|a, b| Range::new(a.low.max(b.low), a.high.max(b.high))),
            all(),
        ),
        (Function::Sum, _) => (fold(|a, b| Range::new(a.low + b.low, a.high + b.high)), all()),
        (Function::Clamp, [x, low, high]) => {
            let range = Range::new(
                x.range.low.max(low.range.low).min(high.range.low),
                x.range.high.max(low.range.high).min(high.range.high),
            );
            (range, all())
        }
        (Function::Ceil, [x]) => (Range::new(x.range.low.ceil(), x.range.high.ceil()), x.direction),
        (Function::Floor, [x]) => (Range::new(x.range.low.floor(), x.range.high.floor()), x.direction),
        (Function::Round, [x]) => (Range::new(x.range.low.round(), x.range.high.round()), x.direction),
        (Function::Abs, [x]) => {
            let far = x.range.low.abs().max(x.range.high.abs());
            let near = if x.range.crosses_zero() {
                0.0
            } else {
                x.range.low.abs().min(x.range.high.abs())
            };
            (Range::new(near, far), x.direction.scaled(x.range))
        }
        (Function::If, [condition, then, otherwise]) => (
            then.range.hull(otherwise.range),
            branches(condition.direction, *then, *otherwise),
        ),
        (Function::Known, [x]) if x.steady => (Range::ANY, Direction::Constant),
        _ => (Range::ANY, Direction::Unknown),
    }
}

/// Of `if`: each branch by itself, and the step from one to the other where the condition turns.
fn branches(condition: Direction, then: Shape, otherwise: Shape) -> Direction {
    let (up, down) = (
        then.range.low >= otherwise.range.high,
        then.range.high <= otherwise.range.low,
    );
    let step = match condition {
        Direction::Constant => Direction::Constant,
        Direction::Growing if up => Direction::Growing,
        Direction::Growing if down => Direction::Falling,
        Direction::Falling if up => Direction::Falling,
        Direction::Falling if down => Direction::Growing,
        _ => Direction::Unknown,
    };
    step.and(then.direction).and(otherwise.direction)
}

impl Direction {
    /// Of what moves with both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Constant, other) | (other, Self::Constant) => other,
            (one, other) if one == other => one,
            _ => Self::Unknown,
        }
    }

    const fn flipped(self) -> Self {
        match self {
            Self::Growing => Self::Falling,
            Self::Falling => Self::Growing,
            Self::Constant | Self::Unknown => self,
        }
    }

    /// After multiplication by, or division by, a number in a range.
    fn scaled(self, by: Range) -> Self {
        if by.low >= 0.0 {
            self
        } else if by.high <= 0.0 {
            self.flipped()
        } else {
            self.unless_constant()
        }
    }

    const fn unless_constant(self) -> Self {
        match self {
            Self::Constant => Self::Constant,
            Self::Growing | Self::Falling | Self::Unknown => Self::Unknown,
        }
    }
}

impl Range {
    const ANY: Self = Self {
        low: f64::NEG_INFINITY,
        high: f64::INFINITY,
    };

    /// NaN, as from infinities of both signs, means that nothing is known.
    fn new(low: f64, high: f64) -> Self {
        if low <= high {
            Self { low, high }
        } else {
            Self::ANY
        }
    }

    fn negated(self) -> Self {
        Self::new(-self.high, -self.low)
    }

    fn hull(self, other: Self) -> Self {
        Self::new(self.low.min(other.low), self.high.max(other.high))
    }

    const fn is_finite(self) -> bool {
        self.low.is_finite() && self.high.is_finite()
    }

    fn is_without_zero(self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }

    fn crosses_zero(self) -> bool {
        self.low < 0.0 && self.high > 0.0
    }

    fn times(self, other: Self) -> Self {
        // Zero times anything finite is zero, however large.
        let product = |a: f64, b: f64| if a == 0.0 || b == 0.0 { 0.0 } else { a * b };
        let corners = [
            product(self.low, other.low),
            product(self.low, other.high),
            product(self.high, other.low),
            product(self.high, other.high),
        ];
        Self::new(
            corners.into_iter().fold(f64::INFINITY, f64::min),
            corners.into_iter().fold(f64::NEG_INFINITY, f64::max),
        )
    }

    /// One divided by it; by zero there is no result.
    fn inverse(self) -> Self {
        if self.crosses_zero() {
            return Self::new(-GREATEST, GREATEST);
        }
        let (low, high) = if self.high <= 0.0 {
            // Near zero, and below it.
            (
                if self.high == 0.0 {
                    -GREATEST
                } else {
                    1.0 / self.high
                },
                1.0 / self.low,
            )
        } else {
            (
                1.0 / self.high,
                if self.low == 0.0 { GREATEST } else { 1.0 / self.low },
            )
        };
        Self::new(low, high)
    }
}
