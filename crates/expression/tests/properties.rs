//! What holds for every text, every expression and all values.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;
mod naive;

use common::names;
use naive::{Choices, Part, Truth};
use proptest::prelude::*;
use rheostat_expression::{
    Answer, Direction, Expression, ExpressionError, MAX_LENGTH, Outcome, Problem, Value, compile,
};
use rheostat_reading::{Absent, Quality};

/// A well-typed expression; `None` where chance has made one that can never be a number.
fn random(choices: &[u8]) -> Option<(Part, Expression)> {
    let part = Choices::new(choices).whole();
    let text = part.text();
    match compile(&text, &names()) {
        Ok(expression) => Some((part, expression)),
        Err(error) if refused_by_chance(&error) => None,
        Err(error) => panic!("{error}"),
    }
}

fn refused_by_chance(error: &ExpressionError) -> bool {
    matches!(
        error.problem(),
        Problem::Always(_) | Problem::TooLarge | Problem::TooLong { .. } | Problem::UnitPower
    )
}

fn value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        4 => (0..20_u32).prop_map(f64::from),
        2 => 0.0..2.0,
        1 => any::<f64>(),
        1 => Just(0.0),
    ];
    let quality = prop_oneof![
        Just(Quality::Measured),
        Just(Quality::Derived),
        Just(Quality::Estimated)
    ];
    prop_oneof![
        1 => Just(Value::Absent(Absent::NotYet)),
        4 => (number, quality).prop_map(|(number, quality)| Value::Known { number, quality }),
    ]
}

fn choices() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..160)
}

fn all_values() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(value(), common::NAMES.len())
}

/// Ordinary values: known, finite, at least zero, and often that.
fn plain_values() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(prop_oneof![0.0..2.0, 0.0..100.0, Just(0.0)], common::NAMES.len())
}

