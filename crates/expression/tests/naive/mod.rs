//! Random well-typed expressions and a plain, recursive evaluator of them that shares nothing
//! with the crate's.
#![allow(unreachable_pub, reason = "part of a test")]

use std::collections::BTreeSet;

use rheostat_expression::{TroubleKind, Value};
use rheostat_reading::Quality;

/// An expression as the tests see it.
#[derive(Clone, Debug)]
pub enum Part {
    Number(&'static str, f64),
    Name(&'static str, usize),
    Sign(Box<Part>),
    Not(Box<Part>),
    Operation(&'static str, Box<Part>, Box<Part>),
    Call(&'static str, Vec<Part>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Truth {
    Number(f64),
    Condition(bool),
}

/// What is missing for a result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lack {
    pub missing: BTreeSet<usize>,
    pub trouble: Option<TroubleKind>,
}

pub type Found = Result<(Truth, Quality, BTreeSet<usize>), Lack>;

/// What a random part is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Count,
    Ratio,
    /// Of literals only, so that it has no unit.
    Literal,
    Condition,
}

/// Makes an expression of random bytes; of zeros when they are used up, which gives leaves.
pub struct Choices<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

const LITERALS: [(&str, f64); 9] = [
    ("1", 1.0),
    ("0", 0.0),
    ("5", 5.0),
    ("0.8", 0.8),
    ("3", 3.0),
    ("2.5k", 2500.0),
    ("1e200", 1e200),
    ("7", 7.0),
    ("0.1", 0.1),
];
const COUNTS: [(&str, usize); 2] = [("waiting", 0), ("running", 1)];
const RATIOS: [(&str, usize); 2] = [("kv", 2), ("gpu", 3)];

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.iter() }
    }

    pub fn whole(&mut self) -> Part {
        let wanted = [Wanted::Count, Wanted::Ratio, Wanted::Condition][self.pick(3)];
        self.part(wanted, 5)
    }

    fn pick(&mut self, of: usize) -> usize {
        usize::from(self.bytes.next().copied().unwrap_or(0)) % of
    }

    fn part(&mut self, wanted: Wanted, depth: usize) -> Part {
        if wanted == Wanted::Condition {
            return self.condition(depth);
        }
        let choice = if depth == 0 { 0 } else { self.pick(17) };
        let depth = depth.saturating_sub(1);
        match choice {
            0 | 1 => self.leaf(wanted),
            2 => self.operation("+", wanted, wanted, depth),
            3 => self.operation("-", wanted, wanted, depth),
            4 => self.operation("*", wanted, Wanted::Literal, depth),
            5 => self.operation("*", Wanted::Literal, wanted, depth),
            6 => self.operation("or", wanted, wanted, depth),
            7 => self.operation("or", wanted, Wanted::Literal, depth),
            8 => Part::Sign(Box::new(self.part(wanted, depth))),
            9 => {
                let count = 1 + self.pick(3);
                let name = ["min", "max", "sum"][self.pick(3)];
                Part::Call(name, (0..count).map(|_| self.part(wanted, depth)).collect())
            }
            10 => {
                let range = [Wanted::Literal, wanted][self.pick(2)];
                let arguments = [wanted, range, wanted].map(|wanted| self.part(wanted, depth));
                Part::Call("clamp", arguments.into())
            }
            11 => {
                let arguments = [Wanted::Condition, wanted, wanted].map(|wanted| self.part(wanted, depth));
                Part::Call("if", arguments.into())
            }
            12 => {
                let name = ["abs", "ceil", "floor", "round"][self.pick(4)];
                Part::Call(name, vec![self.part(wanted, depth)])
            }
            13 | 14 => self.quotient(wanted, depth),
            15 if wanted == Wanted::Count => self.operation("*", wanted, Wanted::Ratio, depth),
            _ => self.operation("+", wanted, Wanted::Literal, depth),
        }
    }

    fn quotient(&mut self, wanted: Wanted, depth: usize) -> Part {
        let choice = self.pick(3);
        match (wanted, choice) {
            (Wanted::Ratio, 0) => self.operation("/", Wanted::Count, Wanted::Literal, depth),
            (Wanted::Ratio, 1) => self.operation("/", Wanted::Count, Wanted::Count, depth),
            (Wanted::Ratio, _) => self.operation("/", Wanted::Ratio, Wanted::Literal, depth),
            (Wanted::Count, _) => self.operation("/", Wanted::Count, Wanted::Ratio, depth),
            _ => self.operation("/", Wanted::Literal, Wanted::Literal, depth),
        }
    }

    fn condition(&mut self, depth: usize) -> Part {
        let choice = if depth == 0 { 0 } else { self.pick(8) };
        let depth = depth.saturating_sub(1);
        match choice {
            0..=2 => {
                let sides = [Wanted::Count, Wanted::Ratio][self.pick(2)];
                let operator = ["<", "<=", ">", ">=", "==", "!="][self.pick(6)];
                self.operation(operator, sides, sides, depth)
            }
            3 | 4 => self.operation("&&", Wanted::Condition, Wanted::Condition, depth),
            5 => self.operation("||", Wanted::Condition, Wanted::Condition, depth),
            6 => Part::Not(Box::new(self.condition(depth))),
            _ => {
                let wanted = [Wanted::Count, Wanted::Condition][self.pick(2)];
                Part::Call("known", vec![self.part(wanted, depth)])
            }
        }
    }

    fn operation(&mut self, operator: &'static str, left: Wanted, right: Wanted, depth: usize) -> Part {
        let left = self.part(left, depth);
        Part::Operation(operator, Box::new(left), Box::new(self.part(right, depth)))
    }

    fn leaf(&mut self, wanted: Wanted) -> Part {
        let (name, place) = match wanted {
            Wanted::Count => COUNTS[self.pick(2)],
            Wanted::Ratio => {
                if self.pick(4) == 3 {
                    return Part::Number("80%", 0.8);
                }
                RATIOS[self.pick(2)]
            }
            Wanted::Literal | Wanted::Condition => {
                let (text, number) = LITERALS[self.pick(LITERALS.len())];
                return Part::Number(text, number);
            }
        };
        Part::Name(name, place)
    }
}

