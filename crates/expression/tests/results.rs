//! Types, values, qualities and absences.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::{compiled, measured, names, values};
use rheostat_expression::{
    Answer, Dimension, Outcome, ResultType, Span, Trouble, TroubleKind, Unknown, Value,
};
use rheostat_reading::{Absent, Quality, Unit};

const KNOWN: [(&str, f64); 6] = [
    ("waiting", 12.0),
    ("running", 3.0),
    ("kv", 0.88),
    ("ttft", 2.0),
    ("rate", 4.0),
    ("memory", 1024.0),
];

#[test]
fn units_of_results() {
    for (text, unit) in [
        ("max(waiting/5, kv/0.8)", Unit::Ratio),
        ("waiting + running", Unit::Count),
        ("waiting + 5", Unit::Count),
        ("5 + waiting", Unit::Count),
        ("waiting * 2", Unit::Count),
        ("2 * waiting", Unit::Count),
        ("(waiting + running) * 0.5", Unit::Count),
        ("waiting/(2*3)", Unit::Ratio),
        ("waiting/if(kv > 0.9, 4, 8)", Unit::Ratio),
        ("waiting/running", Unit::Ratio),
        ("waiting/5 + kv", Unit::Ratio),
        ("waiting*kv", Unit::Count),
        ("waiting*80%", Unit::Count),
        ("waiting/80%", Unit::Count),
        ("kv/80%", Unit::Ratio),
        ("kv - 80%", Unit::Ratio),
        ("rate*ttft + waiting", Unit::Count),
        ("memory/ttft", Unit::BytesPerSecond),
        ("memory/traffic", Unit::Seconds),
        ("power*ttft", Unit::Joules),
        ("1/ttft", Unit::Hertz),
        ("waiting/ttft + rate", Unit::PerSecond),
        ("min(ttft, 3)", Unit::Seconds),
        ("clamp(1, waiting, 9)", Unit::Count),
        ("if(kv > 1, 5, waiting)", Unit::Count),
        ("waiting or 0", Unit::Count),
        ("-abs(ceil(floor(round(temperature))))", Unit::Celsius),
        ("sum(waiting)", Unit::Count),
        ("memory - 20Gi", Unit::Bytes),
        ("5", Unit::Ratio),
    ] {
        let result = compiled(text).result();
        assert_eq!(result, ResultType::Number(Dimension::of(unit)), "{text}");
    }
    for text in [
        "ttft > 2",
        "known(kv)",
        "!known(kv)",
        "if(kv > 1, gpu > 1, known(kv))",
        "kv > 1 && gpu > 1",
    ] {
        assert_eq!(compiled(text).result(), ResultType::Condition, "{text}");
    }
    assert_eq!(compiled("waiting").result().to_string(), "a number in count");
}

#[test]
fn numbers() {
    for (text, number) in [
        ("max(waiting/5, kv/0.8)", 2.4),
        ("1 + 2*3 - 4/2", 5.0),
        ("2 - 3 - 4", -5.0),
        ("24/4/2", 3.0),
        ("-2*-3", 6.0),
        ("-(2 - 5)", 3.0),
        ("2 - -3", 5.0),
        ("80%", 0.8),
        ("55%", 0.55),
        ("1.5Ki", 1536.0),
        ("min(3, 1, 2)", 1.0),
        ("max(3, 1, 2)", 3.0),
        ("sum(3, 1, 2)", 6.0),
        ("max(7)", 7.0),
        ("clamp(5, 1, 3)", 3.0),
        ("clamp(-5, 1, 3)", 1.0),
        ("clamp(2, 1, 3)", 2.0),
        ("abs(-2)", 2.0),
        ("ceil(1.2)", 2.0),
        ("floor(-1.2)", -2.0),
        ("round(2.5)", 3.0),
        ("round(-2.5)", -3.0),
        ("if(waiting > 10, waiting, 1)", 12.0),
        ("if(waiting <= 10, waiting, 1)", 1.0),
        ("waiting or 5", 12.0),
        ("power or 5", 5.0),
        ("power or 7*power or 9", 9.0),
        ("waiting - 2 or 5", 10.0),
        ("rate*ttft + waiting", 20.0),
    ] {
        let found = compiled(text).evaluate(&values(&KNOWN)).number().unwrap();
        assert!((found - number).abs() < 1e-12, "{text} = {found}");
    }
}