fn number_of(expression: &Expression, numbers: &[f64]) -> Option<f64> {
    let values: Vec<_> = numbers.iter().map(|number| common::measured(*number)).collect();
    match expression.evaluate(&values) {
        Outcome::Known {
            answer: Answer::Number(number),
            ..
        } => Some(number),
        Outcome::Known {
            answer: Answer::Condition(holds),
            ..
        } => Some(f64::from(u8::from(holds))),
        Outcome::Absent(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_result_is_that_of_a_plain_evaluator((choices, values) in (choices(), all_values())) {
        let Some((part, expression)) = random(&choices) else { return Ok(()) };
        let expected = part.evaluate(&values);
        match (expression.evaluate(&values), expected) {
            (Outcome::Known { answer: Answer::Number(number), quality, used }, Ok((Truth::Number(expected), worst, names))) => {
                prop_assert_eq!(number.to_bits(), expected.to_bits());
                prop_assert_eq!(quality, worst);
                prop_assert_eq!(used.iter().collect::<Vec<_>>(), names.into_iter().collect::<Vec<_>>());
            }
            (Outcome::Known { answer: Answer::Condition(holds), quality, used }, Ok((Truth::Condition(expected), worst, names))) => {
                prop_assert_eq!(holds, expected);
                prop_assert_eq!(quality, worst);
                prop_assert_eq!(used.iter().collect::<Vec<_>>(), names.into_iter().collect::<Vec<_>>());
            }
            (Outcome::Absent(unknown), Err(lack)) => {
                prop_assert_eq!(unknown.missing.iter().collect::<Vec<_>>(), lack.missing.into_iter().collect::<Vec<_>>());
                prop_assert_eq!(unknown.trouble.map(|trouble| trouble.kind), lack.trouble);
                prop_assert!(!unknown.missing.is_empty() || unknown.trouble.is_some());
            }
            (found, expected) => prop_assert!(false, "{} is {found:?}, not {expected:?}", expression.text()),
        }
    }

    #[test]
    fn the_canonical_text_means_the_same(choices in choices()) {
        let Some((_, expression)) = random(&choices) else { return Ok(()) };
        let canonical = expression.canonical();
        prop_assume!(canonical.len() <= MAX_LENGTH);
        let again = compile(&canonical, &names()).unwrap();
        prop_assert_eq!(&again, &expression);
        prop_assert_eq!(again.canonical(), canonical);
    }

    #[test]
    fn an_explanation_ends_with_the_result((choices, values) in (choices(), all_values())) {
        let Some((_, expression)) = random(&choices) else { return Ok(()) };
        let explanation = expression.explain(&values);
        prop_assert_eq!(explanation.steps[0].outcome, expression.evaluate(&values));
        prop_assert_eq!(&explanation.steps[0].text, &expression.canonical());
        for step in &explanation.steps {
            prop_assert_eq!(step.reason.is_empty(), matches!(step.outcome, Outcome::Known { .. }));
            if let Outcome::Known { answer: Answer::Number(number), .. } = step.outcome {
                prop_assert!(number.is_finite());
            }
        }
        prop_assert_eq!(explanation.to_string().lines().count(), explanation.steps.len());
    }

    #[test]
    fn random_text_never_panics(text in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..1100)) {
        for text in [text.as_str(), &String::from_utf8_lossy(&bytes)] {
            if let Err(error) = compile(text, &names()) {
                prop_assert!(error.span().start <= error.span().end && error.span().end <= text.len());
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    #[test]
    fn random_words_never_panic(words in prop::collection::vec(prop::sample::select(WORDS), 0..120), values in all_values()) {
        let text = words.concat();
        match compile(&text, &names()) {
            Ok(expression) => {
                let outcome = expression.evaluate(&values);
                prop_assert!(outcome.number().is_none_or(f64::is_finite));
                let _ = expression.explain(&values).to_string();
            }
            Err(error) => {
                let span = error.span();
                prop_assert!(text.get(span.start..span.end).is_some(), "{span:?} of {text}");
                prop_assert!(error.caret().contains('^'));
            }
        }
    }

    #[test]
    fn a_direction_is_never_wrong((choices, numbers, place, more) in (choices(), plain_values(), 0..common::NAMES.len(), 0.0..50.0)) {
        let Some((_, expression)) = random(&choices) else { return Ok(()) };
        let mut risen = numbers.clone();
        risen[place] += more;
        let (Some(before), Some(after)) = (number_of(&expression, &numbers), number_of(&expression, &risen)) else {
            return Ok(());
        };
        // Rounding may move either way.
        let slack = 1e-9 * (1.0 + before.abs().max(after.abs()));
        match expression.direction(common::NAMES[place].0) {
            Direction::Constant => prop_assert_eq!(before.to_bits(), after.to_bits()),
            Direction::Growing => prop_assert!(after >= before - slack, "{}: {before} to {after}", expression.text()),
            Direction::Falling => prop_assert!(after <= before + slack, "{}: {before} to {after}", expression.text()),
            Direction::Unknown => {}
        }
    }

    #[test]
    fn additive_is_never_wrong((choices, one, other) in (choices(), plain_values(), plain_values())) {
        let Some((_, expression)) = random(&choices) else { return Ok(()) };
        if !expression.is_additive() {
            return Ok(());
        }
        let sums: Vec<_> = one.iter().zip(&other).map(|(one, other)| one + other).collect();
        let results: Vec<_> = [one, other, sums].iter().filter_map(|numbers| number_of(&expression, numbers)).collect();
        // Where one overflows, there is nothing to compare.
        if results.len() < 3 {
            return Ok(());
        }
        let size = results.iter().map(|result| result.abs()).fold(1.0, f64::max);
        prop_assert!((results[0] + results[1] - results[2]).abs() <= 1e-6 * size, "{}", expression.text());
    }
}

/// Chance must make enough of everything, or the properties above say little.
#[test]
fn chance_makes_enough_of_everything() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut draw = || {
        let drawn = (choices(), all_values()).new_tree(&mut runner).unwrap().current();
        random(&drawn.0).map(|made| (made.1, drawn.1))
    };
    let made: Vec<_> = (0..2000).filter_map(|_| draw()).collect();
    let count = |holds: &dyn Fn(&Expression, &[Value]) -> bool| {
        made.iter()
            .filter(|(expression, values)| holds(expression, values))
            .count()
    };
    let known = |expression: &Expression, values: &[Value]| match expression.evaluate(values) {
        Outcome::Known { used, .. } => !used.is_empty(),
        Outcome::Absent(_) => false,
    };
    let trouble = |expression: &Expression, values: &[Value]| match expression.evaluate(values) {
        Outcome::Known { .. } => false,
        Outcome::Absent(unknown) => unknown.trouble.is_some(),
    };
    let moves = |wanted: Direction| count(&|expression, _| expression.direction("waiting") == wanted);
    let seen = [
        ("expressions", made.len(), 1000),
        ("known results", count(&known), 300),
        (
            "missing names",
            count(&|expression, values| !known(expression, values)),
            200,
        ),
        ("trouble", count(&trouble), 20),
        ("growing", moves(Direction::Growing), 100),
        ("falling", moves(Direction::Falling), 50),
        ("additive", count(&|expression, _| expression.is_additive()), 50),
        ("long", count(&|expression, _| expression.text().len() > 100), 300),
    ];
    for (what, found, least) in seen {
        assert!(found >= least, "{what}: {found} of at least {least}; {seen:?}");
    }
}

const WORDS: &[&str] = &[
    "waiting",
    "running",
    "kv",
    "gpu",
    "power",
    "temperature",
    "max",
    "min",
    "sum",
    "clamp",
    "if",
    "known",
    "abs",
    "round",
    "or",
    "and",
    "not",
    " ",
    " ",
    "(",
    "(",
    ")",
    ")",
    ",",
    "+",
    "-",
    "*",
    "/",
    "<",
    "<=",
    ">",
    "==",
    "!=",
    "&&",
    "||",
    "!",
    "0",
    "1",
    "5",
    "0.8",
    "80%",
    "20Gi",
    "1e300",
    "é",
    "\n",
    "=",
    ".",
];
