use std::fmt;

use crate::evaluate::{Slots, State};
use crate::tree::{Binary, Function, Id, Level, Node};
use crate::{Answer, Expression, Outcome, Value, print};

/// How an expression came to its result: a [`Step`] for each part that has operands and for each
/// name, outermost first.
///
/// Shown as one line per step, indented by depth:
///
/// ```text
/// max(waiting/5, kv/0.8) = max(2.4, 1.1) = 2.4 (derived)
///   waiting/5 = 12/5 = 2.4 (measured)
///     waiting = 12 (measured)
///   kv/0.8 = 0.88/0.8 = 1.1 (derived)
///     kv = 0.88 (derived)
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The steps, each before those of its operands.
    pub steps: Vec<Step>,
}

/// One part of an expression and what it came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// How many parts it is inside of.
    pub depth: usize,
    /// The part, as [`Expression::canonical`] writes it.
    pub text: String,
    /// The same with the operands' results in place of them, `?` for one that is absent; `None`
    /// for a name.
    pub substituted: Option<String>,
    /// What it came to.
    pub outcome: Outcome,
    /// Whether the whole result took it: not so for the branch of `if` that was not taken, the
    /// right side of `or` behind a known left one, and a side of `&&` and `||` that decides nothing.
    pub counted: bool,
    /// Why it is absent, in words; empty where it is known.
    pub reason: String,
}

impl Expression {
    /// Evaluates, and says how each part came out.
    #[must_use]
    pub fn explain(&self, values: &[Value]) -> Explanation {
        let tree = &self.tree;
        let slots = Slots::evaluate(tree, values);
        let texts = print::all(tree, |place| self.names.name(place).to_owned());
        let mut steps = Vec::with_capacity(tree.len());
        // What is still to be told, next one last.
        let mut pending: Vec<(Id, usize, bool)> =
            tree.root().map(|root| (root, 0, true)).into_iter().collect();
        while let Some((id, depth, counted)) = pending.pop() {
            let Some(node) = tree.node(id) else { continue };
            if matches!(node, Node::Number(_) | Node::Percent(_)) && depth > 0 {
                continue;
            }
            let operands = tree.operands(node);
            let outcome = slots.outcome(tree, id);
            let reason = match &outcome {
                Outcome::Known { .. } => String::new(),
                Outcome::Absent(unknown) => self.reason(unknown, values),
            };
            steps.push(Step {
                depth,
                text: texts.get(id.index()).cloned().unwrap_or_default(),
                substituted: (!operands.is_empty()).then(|| substitute(&slots, node, &operands, self)),
                outcome,
                counted,
                reason,
            });
            let takes = taken(&slots, node, &operands);
            for (place, operand) in operands.into_iter().enumerate().rev() {
                pending.push((operand, depth + 1, counted && takes(place)));
            }
        }
        Explanation { steps }
    }
}

/// A node with its operands' results in place of them.
fn substitute(slots: &Slots, node: Node, operands: &[Id], expression: &Expression) -> String {
    let shown: Vec<_> = operands
        .iter()
        .map(|id| match slots.outcome(&expression.tree, *id) {
            Outcome::Known { answer, .. } => {
                let negative = matches!(answer, Answer::Number(number) if number < 0.0);
                (
                    answer.to_string(),
                    if negative { Level::Product } else { Level::Primary },
                )
            }
            Outcome::Absent(_) => ("?".to_owned(), Level::Primary),
        })
        .collect();
    let parts: Vec<_> = shown
        .iter()
        .map(|(text, level)| (text.as_str(), *level))
        .collect();
    print::compose(node, &parts)
}

/// Which operands of a node its result took.
fn taken(slots: &Slots, node: Node, operands: &[Id]) -> impl Fn(usize) -> bool + use<> {
    let state = |place: usize| operands.get(place).map(|id| slots.get(*id).state);
    let (left, right) = (state(0), state(1));
    let skipped = match node {
        Node::Binary(Binary::OrElse, ..) => match (left, right) {
            (Some(State::Absent { .. }), Some(State::Absent { .. })) => None,
            (Some(State::Absent { .. }), _) => Some([0, 0]),
            _ => Some([1, 1]),
        },
        Node::Binary(operator @ (Binary::And | Binary::Or), ..) => {
            let decisive = operator == Binary::Or;
            let decides = |state| matches!(state, Some(State::Condition(holds)) if holds == decisive);
            match (decides(left), decides(right)) {
                (true, _) => Some([1, 1]),
                (false, true) => Some([0, 0]),
                _ => None,
            }
        }
        Node::Call(Function::If, _) => match left {
            Some(State::Condition(true)) => Some([2, 2]),
            Some(State::Condition(false)) => Some([1, 1]),
            _ => Some([1, 2]),
        },
        _ => None,
    };
    move |place| skipped.is_none_or(|skipped| !skipped.contains(&place))
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.steps.iter().enumerate() {
            if place > 0 {
                writeln!(out)?;
            }
            write!(out, "{:indent$}{step}", "", indent = 2 * step.depth)?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    /// Only the whole and the names say why they are absent, so that a reason is not told for
    /// every part between.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.substituted, &self.outcome) {
            (None, Outcome::Absent(_)) => out.write_str(&self.reason)?,
            (None, Outcome::Known { .. }) => out.write_str(&self.text)?,
            (Some(substituted), _) => write!(out, "{} = {substituted}", self.text)?,
        }
        match (&self.outcome, &self.substituted) {
            (Outcome::Known { answer, used, .. }, _) if used.is_empty() => write!(out, " = {answer}")?,
            (Outcome::Known { answer, quality, .. }, _) => write!(out, " = {answer} ({quality})")?,
            (Outcome::Absent(_), Some(_)) if self.depth == 0 => write!(out, " = ?: {}", self.reason)?,
            (Outcome::Absent(_), Some(_)) => out.write_str(" = ?")?,
            (Outcome::Absent(_), None) => {}
        }
        if self.counted {
            Ok(())
        } else {
            out.write_str(", not needed")
        }
    }
}
