use std::fmt;

use rheostat_reading::{Absent, Quality};

use crate::error::Span;
use crate::tree::{Binary, Function, Id, Node, Tree, Unary};
use crate::{MAX_NODES, NameSet};

/// The value of one name.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// It is known.
    Known {
        /// The number, in the declared unit. NaN and infinities make what uses them absent.
        number: f64,
        /// How directly it was measured.
        quality: Quality,
    },
    /// It is not: no reading, too old, or not good enough, as whoever evaluates has decided.
    Absent(Absent),
}

/// What an expression gives for some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// It is known.
    Known {
        /// The number or condition.
        answer: Answer,
        /// The worst quality of the values that were used; `Measured` where none was.
        quality: Quality,
        /// The names whose values were used.
        used: NameSet,
    },
    /// It is not.
    Absent(Unknown),
}

/// A result that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// A finite number, never negative zero.
    Number(f64),
    /// Whether a condition holds.
    Condition(bool),
}

/// Why an expression has no result. At least one of the two is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// The names whose absent values would have been needed.
    pub missing: NameSet,
    /// What went wrong with values that are known; the first such thing.
    pub trouble: Option<Trouble>,
}

/// An operation on known values that gives no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What went wrong.
    pub kind: TroubleKind,
    /// Which part of the text it is.
    pub span: Span,
}

/// Why an operation gives no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TroubleKind {
    /// The divisor is zero.
    #[error("it divides by zero")]
    DivisionByZero,
    /// The result is beyond what a number can hold.
    #[error("its result is too large")]
    Overflow,
    /// The value of a name is NaN or infinite.
    #[error("its value is not finite")]
    NotFinite,
    /// `clamp` with a lower bound above the upper one.
    #[error("its lower bound is above its upper one")]
    EmptyRange,
}

impl Outcome {
    /// The number, where the result is one and known.
    #[must_use]
    pub const fn number(&self) -> Option<f64> {
        match self {
            Self::Known {
                answer: Answer::Number(number),
                ..
            } => Some(*number),
            _ => None,
        }
    }

    /// Whether the condition holds, where the result is one and known.
    #[must_use]
    pub const fn condition(&self) -> Option<bool> {
        match self {
            Self::Known {
                answer: Answer::Condition(holds),
                ..
            } => Some(*holds),
            _ => None,
        }
    }
}

impl fmt::Display for Answer {
    /// For people: whole numbers as they are, others with six significant digits.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(whole) if whole.fract() == 0.0 && whole.abs() < 1e15 => whole.fmt(out),
            Self::Number(number) => {
                let short = format!("{number:.5e}").parse().unwrap_or(*number);
                out.write_str(&crate::print::number(short))
            }
            Self::Condition(holds) => holds.fmt(out),
        }
    }
}

/// The results of all parts of an expression, in a fixed piece of memory.
pub(crate) struct Slots([Slot; MAX_NODES]);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) state: State,
    /// Of the used values; `Measured` where the state is absent.
    pub(crate) quality: Quality,
    pub(crate) used: NameSet,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    Number(f64),
    Condition(bool),
    Absent {
        missing: NameSet,
        trouble: Option<Failure>,
    },
}

/// A [`Trouble`] by its node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: TroubleKind,
    pub(crate) at: Id,
}

impl Slots {
    /// Computes every part from its operands. All parts are computed, also those that turn out
    /// not to be needed: what is not needed leaves no trace in what uses it.
    pub(crate) fn evaluate(tree: &Tree, values: &[Value]) -> Self {
        let mut slots = Self([Slot::NOTHING; MAX_NODES]);
        for (id, node) in tree.nodes() {
            let slot = slots.node(tree, id, node, values);
            if let Some(place) = slots.0.get_mut(id.index()) {
                *place = slot;
            }
        }
        slots
    }

    pub(crate) fn get(&self, id: Id) -> Slot {
        self.0.get(id.index()).copied().unwrap_or(Slot::NOTHING)
    }

    pub(crate) fn outcome(&self, tree: &Tree, id: Id) -> Outcome {
        let slot = self.get(id);
        let known = |answer| Outcome::Known {
            answer,
            quality: slot.quality,
            used: slot.used,
        };
        match slot.state {
            State::Number(number) => known(Answer::Number(number)),
            State::Condition(holds) => known(Answer::Condition(holds)),
            State::Absent { missing, trouble } => Outcome::Absent(Unknown {
                missing,
                trouble: trouble.map(|failure| Trouble {
                    kind: failure.kind,
                    span: tree.span(failure.at),
                }),
            }),
        }
    }