#[test]
fn conditions() {
    for (text, holds) in [
        ("waiting > 12", false),
        ("waiting >= 12", true),
        ("waiting < 12", false),
        ("waiting <= 12", true),
        ("waiting == 12", true),
        ("waiting != 12", false),
        ("not waiting > 12", true),
        ("!(waiting > 12) and kv < 1", true),
        ("waiting > 12 || kv < 1 && ttft > 5", false),
        ("known(waiting) && !known(power)", true),
        ("known(waiting/(running - 3))", false),
        ("known(power or waiting/running*power or 1)", true),
        ("(power or 1) > 0", true),
        ("0 == -0", true),
    ] {
        let outcome = compiled(text).evaluate(&values(&KNOWN));
        assert_eq!(outcome.condition(), Some(holds), "{text}");
        assert_eq!(outcome.number(), None);
    }
}

#[test]
fn no_negative_zero() {
    for text in [
        "-(running - running)",
        "0 * -5",
        "round(-0.2)",
        "-0",
        "ceil(-0.5)",
        "waiting*0",
        "min(0, -0)",
    ] {
        let mut given = values(&KNOWN);
        given[0] = measured(-0.0);
        let number = compiled(text).evaluate(&given).number().unwrap();
        assert!(number.to_bits() == 0, "{text} = {number:?}");
    }
}

/// The three truths: holds, does not, absent.
const TRUTHS: [(&str, Option<bool>); 3] = [
    ("waiting > 0", Some(true)),
    ("waiting < 0", Some(false)),
    ("power > 0", None),
];

#[test]
fn logic_is_that_of_kleene() {
    for (left, left_truth) in TRUTHS {
        for (right, right_truth) in TRUTHS {
            let and = match (left_truth, right_truth) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            };
            let or = match (left_truth, right_truth) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            };
            for (text, truth) in [
                (format!("{left} && {right}"), and),
                (format!("{left} and {right}"), and),
                (format!("{left} || {right}"), or),
            ] {
                assert_eq!(
                    compiled(&text).evaluate(&values(&KNOWN)).condition(),
                    truth,
                    "{text}"
                );
            }
        }
        let negated = compiled(&format!("not {left}")).evaluate(&values(&KNOWN));
        assert_eq!(negated.condition(), left_truth.map(|truth| !truth));
    }
}

/// The names missing from `text` where only `KNOWN` are known.
fn missing(text: &str) -> Vec<String> {
    let expression = compiled(text);
    match expression.evaluate(&values(&KNOWN)) {
        Outcome::Absent(unknown) => expression.names_of(unknown.missing).map(str::to_owned).collect(),
        known @ Outcome::Known { .. } => panic!("{text} is {known:?}"),
    }
}

#[test]
fn an_absent_operand_makes_the_result_absent() {
    for (text, names) in [
        ("power", &["power"][..]),
        ("power + 1", &["power"]),
        ("0*power", &["power"]),
        ("-power > 0", &["power"]),
        ("max(waiting/5, gpu)", &["gpu"]),
        ("gpu + kv + power/100", &["gpu", "power"]),
        ("clamp(kv, gpu, 1)", &["gpu"]),
        ("clamp(power, 0, 1)", &["power"]),
        ("if(power > 1, 1, 2)", &["power"]),
        ("if(waiting > 1, power, 2)", &["power"]),
        ("power or traffic*ttft*power/memory", &["traffic", "power"]),
        ("waiting > 0 && power > 0", &["power"]),
        ("gpu > 0 || power > 0", &["gpu", "power"]),
        ("not power > 0", &["power"]),
        ("sum(kv, gpu, 1)", &["gpu"]),
    ] {
        assert_eq!(missing(text), names, "{text}");
    }
}

#[test]
fn what_is_not_needed_may_be_absent() {
    for (text, used) in [
        ("waiting or power*waiting/power", "waiting"),
        ("if(waiting > 1, kv, gpu)", "waiting kv"),
        ("if(waiting < 1, gpu, kv)", "waiting kv"),
        ("waiting < 1 && power > 0", "waiting"),
        ("power > 0 && waiting < 1", "waiting"),
        ("waiting > 1 || power > 0", "waiting"),
        ("power > 0 || waiting > 1", "waiting"),
        ("waiting > 1 && kv > 0", "waiting kv"),
        ("waiting < 1 && kv < 0", "waiting"),
        ("power*0 or 1", ""),
        ("known(power)", ""),
        ("known(waiting)", "waiting"),
        ("power/power*kv or kv", "kv"),
    ] {
        let expression = compiled(text);
        let Outcome::Known { used: names, .. } = expression.evaluate(&values(&KNOWN)) else {
            panic!("{text} is absent");
        };
        assert_eq!(
            expression.names_of(names).collect::<Vec<_>>().join(" "),
            used,
            "{text}"
        );
    }
}