impl Part {
    /// With every parenthesis, so that no rule of precedence matters.
    pub fn text(&self) -> String {
        match self {
            Self::Number(text, _) => (*text).to_owned(),
            Self::Name(name, _) => (*name).to_owned(),
            Self::Sign(part) => format!("(-{})", part.text()),
            Self::Not(part) => format!("(!{})", part.text()),
            Self::Operation(operator, left, right) => {
                format!("({} {operator} {})", left.text(), right.text())
            }
            Self::Call(name, arguments) => {
                let arguments: Vec<_> = arguments.iter().map(Self::text).collect();
                format!("{name}({})", arguments.join(","))
            }
        }
    }

    pub fn evaluate(&self, values: &[Value]) -> Found {
        match self {
            Self::Number(_, number) => Ok((Truth::Number(*number), Quality::Measured, BTreeSet::new())),
            Self::Name(_, place) => match &values[*place] {
                Value::Known { number, quality } if number.is_finite() => {
                    Ok((Truth::Number(number + 0.0), *quality, BTreeSet::from([*place])))
                }
                Value::Known { .. } => trouble(TroubleKind::NotFinite),
                Value::Absent(_) => Err(Lack {
                    missing: BTreeSet::from([*place]),
                    trouble: None,
                }),
            },
            Self::Sign(part) => numbers(&[part.evaluate(values)], |numbers| Ok(-numbers[0])),
            Self::Not(part) => match part.evaluate(values)? {
                (Truth::Condition(holds), quality, used) => Ok((Truth::Condition(!holds), quality, used)),
                (Truth::Number(_), ..) => panic!("a number"),
            },
            Self::Operation(operator, left, right) => {
                operation(operator, left.evaluate(values), right.evaluate(values))
            }
            Self::Call(name, arguments) => call(
                name,
                &arguments
                    .iter()
                    .map(|part| part.evaluate(values))
                    .collect::<Vec<_>>(),
            ),
        }
    }
}

