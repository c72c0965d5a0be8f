//! What is accepted, how it is bound, and what is refused where.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use rheostat_promql::{MAX_DEPTH, MAX_LENGTH, Problem, check_query};

fn bound(query: &str) -> String {
    check_query(query)
        .and_then(|query| query.enforced("namespace", "a"))
        .unwrap_or_else(|error| panic!("{query}: {error}"))
}

fn refused(query: &str) -> String {
    match check_query(query) {
        Ok(query) => panic!("{query} is accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_selector_gets_the_matcher() {
    for (query, expected) in [
        ("up", r#"up{namespace="a"}"#),
        ("up{}", r#"up{namespace="a"}"#),
        (r#"up{job="x",}"#, r#"up{namespace="a",job="x"}"#),
        (r#"{job="x"}"#, r#"{namespace="a",job="x"}"#),
        (r#"{__name__=~".+"}"#, r#"{namespace="a",__name__=~".+"}"#),
        ("rate(x[5m])", r#"rate(x{namespace="a"}[5m])"#),
        (
            "sum by (pod) (x) / on(pod) group_left(node) y",
            r#"sum by (pod) (x{namespace="a"}) / on (pod) group_left (node) y{namespace="a"}"#,
        ),
        ("SUM(x) BY (pod)", r#"sum(x{namespace="a"}) by (pod)"#),
        (
            "max_over_time(sum(rate(x[1m]))[1h:5m] offset 1d)",
            r#"max_over_time(sum(rate(x{namespace="a"}[1m]))[1h:5m] offset 1d)"#,
        ),
        (
            "max_over_time((a + b)[1h:] @ end())",
            r#"max_over_time((a{namespace="a"} + b{namespace="a"})[1h:] @ end())"#,
        ),
        (
            "x offset -5m @ 1609746000.5",
            r#"x{namespace="a"} offset -5m @ 1609746000.5"#,
        ),
        ("absent(x{job='y'})", r#"absent(x{namespace="a",job="y"})"#),
        (
            r#"label_replace(x, "namespace", "b", "pod", "(.*)")"#,
            r#"label_replace(x{namespace="a"}, "namespace", "b", "pod", "(.*)")"#,
        ),
        (
            "quantile(0.9, x) > bool 3",
            r#"quantile(0.9, x{namespace="a"}) > bool 3"#,
        ),
        (
            r#"count_values("v", x)"#,
            r#"count_values("v", x{namespace="a"})"#,
        ),
        (
            "x and y unless z or w",
            r#"x{namespace="a"} and y{namespace="a"} unless z{namespace="a"} or w{namespace="a"}"#,
        ),
        ("-x ^ 2 % 3 atan2 +Inf", r#"-x{namespace="a"} ^ 2 % 3 atan2 +Inf"#),
        ("vector(1) + time() - 0x1F", "vector(1) + time() - 0x1F"),
        (
            "vllm:num_requests_waiting",
            r#"vllm:num_requests_waiting{namespace="a"}"#,
        ),
        // Names that are keywords elsewhere.
        (
            "sum{x=\"y\"} + rate",
            r#"sum{namespace="a",x="y"} + rate{namespace="a"}"#,
        ),
        ("sum(sum)", r#"sum(sum{namespace="a"})"#),
        // Said already: once is enough.
        (r#"up{namespace="a",job="x"}"#, r#"up{namespace="a",job="x"}"#),
    ] {
        assert_eq!(bound(query), expected, "{query}");
        assert_eq!(bound(expected), expected, "binding twice changes nothing");
    }
}

#[test]
fn texts_and_comments_hide_nothing() {
    for (query, expected) in [
        (
            r#"up{job="}"} + b"#,
            r#"up{namespace="a",job="}"} + b{namespace="a"}"#,
        ),
        (
            "up{job='\"} or secret{x=\"'}",
            r#"up{namespace="a",job="\"} or secret{x=\""}"#,
        ),
        ("up{job=`\\\"`}", r#"up{namespace="a",job="\\\""}"#),
        (
            r#"up{job="a\"} or b{c=\"d"}"#,
            r#"up{namespace="a",job="a\"} or b{c=\"d"}"#,
        ),
        (r#"up{job="\x7d\u0022\175"}"#, r#"up{namespace="a",job="}\"}"}"#),
        ("up # {x=\"\n + b", r#"up{namespace="a"} + b{namespace="a"}"#),
        ("up # \r + secret", r#"up{namespace="a"} + secret{namespace="a"}"#),
        ("up{#}\njob=\"x\"}", r#"up{namespace="a",job="x"}"#),
        ("up{job='#'}", r##"up{namespace="a",job="#"}"##),
        (
            "up{job=\"\u{202e}\u{7f}\"}",
            "up{namespace=\"a\",job=\"\u{202e}\\u007f\"}",
        ),
        // Names in UTF-8, as Prometheus 3 writes them.
        (
            r#"{"http.requests", "k8s.pod"="x"}"#,
            r#"{namespace="a",__name__="http.requests","k8s.pod"="x"}"#,
        ),
        (r#"{"a\"} or b{"}"#, r#"{namespace="a",__name__="a\"} or b{"}"#),
        (
            r#"sum by ("k8s.pod", x,) (up)"#,
            r#"sum by ("k8s.pod", x) (up{namespace="a"})"#,
        ),
        (r#"up{"job"="x"}"#, r#"up{namespace="a",job="x"}"#),
    ] {
        assert_eq!(bound(query), expected, "{query}");
    }
}

#[test]
fn a_query_that_asks_for_another_namespace_is_refused() {
    for query in [
        r#"up{namespace="b"}"#,
        r#"up{namespace!="a"}"#,
        r#"up{namespace=~"a"}"#,
        r#"up{namespace=~"a|b"}"#,
        r#"up{namespace!~"c"}"#,
        r#"up{"namespace"="b"}"#,
        r#"up{"name\x73pace"="b"}"#,
        r#"up{namespace="a",namespace="b"}"#,
        r#"up and sum(rate({namespace=""}[1m]))"#,
    ] {
        let error = check_query(query)
            .unwrap()
            .enforced("namespace", "a")
            .unwrap_err();
        assert!(
            matches!(error.problem(), Problem::Conflict { .. }),
            "{query}: {error}"
        );
    }
    let error = check_query("sum(x) + y{namespace='b'}")
        .unwrap()
        .enforced("namespace", "a")
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the query may only see namespace=\"a\", which Rheostat adds itself; leave the matcher of namespace out \
         (at position 12: sum(x) + y{»namespace='b'«})"
    );
}

#[test]
fn what_reaches_around_the_matcher_is_refused() {
    for query in [
        "info(up)",
        "INFO(rate(x[5m]))",
        r#"{__graphite__="*.secret"}"#,
        r#"up{"__query_shard__"="1_of_2"}"#,
        r#"up{or="x"}"#,
        r#"up{OR="x"}"#,
    ] {
        let error = check_query(query)
            .unwrap()
            .enforced("namespace", "a")
            .unwrap_err();
        assert!(
            matches!(error.problem(), Problem::Unbound { .. }),
            "{query}: {error}"
        );
    }
    assert!(
        check_query("info(up)").is_ok(),
        "where nothing is bound, it is a query like others"
    );
}

#[test]
fn other_languages_are_refused() {
    for query in [
        r#"up{a="b" or c="d"}"#,
        r#"WITH (x = up) x"#,
        "up default 0",
        "up if secret",
        "rate(x[5i])",
        "rate(x[1.5h])",
        "up keep_metric_names",
        "$__rate_interval",
        "rate(x[$__interval])",
        "select * from up",
        "up; secret",
        "up secret",
        "(up",
        "up)",
        "{",
        "up{",
        "up{job=}",
        "up{job=x}",
        "up{job==\"x\"}",
        "up{job:x=\"y\"}",
        "up{,}",
        "up{job=\"x\",,}",
        "{job=\"x\"}{namespace=\"b\"}",
        "up[5m",
        "rate(x[5m:1m:1s])",
        "rate(x[])",
        "sum by pod (x)",
        "sum by (pod) (x) by (pod)",
        "sum()",
        "topk(1, 2, x)",
        "a +",
        "* a",
        "a on (b) c",
        "a + bool b",
        "x offset",
        "x offset up",
        "x @ 5m",
        "x @ start",
        "x @ now()",
        "5 offset 5m",
        "1_000",
        "1e",
        "0x",
        "5mm",
        "5m1h",
        "a:b(c)",
        "by",
        "offset{x=\"y\"}",
        "\u{a0}up",
        "ümlaut",
    ] {
        let error = refused(query);
        assert!(error.contains("(at "), "{query}: {error}");
    }
}

#[test]
fn what_gives_no_instant_value_is_refused() {
    for query in [
        "x[5m]",
        "(x[5m])",
        "sum(x)[5m:1m]",
        "x[5m:] offset 1m",
        "sum(x[5m])",
        "x[5m] + 1",
        "-x[5m]",
        "topk(2, x[5m])",
    ] {
        assert!(
            matches!(check_query(query).unwrap_err().problem(), Problem::Range),
            "{query}"
        );
    }
    for query in ["\"x\"", "('x')", "1 + `x`"] {
        assert!(
            matches!(check_query(query).unwrap_err().problem(), Problem::Text),
            "{query}"
        );
    }
    for query in [
        "sum(x)[5m]",
        "(x)[5m]",
        "rate(x[5m][5m])",
        "rate(5[5m])",
        "rate(x offset 1m [5m])",
    ] {
        assert!(
            matches!(check_query(query).unwrap_err().problem(), Problem::RangeOfOther),
            "{query}"
        );
    }
}

#[test]
fn errors_say_where() {
    for (query, expected) in [
        (
            "",
            "the query is empty; it needs PromQL such as sum(rate(requests_total[1m])) (at position 1: »«)",
        ),
        (
            "sum(\n  x{job=3})",
            "expected a text in quotes, found \"3\" (at line 2, position 9:   x{job=»3«}))",
        ),
        (
            "up{job=\"x}",
            "the closing \" is missing (at position 8: up{job=»\"«x})",
        ),
        (
            "up{job='\\q'}",
            "no escape; allowed are \\a \\b \\f \\n \\r \\t \\v \\\\ \\' \\\", and \\123, \\x7f, \\u1234, \\U00012345 for characters (at position 9: up{job='»\\q«'})",
        ),
        (
            "{}",
            "a selector without a name and without matchers selects everything; name a metric or a label (at position 1: »{«})",
        ),
        ("a ? b", "'?' means nothing in PromQL (at position 3: a »?« b)"),
        (
            "sum(a b)",
            "expected \")\", found \"b\" (at position 7: sum(a »b«))",
        ),
    ] {
        assert_eq!(refused(query), expected);
    }
}

#[test]
fn length_and_depth_are_bounded() {
    let long = format!("up + {}", "x".repeat(MAX_LENGTH));
    assert!(matches!(
        check_query(&long).unwrap_err().problem(),
        Problem::TooLong { .. }
    ));
    assert!(refused(&long).len() < 400);
    let nested = |depth: usize| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(check_query(&nested(MAX_DEPTH - 1)).is_ok());
    assert!(matches!(
        check_query(&nested(MAX_DEPTH)).unwrap_err().problem(),
        Problem::TooDeep
    ));
    let opened = "abs(".repeat(MAX_LENGTH / 4);
    assert!(matches!(
        check_query(&opened).unwrap_err().problem(),
        Problem::TooDeep
    ));
    assert!(check_query(&"-".repeat(MAX_LENGTH)).is_err());
    assert!(check_query(&"1-".repeat(MAX_LENGTH / 2 - 1).add_one()).is_ok());
}

trait AddOne {
    fn add_one(self) -> String;
}

impl AddOne for String {
    fn add_one(self) -> String {
        self + "1"
    }
}