    fn node(&self, tree: &Tree, id: Id, node: Node, values: &[Value]) -> Slot {
        match node {
            Node::Number(number) => Slot::CONSTANT.with(State::Number(number)),
            Node::Percent(percent) => Slot::CONSTANT.finite(id, percent / 100.0),
            Node::Name(place) => name(id, place, values.get(place)),
            Node::Unary(Unary::Negate, operand) => self
                .get(operand)
                .map_number(|slot, number| slot.finite(id, -number)),
            Node::Unary(Unary::Not, operand) => match self.get(operand) {
                slot @ Slot {
                    state: State::Condition(holds),
                    ..
                } => slot.with(State::Condition(!holds)),
                slot => slot,
            },
            Node::Binary(operator, left, right) => binary(id, operator, self.get(left), self.get(right)),
            Node::Call(function, arguments) => self.call(id, function, tree.arguments(arguments)),
        }
    }

    fn call(&self, id: Id, function: Function, arguments: &[Id]) -> Slot {
        match (function, arguments) {
            (Function::Known, &[operand]) => {
                let slot = self.get(operand);
                match slot.state {
                    State::Absent { .. } => Slot::CONSTANT.with(State::Condition(false)),
                    State::Number(_) | State::Condition(_) => slot.with(State::Condition(true)),
                }
            }
            (Function::If, &[condition, then, otherwise]) => {
                let condition = self.get(condition);
                match condition.state {
                    State::Condition(holds) => {
                        condition.leads_to(self.get(if holds { then } else { otherwise }))
                    }
                    _ => condition,
                }
            }
            (Function::Clamp, &[x, low, high]) => clamp(id, self.get(x), self.get(low), self.get(high)),
            (Function::Abs, &[x]) => self
                .get(x)
                .map_number(|slot, number| slot.finite(id, number.abs())),
            (Function::Ceil, &[x]) => self
                .get(x)
                .map_number(|slot, number| slot.finite(id, number.ceil())),
            (Function::Floor, &[x]) => self
                .get(x)
                .map_number(|slot, number| slot.finite(id, number.floor())),
            (Function::Round, &[x]) => self
                .get(x)
                .map_number(|slot, number| slot.finite(id, number.round())),
            _ => {
                let combine: fn(f64, f64) -> f64 = match function {
                    Function::Min => f64::min,
                    Function::Max => f64::max,
                    _ => |sum, next| sum + next,
                };
                let folded = arguments
                    .iter()
                    .map(|argument| self.get(*argument))
                    .reduce(|left, right| {
                        left.both(right, |slot, left, right| slot.finite(id, combine(left, right)))
                    });
                folded.unwrap_or(Slot::NOTHING)
            }
        }
    }
}

fn name(id: Id, place: usize, value: Option<&Value>) -> Slot {
    let own = NameSet::one(place);
    match value {
        Some(Value::Known { number, quality }) if number.is_finite() => Slot {
            state: State::Number(number + 0.0),
            quality: *quality,
            used: own,
        },
        Some(Value::Known { .. }) => Slot::CONSTANT.failed(id, TroubleKind::NotFinite),
        Some(Value::Absent(_)) | None => Slot::CONSTANT.with(State::Absent {
            missing: own,
            trouble: None,
        }),
    }
}

fn binary(id: Id, operator: Binary, left: Slot, right: Slot) -> Slot {
    let compare = |holds: fn(&f64, &f64) -> bool| {
        left.both(right, |slot, left, right| {
            slot.with(State::Condition(holds(&left, &right)))
        })
    };
    match operator {
        Binary::OrElse => match (left.state, right.state) {
            (State::Absent { .. }, State::Absent { .. }) => left.join(right),
            (State::Absent { .. }, _) => right,
            _ => left,
        },
        Binary::And => decide(false, left, right),
        Binary::Or => decide(true, left, right),
        Binary::Less => compare(f64::lt),
        Binary::LessOrEqual => compare(f64::le),
        Binary::Greater => compare(f64::gt),
        Binary::GreaterOrEqual => compare(f64::ge),
        Binary::Equal => compare(f64::eq),
        Binary::NotEqual => compare(f64::ne),
        Binary::Add => left.both(right, |slot, left, right| slot.finite(id, left + right)),
        Binary::Subtract => left.both(right, |slot, left, right| slot.finite(id, left - right)),
        Binary::Multiply => left.both(right, |slot, left, right| slot.finite(id, left * right)),
        Binary::Divide => match right.state {
            // Whatever the left side is, and also where it is absent.
            State::Number(0.0) => left.join(Slot::CONSTANT.failed(id, TroubleKind::DivisionByZero)),
            _ => left.both(right, |slot, left, right| slot.finite(id, left / right)),
        },
    }
}

