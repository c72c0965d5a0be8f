//! What is refused, with the words in which it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::{compiled, names};
use rheostat_expression::{MAX_NODES, Names, Problem, Span, compile, compile_number};

fn message(text: &str) -> String {
    match compile(text, &names()) {
        Ok(expression) => panic!("{text} is taken as {expression:?}"),
        Err(error) => error.to_string(),
    }
}

/// The first line of the message.
fn line(text: &str) -> String {
    message(text).lines().next().unwrap().to_owned()
}

const ALL: &str = "the names are waiting, running, kv, gpu, ttft, rate, memory, traffic, power, temperature";
const FUNCTIONS: &str = "the functions are abs, ceil, clamp, floor, if, known, max, min, round, sum";

#[test]
fn a_message_shows_the_place() {
    assert_eq!(
        message("max(wating/5, kv/0.8)"),
        format!(
            "unknown name \"wating\", did you mean waiting?; {ALL} (at position 5)\n\
             \x20 max(wating/5, kv/0.8)\n\
             \x20     ^^^^^^"
        )
    );
    assert_eq!(
        message("waiting + kv"),
        "+ needs equal units, but waiting is in count (at 1) and kv in ratio (at 11); divide each by what one \
         replica carries, such as a/5, which gives a ratio (at position 11)\n\
         \x20 waiting + kv\n\
         \x20           ^^"
    );
    assert_eq!(
        message("waiting +"),
        "expected a number, a name, a call or a parenthesis, found the end (at position 10)\n\
         \x20 waiting +\n\
         \x20          ^"
    );
    assert_eq!(
        message("max(waiting,\n    kvv)")
            .lines()
            .skip(1)
            .collect::<Vec<_>>(),
        ["      kvv)", "      ^^^"]
    );
}

#[test]
fn spelling() {
    for (text, words) in [
        (
            "",
            "the expression is empty; it needs a number, a name or a call such as max(a, b)",
        ),
        (
            " \n\t",
            "the expression is empty; it needs a number, a name or a call such as max(a, b)",
        ),
        (
            "waiting = 5",
            "'=' means nothing here, to compare write ==; allowed are",
        ),
        (
            "kv > 1 & gpu > 1",
            "'&' means nothing here, the logical and is &&; allowed are",
        ),
        (
            "80 % 5",
            "'%' means nothing here, for percent write it right behind the number, such as 80%; allowed",
        ),
        (
            "waiting × 2",
            "'×' means nothing here, to multiply write *; allowed are",
        ),
        (
            "waiting @ 2",
            "'@' means nothing here; allowed are numbers, names, + - * / < <= > >= == != && || ! and",
        ),
        (
            "wait.ing",
            "'.' means nothing here, names have no dot, and numbers a digit before it; allowed are",
        ),
        (
            "5m",
            "\"5m\" is no number; numbers are such as 5, 0.8, 1e9 or 80%, or end in k, M, G, T, Ki, Mi, Gi or Ti",
        ),
        ("1e999", "\"1e999\" is no number"),
    ] {
        assert!(line(text).starts_with(words), "{text}: {}", line(text));
    }
}

#[test]
fn grammar() {
    for (text, words, start, end) in [
        ("waiting 5", "expected an operator or the end, found \"5\"", 8, 9),
        (
            "waiting)",
            "expected an operator or the end, for no parenthesis is open, found \")\"",
            7,
            8,
        ),
        ("(waiting", "expected an operator or ), found the end", 8, 8),
        (
            "max(waiting",
            "expected an operator, a comma or ), found the end",
            11,
            11,
        ),
        (
            "max(waiting,)",
            "expected a number, a name, a call or a parenthesis, found \")\"",
            12,
            13,
        ),
        (
            "()",
            "expected a number, a name, a call or a parenthesis, found \")\"",
            1,
            2,
        ),
        (
            "waiting * / 2",
            "expected a number, a name, a call or a parenthesis, found \"/\"",
            10,
            11,
        ),
        (
            "waiting(5)",
            "expected an operator between a name and a parenthesis, found \"(\"",
            7,
            8,
        ),
        (
            "max + 1",
            "expected max(a, b, ...), found \"max\" without a parenthesis behind it",
            0,
            3,
        ),
        (
            "0 < kv < 1",
            "comparisons do not chain; write two of them with && between",
            7,
            8,
        ),
        (
            "kv > !gpu",
            "expected a number, which ! does not give, found \"!\"",
            5,
            6,
        ),
        ("maxi(kv)", "unknown function \"maxi\", did you mean max?; ", 0, 4),
        ("average(kv)", "unknown function \"average\"; ", 0, 7),
        (
            "kv > 0.5 or or",
            "expected a number, a name, a call or a parenthesis, found \"or\"",
            12,
            14,
        ),
        ("true", "unknown name \"true\"; ", 0, 4),
    ] {
        let error = compile(text, &names()).unwrap_err();
        assert!(error.to_string().starts_with(words), "{text}: {error}");
        assert_eq!(error.span(), Span { start, end }, "{text}");
    }
    assert!(line("average(kv)").contains(FUNCTIONS));
    let none = compile("kv", &Names::new()).unwrap_err().to_string();
    assert!(
        none.starts_with("unknown name \"kv\"; there are no names (at position 1)"),
        "{none}"
    );
}

