//! Whatever is asked, it is bound.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;
use rheostat_promql::{MatchOp, check_query};

/// A text in one of the three ways of quoting.
fn quoted() -> BoxedStrategy<String> {
    prop_oneof![
        r#"[a-z{}()\[\],=~# '|.]{0,8}"#.prop_map(|text| format!("\"{text}\"")),
        r#"[a-z{}()\[\],=~# "|.]{0,8}"#.prop_map(|text| format!("'{text}'")),
        r#"[a-z{}()\[\],=~# "'\\|.]{0,8}"#.prop_map(|text| format!("`{text}`")),
        Just(r#""\"} or secret{x=\"""#.to_owned()),
        Just(r#""é\n\\\u0022""#.to_owned()),
    ]
    .boxed()
}

fn blank() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(""), Just(" "), Just("\n"), Just(" # }{\"'`\n")]
}

fn matcher() -> BoxedStrategy<String> {
    let label = prop_oneof![
        Just("job".to_owned()),
        Just("__name__".to_owned()),
        Just("by".to_owned()),
        Just("\"k8s.pod\"".to_owned())
    ];
    let op = prop_oneof![Just("="), Just("!="), Just("=~"), Just("!~")];
    (label, blank(), op, blank(), quoted())
        .prop_map(|(label, before, op, after, value)| format!("{label}{before}{op}{after}{value}"))
        .boxed()
}

fn selector() -> BoxedStrategy<String> {
    let name = prop_oneof![
        Just("up"),
        Just("vllm:waiting"),
        Just("sum"),
        Just("rate"),
        Just("start")
    ];
    let matchers = || proptest::collection::vec(matcher(), 0..3);
    prop_oneof![
        name.clone().prop_map(str::to_owned),
        (name, blank(), matchers())
            .prop_map(|(name, blank, matchers)| format!("{name}{blank}{{{}}}", matchers.join(","))),
        (matcher(), blank()).prop_map(|(matcher, blank)| format!("{{{blank}{matcher},{blank}}}")),
        Just("{\"http.requests\"}".to_owned()),
    ]
    .boxed()
}

fn query() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        4 => selector(),
        1 => Just("1e3".to_owned()),
        1 => Just("NaN".to_owned()),
        2 => selector().prop_map(|selector| format!("rate({selector}[5m])")),
        2 => selector().prop_map(|selector| format!("{selector} offset 5m @ start()")),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let operator = prop_oneof![
            Just("+"),
            Just("-"),
            Just(" AND "),
            Just(" unless on(pod) "),
            Just("== bool"),
            Just("/ ignoring(a,b) group_left(c) "),
            Just(" atan2 ")
        ];
        prop_oneof![
            (inner.clone(), blank(), operator, blank(), inner.clone())
                .prop_map(|(left, before, operator, after, right)| format!(
                    "{left}{before}{operator}{after} {right}"
                ))
                .boxed(),
            inner.clone().prop_map(|inner| format!("({inner})")).boxed(),
            inner.clone().prop_map(|inner| format!("-{inner}")).boxed(),
            inner
                .clone()
                .prop_map(|inner| format!("sum by (pod) ({inner})"))
                .boxed(),
            inner
                .clone()
                .prop_map(|inner| format!("topk(3, {inner}) without (a,)"))
                .boxed(),
            inner
                .clone()
                .prop_map(|inner| format!("max_over_time(({inner})[1h:30s] offset 1m)"))
                .boxed(),
            (inner, quoted())
                .prop_map(|(inner, text)| format!(
                    "label_replace({inner}, \"namespace\", {text}, 'x', `(.*)`)"
                ))
                .boxed(),
        ]
    })
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_selector_has_the_matcher(query in query(), namespace in "[a-z0-9-]{1,12}") {
        let checked = check_query(&query).map_err(|error| TestCaseError::fail(format!("{query}: {error}")))?;
        let bound = checked.enforced("namespace", &namespace).unwrap();
        let again = check_query(&bound).map_err(|error| TestCaseError::fail(format!("{bound}: {error}")))?;
        prop_assert_eq!(checked.selectors().count(), again.selectors().count());
        for (before, selector) in checked.selectors().zip(again.selectors()) {
            let first = &selector.matchers[0];
            prop_assert_eq!((first.label.as_str(), first.op, first.value.as_str()), ("namespace", MatchOp::Equal, namespace.as_str()));
            prop_assert_eq!(&selector.matchers[1..], &before.matchers[..], "and its own, unchanged");
            prop_assert_eq!(&selector.name, &before.name);
        }
        prop_assert_eq!(again.enforced("namespace", &namespace).unwrap(), bound);
        prop_assert_eq!(check_query(&checked.canonical()).unwrap().canonical(), checked.canonical());
    }

    #[test]
    fn no_value_of_the_label_breaks_out(value in any::<String>()) {
        let bound = check_query("up + sum(x)").unwrap().enforced("namespace", &value).unwrap();
        let again = check_query(&bound).unwrap();
        prop_assert_eq!(again.selectors().count(), 2);
        for selector in again.selectors() {
            prop_assert_eq!(selector.matchers.len(), 1);
            prop_assert_eq!(&selector.matchers[0].value, &value);
        }
    }

    #[test]
    fn any_text_gets_an_answer(text in any::<String>()) {
        if let Err(error) = check_query(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    /// Texts from PromQL's own parts come further than random ones.
    #[test]
    fn any_heap_of_tokens_gets_an_answer_that_is_bound(
        tokens in proptest::collection::vec(prop_oneof![
            Just("up"), Just("sum"), Just("by"), Just("("), Just(")"), Just("{"), Just("}"), Just("["), Just("]"), Just(":"),
            Just(","), Just("="), Just("=~"), Just("\"a\""), Just("'}'"), Just("`"), Just("\\"), Just("5m"), Just("3"), Just("-"),
            Just("or"), Just("offset"), Just("@"), Just("start"), Just("#"), Just("\n"), Just(" "), Just("é"), Just("namespace"), Just("bool"),
        ], 0..25)
    ) {
        let text = tokens.concat();
        match check_query(&text) {
            Err(error) => prop_assert!(!error.to_string().is_empty()),
            Ok(checked) => if let Ok(bound) = checked.enforced("namespace", "a") {
                let again = check_query(&bound).map_err(|error| TestCaseError::fail(format!("{bound}: {error}")))?;
                for selector in again.selectors() {
                    prop_assert!(selector.matchers.iter().any(|matcher| matcher.label == "namespace" && matcher.value == "a" && matcher.op == MatchOp::Equal));
                }
            },
        }
    }
}