/// Kleene's conjunction (`decisive` false) or disjunction (`decisive` true): one decisive side is
/// enough, whether the other is known or not. Of two decisive sides the left one counts.
fn decide(decisive: bool, left: Slot, right: Slot) -> Slot {
    let decides = |slot: Slot| matches!(slot.state, State::Condition(holds) if holds == decisive);
    if decides(left) {
        return left;
    }
    if decides(right) {
        return right;
    }
    match (left.state, right.state) {
        (State::Absent { .. }, _) | (_, State::Absent { .. }) => left.join(right),
        _ => left.leads_to(right),
    }
}

fn clamp(id: Id, x: Slot, low: Slot, high: Slot) -> Slot {
    let range = low.both(high, |slot, low, high| {
        if low > high {
            slot.failed(id, TroubleKind::EmptyRange)
        } else {
            slot.with(State::Number(low))
        }
    });
    let raised = x.both(range, |slot, x, low| slot.with(State::Number(x.max(low))));
    raised.both(high, |slot, x, high| slot.with(State::Number(x.min(high))))
}

impl Slot {
    /// Known without any name.
    const CONSTANT: Self = Self {
        state: State::Number(0.0),
        quality: Quality::Measured,
        used: NameSet::EMPTY,
    };
    /// Of a node that is not there, which no tree refers to.
    const NOTHING: Self = Self {
        state: State::Absent {
            missing: NameSet::EMPTY,
            trouble: None,
        },
        quality: Quality::Measured,
        used: NameSet::EMPTY,
    };

    const fn with(self, state: State) -> Self {
        Self { state, ..self }
    }

    /// A number from this slot's operands; absent where it is not finite.
    fn finite(self, id: Id, number: f64) -> Self {
        if number.is_finite() {
            // Adding zero turns -0 into 0.
            self.with(State::Number(number + 0.0))
        } else {
            self.failed(id, TroubleKind::Overflow)
        }
    }

    const fn failed(self, at: Id, kind: TroubleKind) -> Self {
        Self::NOTHING.with(State::Absent {
            missing: NameSet::EMPTY,
            trouble: Some(Failure { kind, at }),
        })
    }

    fn map_number(self, compute: impl FnOnce(Self, f64) -> Self) -> Self {
        match self.state {
            State::Number(number) => compute(self, number),
            _ => self,
        }
    }

    /// Computes from two numbers; absent where one of them is.
    fn both(self, other: Self, compute: impl FnOnce(Self, f64, f64) -> Self) -> Self {
        match (self.state, other.state) {
            (State::Number(left), State::Number(right)) => {
                let used = Self {
                    quality: self.quality.max(other.quality),
                    used: self.used.with(other.used),
                    ..self
                };
                compute(used, left, right)
            }
            _ => self.join(other),
        }
    }

    /// What two slots lack together.
    fn join(self, other: Self) -> Self {
        let (missing, trouble) = self.lack();
        let (others, other_trouble) = other.lack();
        Self::NOTHING.with(State::Absent {
            missing: missing.with(others),
            trouble: trouble.or(other_trouble),
        })
    }

    const fn lack(self) -> (NameSet, Option<Failure>) {
        match self.state {
            State::Absent { missing, trouble } => (missing, trouble),
            State::Number(_) | State::Condition(_) => (NameSet::EMPTY, None),
        }
    }

    /// The other slot, to which this one, which is known, has led.
    fn leads_to(self, other: Self) -> Self {
        match other.state {
            State::Absent { .. } => other,
            _ => Self {
                state: other.state,
                quality: self.quality.max(other.quality),
                used: self.used.with(other.used),
            },
        }
    }
}
