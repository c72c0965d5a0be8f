//! The names that the tests use.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use rheostat_expression::{Declared, Expression, Kind, Names, Value, compile};
use rheostat_reading::{Absent, Quality, Unit};

pub const NAMES: [(&str, Unit, Kind); 10] = [
    ("waiting", Unit::Count, Kind::Amount),
    ("running", Unit::Count, Kind::Amount),
    ("kv", Unit::Ratio, Kind::Intensity),
    ("gpu", Unit::Ratio, Kind::Intensity),
    ("ttft", Unit::Seconds, Kind::Intensity),
    ("rate", Unit::PerSecond, Kind::Amount),
    ("memory", Unit::Bytes, Kind::Amount),
    ("traffic", Unit::BytesPerSecond, Kind::Amount),
    ("power", Unit::Watts, Kind::Amount),
    ("temperature", Unit::Celsius, Kind::Intensity),
];

pub fn names() -> Names {
    let mut names = Names::new();
    for (name, unit, kind) in NAMES {
        names.declare(name, Declared { unit, kind }).unwrap();
    }
    names
}

pub fn compiled(text: &str) -> Expression {
    compile(text, &names()).unwrap_or_else(|error| panic!("{error}"))
}

pub fn measured(number: f64) -> Value {
    Value::Known {
        number,
        quality: Quality::Measured,
    }
}

/// Values for the names that are given; the others are absent.
pub fn values(given: &[(&str, f64)]) -> Vec<Value> {
    for (name, _) in given {
        assert!(NAMES.iter().any(|(known, ..)| known == name), "{name}");
    }
    let value = |name: &str| given.iter().find(|(known, _)| *known == name);
    NAMES
        .iter()
        .map(|(name, ..)| value(name).map_or(Value::Absent(Absent::NotYet), |(_, number)| measured(*number)))
        .collect()
}