fn operation(operator: &str, left: Found, right: Found) -> Found {
    match operator {
        "or" => match (left, right) {
            (Ok(known), _) | (Err(_), Ok(known)) => Ok(known),
            (Err(left), Err(right)) => Err(left.with(&right)),
        },
        "&&" | "||" => {
            let decisive = operator == "||";
            match (left, right) {
                (Ok(left), _) if left.0 == Truth::Condition(decisive) => Ok(left),
                (_, Ok(right)) if right.0 == Truth::Condition(decisive) => Ok(right),
                (Ok((_, one, mut names)), Ok((holds, other, more))) => {
                    names.extend(more);
                    Ok((holds, one.max(other), names))
                }
                (Err(left), Err(right)) => Err(left.with(&right)),
                (Err(lack), _) | (_, Err(lack)) => Err(lack),
            }
        }
        "/" if matches!(right, Ok((Truth::Number(zero), ..)) if zero.to_bits() << 1 == 0) => {
            let zero = trouble(TroubleKind::DivisionByZero).unwrap_err();
            Err(left.err().unwrap_or_default().with(&zero))
        }
        "<" | "<=" | ">" | ">=" | "==" | "!=" => {
            let difference = numbers(&[left.clone(), right.clone()], |_| Ok(0.0))?;
            let (Truth::Number(left), Truth::Number(right)) = (left.unwrap().0, right.unwrap().0) else {
                panic!("a condition");
            };
            let order = left.partial_cmp(&right).unwrap();
            let holds = match operator {
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                ">=" => order.is_ge(),
                "==" => order.is_eq(),
                _ => order.is_ne(),
            };
            Ok((Truth::Condition(holds), difference.1, difference.2))
        }
        _ => numbers(&[left, right], |numbers| {
            Ok(match operator {
                "+" => numbers[0] + numbers[1],
                "-" => numbers[0] - numbers[1],
                "*" => numbers[0] * numbers[1],
                _ => numbers[0] / numbers[1],
            })
        }),
    }
}

fn call(name: &str, arguments: &[Found]) -> Found {
    match name {
        "known" => match &arguments[0] {
            Ok((_, quality, used)) => Ok((Truth::Condition(true), *quality, used.clone())),
            Err(_) => Ok((Truth::Condition(false), Quality::Measured, BTreeSet::new())),
        },
        "if" => {
            let (Truth::Condition(holds), one, mut names) = arguments[0].clone()? else {
                panic!("a number");
            };
            let (result, other, more) = arguments[if holds { 1 } else { 2 }].clone()?;
            names.extend(more);
            Ok((result, one.max(other), names))
        }
        "clamp" => {
            // Bounds that contradict each other are found even where the first argument is absent.
            let bounds = numbers(&arguments[1..], |bounds| {
                if bounds[0] > bounds[1] {
                    Err(TroubleKind::EmptyRange)
                } else {
                    Ok(0.0)
                }
            });
            if let Err(bounds) = bounds {
                return Err(arguments[0].clone().err().unwrap_or_default().with(&bounds));
            }
            numbers(arguments, |numbers| Ok(numbers[0].clamp(numbers[1], numbers[2])))
        }
        _ => {
            // A sum may overflow on the way although later arguments are absent.
            let mut arguments = arguments.iter().cloned();
            let first = arguments.next().unwrap();
            let combine = |left: Found, right: Found| {
                numbers(&[left, right], |numbers| {
                    Ok(match name {
                        "min" if numbers[1] < numbers[0] => numbers[1],
                        "max" if numbers[1] > numbers[0] => numbers[1],
                        "min" | "max" => numbers[0],
                        _ => numbers[0] + numbers[1],
                    })
                })
            };
            match name {
                "min" | "max" | "sum" => arguments.fold(first, combine),
                _ => numbers(&[first], |numbers| {
                    Ok(match name {
                        "abs" => numbers[0].abs(),
                        "ceil" => numbers[0].ceil(),
                        "floor" => numbers[0].floor(),
                        _ => numbers[0].round(),
                    })
                }),
            }
        }
    }
}

/// Computes from numbers that must all be known.
fn numbers(operands: &[Found], compute: impl Fn(&[f64]) -> Result<f64, TroubleKind>) -> Found {
    let lack = operands.iter().filter_map(|operand| operand.as_ref().err());
    if let Some(lack) = lack.cloned().reduce(|one, other| one.with(&other)) {
        return Err(lack);
    }
    let mut numbers = Vec::new();
    let (mut worst, mut names) = (Quality::Measured, BTreeSet::new());
    for operand in operands.iter().flatten() {
        let Truth::Number(number) = operand.0 else {
            panic!("a condition");
        };
        numbers.push(number);
        worst = worst.max(operand.1);
        names.extend(&operand.2);
    }
    match compute(&numbers) {
        Ok(number) if number.is_finite() => Ok((Truth::Number(number + 0.0), worst, names)),
        Ok(_) => trouble(TroubleKind::Overflow),
        Err(kind) => trouble(kind),
    }
}

fn trouble(kind: TroubleKind) -> Found {
    Err(Lack {
        missing: BTreeSet::new(),
        trouble: Some(kind),
    })
}

impl Lack {
    fn with(&self, other: &Self) -> Self {
        Self {
            missing: self.missing.union(&other.missing).copied().collect(),
            trouble: self.trouble.or(other.trouble),
        }
    }
}