#[test]
fn counts_of_arguments() {
    for (text, words) in [
        ("max()", "max(a, b, ...) does not take 0 arguments"),
        ("clamp(kv, 1)", "clamp(x, low, high) does not take 2 arguments"),
        (
            "if(kv > 1, 2)",
            "if(condition, then, else) does not take 2 arguments",
        ),
        ("abs(1, 2)", "abs(x) does not take 2 arguments"),
        ("known()", "known(x) does not take 0 arguments"),
        ("clamp(kv)", "clamp(x, low, high) does not take 1 argument "),
    ] {
        assert!(line(text).starts_with(words), "{text}: {}", line(text));
    }
}

#[test]
fn units_that_differ() {
    for (text, words) in [
        (
            "max(waiting, kv)",
            "max needs equal units, but waiting is in count (at 5) and kv in ratio (at 14)",
        ),
        (
            "waiting - ttft",
            "- needs equal units, but waiting is in count (at 1) and ttft in s (at 11)",
        ),
        (
            "ttft > memory",
            "> needs equal units, but ttft is in s (at 1) and memory in bytes (at 8)",
        ),
        (
            "waiting > 80%",
            "> needs equal units, but waiting is in count (at 1) and 80% in ratio (at 11)",
        ),
        (
            "waiting or kv",
            "or needs equal units, but waiting is in count (at 1) and kv in ratio (at 12)",
        ),
        (
            "if(kv > 1, waiting, 5 * kv)",
            "if needs equal units, but waiting is in count (at 12) and 5 * kv in ratio",
        ),
        (
            "clamp(waiting, 1, gpu)",
            "clamp needs equal units, but waiting is in count (at 7) and gpu in ratio",
        ),
        (
            "sum(1, kv, 2, power)",
            "sum needs equal units, but kv is in ratio (at 8) and power in W (at 15)",
        ),
        (
            "waiting/5 + running",
            "+ needs equal units, but waiting/5 is in ratio (at 1) and running in count",
        ),
        (
            "memory*memory + memory",
            "+ needs equal units, but memory*memory is in bytes² (at 1) and memory in bytes",
        ),
        (
            "rate == traffic",
            "== needs equal units, but rate is in /s (at 1) and traffic in bytes/s (at 9)",
        ),
        (
            "temperature + power",
            "+ needs equal units, but temperature is in °C (at 1) and power in W (at 15)",
        ),
        (
            "kv*kv*ttft*ttft*ttft*ttft*ttft",
            "the unit of this product or quotient has a power too high to be meant",
        ),
    ] {
        assert!(line(text).starts_with(words), "{text}: {}", line(text));
    }
}

#[test]
fn numbers_and_conditions() {
    for (text, words) in [
        (
            "waiting + (kv > 1)",
            "+ needs a number, but kv > 1 is a condition; if(kv > 1, 1, 0) makes it a number",
        ),
        (
            "waiting && kv > 1",
            "&& needs a condition, but waiting is a number; a comparison such as waiting > 0",
        ),
        (
            "kv > 1 || waiting",
            "|| needs a condition, but waiting is a number",
        ),
        ("not waiting", "! needs a condition, but waiting is a number"),
        ("-(kv > 1)", "- needs a number, but kv > 1 is a condition"),
        (
            "if(waiting, 1, 2)",
            "the first argument of if needs a condition, but waiting is a number",
        ),
        (
            "if(kv > 1, 1, gpu > 1)",
            "both branches of if must be numbers or both conditions",
        ),
        ("max(kv > 1, 2)", "max needs a number, but kv > 1 is a condition"),
        (
            "(kv > 1) == (gpu > 1)",
            "== needs a number, but kv > 1 is a condition",
        ),
        (
            "waiting > 0 or running > 0",
            "or is no logical operator: a or b is the number a where it is known, else b",
        ),
        (
            "waiting or running > 0",
            "or is no logical operator: a or b is the number a where it is known, else b",
        ),
    ] {
        assert!(line(text).starts_with(words), "{text}: {}", line(text));
    }
}