#[test]
fn impossible_operations_are_absent_with_the_place() {
    for (text, kind, start, end) in [
        ("kv + waiting/(running - 3)", TroubleKind::DivisionByZero, 5, 26),
        ("waiting*1e200*1e200", TroubleKind::Overflow, 0, 19),
        ("kv + clamp(1, ttft/1, kv)", TroubleKind::EmptyRange, 5, 25),
    ] {
        let expression = compiled(text);
        let unknown = Unknown {
            trouble: Some(Trouble {
                kind,
                span: Span { start, end },
            }),
            ..Unknown::default()
        };
        assert_eq!(
            expression.evaluate(&values(&KNOWN)),
            Outcome::Absent(unknown),
            "{text}"
        );
    }
    // An absent dividend and a divisor of zero: both are told.
    let expression = compiled("power/(running - 3)*waiting");
    let Outcome::Absent(unknown) = expression.evaluate(&values(&KNOWN)) else {
        panic!("known");
    };
    assert_eq!(
        expression.reason(&unknown, &values(&KNOWN)),
        "power is absent (not sampled yet); power/(running - 3): it divides by zero"
    );
}

#[test]
fn values_that_are_no_numbers_are_absent() {
    let expression = compiled("waiting + 1");
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let Outcome::Absent(unknown) = expression.evaluate(&[measured(bad)]) else {
            panic!("known");
        };
        assert_eq!(
            expression.reason(&unknown, &[]),
            "waiting: its value is not finite"
        );
    }
    let Outcome::Absent(unknown) = expression.evaluate(&[]) else {
        panic!("known");
    };
    assert_eq!(
        expression.reason(&unknown, &[]),
        "waiting is absent (no value was given)"
    );
}

#[test]
fn the_worst_quality_that_was_used_counts() {
    let known = |number, quality| Value::Known { number, quality };
    let given = [
        known(12.0, Quality::Measured),
        known(3.0, Quality::Estimated),
        known(0.5, Quality::Derived),
        Value::Absent(Absent::NotSupported),
    ];
    for (text, expected) in [
        ("5", Quality::Measured),
        ("waiting", Quality::Measured),
        ("waiting/5 + kv", Quality::Derived),
        ("kv*running", Quality::Estimated),
        ("max(waiting, running)", Quality::Estimated),
        ("waiting or running", Quality::Measured),
        ("gpu or kv", Quality::Derived),
        ("if(kv > 1, running, waiting)", Quality::Derived),
        ("if(kv < 1, running, waiting)", Quality::Estimated),
        ("waiting > 0 || running > 0", Quality::Measured),
        ("waiting < 0 || running > 0", Quality::Estimated),
        ("clamp(kv, 0, 1)", Quality::Derived),
        ("known(gpu)", Quality::Measured),
    ] {
        let Outcome::Known { quality, .. } = compiled(text).evaluate(&given) else {
            panic!("{text} is absent");
        };
        assert_eq!(quality, expected, "{text}");
    }
}

#[test]
fn one_spelling_for_all() {
    for (text, canonical) in [
        ("max( waiting / 5 ,kv/ 0.80 )", "max(waiting/5, kv/0.8)"),
        ("((waiting)+(running))", "waiting + running"),
        ("(1+2)*3", "(1 + 2)*3"),
        ("1+(2*3)", "1 + 2*3"),
        ("1-(2-3)", "1 - (2 - 3)"),
        ("(1-2)-3", "1 - 2 - 3"),
        ("8/(4/2)", "8/(4/2)"),
        ("-(1+2)", "-(1 + 2)"),
        ("(-1)*2", "-1*2"),
        ("- -kv", "--kv"),
        ("not kv>1 and gpu>1", "!kv > 1 && gpu > 1"),
        ("not(kv>1 and gpu>1)", "!(kv > 1 && gpu > 1)"),
        ("(kv>1||gpu>1)&&kv<9", "(kv > 1 || gpu > 1) && kv < 9"),
        ("kv or (gpu or 1)", "kv or (gpu or 1)"),
        ("(kv or gpu)+1", "(kv or gpu) + 1"),
        ("(kv or gpu)>1", "(kv or gpu) > 1"),
        ("80.0%", "80%"),
        ("20Ki", "20480"),
        ("1e300", "1e300"),
        ("0.0000001", "1e-7"),
    ] {
        let expression = compiled(text);
        assert_eq!(expression.canonical(), canonical);
        assert_eq!(compiled(canonical), expression);
        assert_eq!(expression.text(), text);
    }
    assert_ne!(compiled("0.8"), compiled("80%"));
}

#[test]
fn names_that_are_used() {
    let expression = compiled("max(kv/0.8, waiting/5, kv)");
    assert_eq!(expression.names().collect::<Vec<_>>(), ["waiting", "kv"]);
    assert_eq!(expression.used().iter().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(expression.declared(), &names());
    let three = expression.evaluate(&values(&KNOWN));
    assert!(matches!(three, Outcome::Known { answer: Answer::Number(n), .. } if (n - 2.4).abs() < 1e-12));
}
