//! What is read from a page, line by line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use rheostat_promtext::{Families, Format, Item, Limits, MetricKind, Parser, Problem, parse};

/// The items of a page that has no errors, written shortly.
fn items(page: &str) -> Vec<String> {
    parse(page.as_bytes())
        .map(|item| describe(&item.unwrap()))
        .collect()
}

fn describe(item: &Item<'_>) -> String {
    match item {
        Item::Sample(sample) => {
            let labels: Vec<String> = sample
                .labels
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let mut text = format!("{}[{}] {:?}", sample.name, labels.join("|"), sample.value);
            if let Some(at) = sample.timestamp_millis {
                text += &format!(" @{at}");
            }
            if let Some(exemplar) = sample.exemplar() {
                text += &format!(
                    " ex {:?} {:?} {:?}",
                    exemplar.labels, exemplar.value, exemplar.timestamp_millis
                );
            }
            text
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn a_page_of_an_engine() {
    let page = "# HELP vllm:num_requests_running Number of requests.\n\
                # TYPE vllm:num_requests_running gauge\n\
                vllm:num_requests_running{engine=\"0\",model_name=\"a}b,\\\"c\"} 3.0\n\
                up 1 1700000000000\n";
    assert_eq!(
        items(page),
        [
            "Help { family: \"vllm:num_requests_running\", text: \"Number of requests.\" }",
            "Type { family: \"vllm:num_requests_running\", kind: Gauge }",
            "vllm:num_requests_running[engine=0|model_name=a}b,\"c] 3.0",
            "up[] 1.0 @1700000000000",
        ]
    );
}

#[test]
fn an_open_metrics_page() {
    let page = "# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                a_seconds_bucket{le=\"1.0\"} 3 1.5 # {trace=\"x\"} 0.25 2.25\n# EOF\n";
    assert_eq!(
        items(page),
        [
            "Type { family: \"a_seconds\", kind: Histogram }",
            "Unit { family: \"a_seconds\", unit: \"seconds\" }",
            "a_seconds_bucket[le=1.0] 3.0 @1500 ex {\"trace\": \"x\"} 0.25 Some(2250)",
            "End",
        ]
    );
}

#[test]
fn a_bad_line_does_not_spoil_the_others() {
    let page = b"a 1\nb oops\nc 3\n";
    let items: Vec<_> = parse(page).collect();
    assert_eq!(items.len(), 3);
    let error = items[1].clone().unwrap_err();
    assert_eq!((error.line, error.column, error.problem), (2, 3, Problem::Number));
    assert_eq!(error.to_string(), "line 2, column 3: not a number, at `oops`");
}

#[test]
fn only_wanted_families() {
    let families = Families::new(["b", "c_total"]);
    let page =
        b"# TYPE a gauge\n# TYPE b histogram\na 1\nb_bucket{le=\"1\"} 2\nb_sum 1\nbb 1\nc_total 4\nc 5\n";
    let names: Vec<String> = Parser::with(page, &Limits::default(), Some(&families))
        .map(|item| match item.unwrap() {
            Item::Sample(sample) => sample.name.into_owned(),
            Item::Type { family, kind } => {
                assert_eq!(kind, MetricKind::Histogram);
                format!("TYPE {family}")
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["TYPE b", "b_bucket", "b_sum", "c_total", "c"]);
}

#[test]
fn a_cut_page_is_told() {
    let last = |page: &[u8]| parse(page).last().unwrap().unwrap_err().problem;
    assert_eq!(last(b"a 1\nb 12"), Problem::Unterminated);
    assert!(
        Parser::with(b"a 1\nb 12", &Limits::default(), None)
            .complete()
            .all(|item| item.is_ok())
    );
    let cut = Parser::with(b"a 1\n", &Limits::default(), None).format(Format::OpenMetrics);
    assert_eq!(cut.last().unwrap().unwrap_err().problem, Problem::NoEnd);
}