#[test]
fn a_number_is_asked_for() {
    let error = compile_number("waiting > 0", &names()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the result needs a number, but waiting > 0 is a condition; if(waiting > 0, 1, 0) makes it a number \
         (at position 1)\n  waiting > 0\n  ^^^^^^^^^^^"
    );
    assert_eq!(compile_number("waiting", &names()).unwrap(), compiled("waiting"));
}

#[test]
fn what_can_never_be_known() {
    for (text, words, start, end) in [
        (
            "waiting/0",
            "this can never be a number: it divides by zero",
            0,
            9,
        ),
        (
            "kv + waiting/(2 - 2)",
            "this can never be a number: it divides by zero",
            5,
            20,
        ),
        (
            "if(kv > 1, 1, 1/0)",
            "this can never be a number: it divides by zero",
            14,
            17,
        ),
        (
            "waiting + 1e308*10",
            "this can never be a number: its result is too large",
            10,
            18,
        ),
        (
            "clamp(kv, 2, 1)",
            "this can never be a number: its lower bound is above its upper one",
            0,
            15,
        ),
    ] {
        let error = compile(text, &names()).unwrap_err();
        assert!(error.to_string().starts_with(words), "{text}: {error}");
        assert_eq!(error.span(), Span { start, end }, "{text}");
    }
    // Depends on readings, so it is for the evaluation to say.
    compiled("waiting/running");
    compiled("waiting/(running or 0)");
    compiled("clamp(kv, gpu, 0)");
}

#[test]
fn limits() {
    let too_long = line(&"1+".repeat(513));
    assert!(
        too_long.starts_with("the expression is 1026 bytes long; at most 1024 are allowed"),
        "{too_long}"
    );

    for open in ["(", "-", "!", "abs(", "!(", "if(", "max(1,", "-(1*"] {
        let text = open.repeat(170);
        let error = compile(&text, &names()).unwrap_err();
        assert_eq!(*error.problem(), Problem::TooDeep, "{open}");
    }
    let nested = |depth: usize| format!("{}kv{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(compiled(&nested(32)), compiled("kv"));
    assert!(line(&nested(33)).starts_with("the expression is nested more than 32 deep here"));

    // A chain is not deep. Each operand but the first brings its operator.
    let chain = |operands: usize| vec!["1"; operands].join("+");
    compiled(&chain(MAX_NODES / 2));
    assert!(line(&chain(MAX_NODES / 2 + 1)).starts_with("the expression has more than 256 numbers, names"));
}

#[test]
fn little_stack_is_enough() {
    // The worst texts of each kind within the limits, with every level of binding in each nesting.
    let ladder = "(kv or if(!(kv > 1 || gpu > 1 && kv < 1 + 1*-";
    let run = move || {
        for text in [
            "(".repeat(1000),
            "-".repeat(1000),
            ladder.repeat(22),
            "!(".repeat(500),
        ] {
            assert_eq!(*compile(&text, &names()).unwrap_err().problem(), Problem::TooDeep);
        }
        let chain = compiled(&vec!["kv"; MAX_NODES / 2].join("+"));
        assert!(chain.explain(&[]).to_string().len() > 1000);
        assert_eq!(chain.canonical().len(), 128 * 5 - 3);
    };
    let thread = std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(run)
        .unwrap();
    thread.join().unwrap();
}

#[test]
fn messages_stay_short_and_printable() {
    for text in [
        "a".repeat(1000),
        format!("{}\u{7}", "1+".repeat(400)),
        "9".repeat(1024),
        "é".repeat(512),
    ] {
        let message = message(&text);
        assert!(message.chars().count() < 700, "{message}");
        assert!(message.chars().all(|c| c == '\n' || !c.is_control()), "{message}");
    }
}
