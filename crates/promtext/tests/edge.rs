//! The rows of `EDGE.md`, each by its name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use rheostat_promtext::{Format, Item, Limits, Parser, Problem};

use Format::{OpenMetrics, Prometheus};

/// What is read in `page`: samples as `name{label=value} value @timestamp # exemplar`, metadata as on a
/// page, errors as `! line:column Problem`.
fn read(page: &[u8], format: Format) -> Vec<String> {
    read_within(page, format, &Limits::default())
}

fn read_within(page: &[u8], format: Format, limits: &Limits) -> Vec<String> {
    Parser::with(page, limits, None)
        .format(format)
        .map(describe)
        .collect()
}

fn describe(item: Result<Item<'_>, rheostat_promtext::LineError>) -> String {
    let labels = |labels: &rheostat_promtext::Labels<'_>| {
        let pairs: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("{{{}}}", pairs.join(","))
    };
    match item {
        Ok(Item::Sample(sample)) => {
            let mut text = format!("{}{} {:?}", sample.name, labels(&sample.labels), sample.value);
            if let Some(millis) = sample.timestamp_millis {
                text += &format!(" @{millis}");
            }
            if let Some(exemplar) = sample.exemplar() {
                text += &format!(" # {} {:?}", labels(&exemplar.labels), exemplar.value);
                if let Some(millis) = exemplar.timestamp_millis {
                    text += &format!(" @{millis}");
                }
            }
            text
        }
        Ok(Item::Type { family, kind }) => format!("TYPE {family} {kind:?}"),
        Ok(Item::Help { family, text }) => format!("HELP {family} [{text}]"),
        Ok(Item::Unit { family, unit }) => format!("UNIT {family} [{unit}]"),
        Ok(Item::End) => "END".into(),
        Err(error) => format!("! {}:{} {:?}", error.line, error.column, error.problem),
    }
}

/// A name of `EDGE.md`, a page and what is read in it.
type Row = (&'static str, &'static str, &'static [&'static str]);

/// For pages in both formats, without `# EOF`.
const BOTH: &[Row] = &[
    ("brace-in-value", "up{a=\"}\"} 1\n", &["up{a=}} 1.0"]),
    (
        "quote-and-comma-in-value",
        "up{a=\"x,\\\"y\"} 1\n",
        &["up{a=x,\"y} 1.0"],
    ),
    ("escapes", "up{a=\"\\\\\\\"\\n\"} 1\n", &["up{a=\\\"\n} 1.0"]),
    ("unknown-escape", "up{a=\"\\q\"} 1\n", &["up{a=\\q} 1.0"]),
    ("escaped-last-quote", "up{a=\"b\\\"} 1\n", &["! 1:6 Quote"]),
    (
        "with-and-without-labels",
        "up 1\nup{a=\"b\"} 2\n",
        &["up{} 1.0", "up{a=b} 2.0"],
    ),
    ("empty-braces", "up{} 1\n", &["up{} 1.0"]),
    ("trailing-comma", "up{a=\"b\",} 1\n", &["up{a=b} 1.0"]),
    ("lone-comma", "up{,} 1\n", &["! 1:4 LabelName"]),
    (
        "short-decimals",
        "a .5\na 5.\na 1E-3\na +1\na -2.5e+3\n",
        &["a{} 0.5", "a{} 5.0", "a{} 0.001", "a{} 1.0", "a{} -2500.0"],
    ),
    (
        "not-numbers",
        "a 0x10\na 0x1p3\na 1_000\na 1,5\na .\na 1e\na 1f\na -\n",
        &[
            "! 1:3 Number",
            "! 2:3 Number",
            "! 3:3 Number",
            "! 4:3 Number",
            "! 5:3 Number",
            "! 6:3 Number",
            "! 7:3 Number",
            "! 8:3 Number",
        ],
    ),
    (
        "not-a-number",
        "a NaN\na nan\na +NaN\na -nan\n",
        &["a{} NaN", "a{} NaN", "! 3:3 Number", "! 4:3 Number"],
    ),
    (
        "infinities",
        "a Inf\na +Inf\na -inf\na infinity\na infin\n",
        &["a{} inf", "a{} inf", "a{} -inf", "a{} inf", "! 5:3 Number"],
    ),
    (
        "too-large",
        "a 1e400\na -1e400\n",
        &["! 1:3 NumberTooLarge", "! 2:3 NumberTooLarge"],
    ),
    ("too-small", "a 1e-400\n", &["a{} 0.0"]),
    (
        "exact-numbers",
        "a 0.1\na 9007199254740993\na 1e23\na 123456789012345.5\na 12345678.0\na 0.30000000000000004\n",
        &[
            "a{} 0.1",
            "a{} 9007199254740992.0",
            "a{} 1e23",
            "a{} 123456789012345.5",
            "a{} 12345678.0",
            "a{} 0.30000000000000004",
        ],
    ),
    (
        "colons-in-name",
        "vllm:x 1\n:x 2\nx{a:b=\"c\"} 3\n",
        &["vllm:x{} 1.0", ":x{} 2.0", "! 3:4 Equals"],
    ),
    (
        "digit-first",
        "1up 1\nup{1a=\"b\"} 1\n",
        &["! 1:1 Start", "! 2:4 LabelName"],
    ),
    (
        "duplicate-label",
        "up{a=\"1\",b=\"2\",a=\"3\"} 1\n",
        &["! 1:16 DuplicateLabel"],
    ),
    (
        "reserved-label",
        "up{__name__=\"x\"} 1\n",
        &["! 1:4 ReservedLabel"],
    ),
    ("quoted-names", "{\"a.b\",\"c d\"=\"e\"} 1\n", &["a.b{c d=e} 1.0"]),
    (
        "quoted-name-anywhere",
        "{a=\"b\",\"up\",c=\"d\"} 1\n",
        &["up{a=b,c=d} 1.0"],
    ),
    ("quoted-escapes", "{\"a\\\"b\"} 1\n", &["a\"b{} 1.0"]),
    (
        "no-name",
        "{a=\"b\"} 1\n{} 1\n",
        &["! 1:8 NoName", "! 2:3 NoName"],
    ),
    (
        "second-name",
        "up{\"down\"} 1\n{\"a\",\"b\"} 1\n",
        &["! 1:4 SecondName", "! 2:6 SecondName"],
    ),
    (
        "empty-quoted-name",
        "{\"\"} 1\nup{\"\"=\"b\"} 1\n",
        &["! 1:2 LabelName", "! 2:4 LabelName"],
    ),
    (
        "family-in-two-places",
        "a 1\nb 2\na{c=\"d\"} 3\n",
        &["a{} 1.0", "b{} 2.0", "a{c=d} 3.0"],
    ),
    (
        "type-after-samples",
        "a 1\n# TYPE a gauge\n",
        &["a{} 1.0", "TYPE a Gauge"],
    ),
    (
        "no-infinite-bucket",
        "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_count 2\n",
        &["TYPE a Histogram", "a_bucket{le=1} 2.0", "a_count{} 2.0"],
    ),
    (
        "created-series",
        "up_created 1.7e9\n",
        &["up_created{} 1700000000.0"],
    ),
    (
        "nul",
        "up{a=\"\0\"} 1\nu\0p 1\n\0\n",
        &["up{a=\0} 1.0", "! 2:2 Space", "! 3:1 Start"],
    ),
    (
        "newline-in-quotes",
        "up{a=\"b\nc\"} 1\n",
        &["! 1:6 Quote", "! 2:2 Space"],
    ),
    ("html", "<html>\nup 1\n", &["! 1:1 Html"]),
    (
        "html-later",
        "up 1\n<html>\n</html>\n",
        &["up{} 1.0", "! 2:1 Start", "! 3:1 Start"],
    ),
    ("json", "{\"error\":\"x\"}\n", &["! 1:9 Equals"]),
    (
        "one-bad-line",
        "a 1\nb oops\nc 3\n",
        &["a{} 1.0", "! 2:3 Number", "c{} 3.0"],
    ),
];

const PROMETHEUS: &[Row] = &[
    ("empty-page", "", &[]),
    ("empty-page", "\n \n\t\n", &[]),
    ("blank-lines", "\n\na 1\n \n\t\n", &["a{} 1.0"]),
    (
        "blanks-and-tabs",
        " \ta\t{ a\t= \"b\" ,c=\"d\" , } \t1\t 5 \n",
        &["a{a=b,c=d} 1.0 @5"],
    ),
    ("blank-before-braces", "up {a=\"b\"} 1\n", &["up{a=b} 1.0"]),
    ("value-at-brace", "up{a=\"b\"}1\n", &["up{a=b} 1.0"]),
    (
        "value-at-name",
        "my-metric 1\nup-1\n",
        &["! 1:3 Space", "! 2:3 Space"],
    ),
    ("no-comma", "up{a=\"1\" b=\"2\"} 1\n", &["! 1:10 Comma"]),
    ("timestamps", "up 1 1700000000000\n", &["up{} 1.0 @1700000000000"]),
    (
        "signed-timestamps",
        "up 1 -5\nup 1 +5\n",
        &["up{} 1.0 @-5", "up{} 1.0 @5"],
    ),
    (
        "bad-timestamps",
        "up 1 1.5\nup 1 9223372036854775808\nup 1 2 3\n",
        &["! 1:6 Timestamp", "! 2:6 Timestamp", "! 3:8 Trailing"],
    ),
    (
        "crlf",
        "# HELP a b\r\n# TYPE a gauge\r\n# c\r\na 1\r\n\r\n",
        &["HELP a [b\r]", "! 2:10 Type", "! 4:3 Number", "! 5:1 Start"],
    ),
    (
        "free-comments",
        "# text\n#text\n# help x\n# UNIT x y\n# HELPx y\n# HELP\n#HELP a b\n # x\n# EOF\na 1\n",
        &["a{} 1.0"],
    ),
    (
        "types",
        "# TYPE a counter\n# TYPE a gauge\n# TYPE a histogram\n# TYPE a summary\n# TYPE a untyped\n\
         # TYPE a info\n# TYPE a unknown\n# TYPE a Counter\n# TYPE a\n# TYPE a gauge x\n",
        &[
            "TYPE a Counter",
            "TYPE a Gauge",
            "TYPE a Histogram",
            "TYPE a Summary",
            "TYPE a Unknown",
            "! 6:10 Type",
            "! 7:10 Type",
            "! 8:10 Type",
            "! 9:9 Type",
            "! 10:10 Type",
        ],
    ),
    ("blanks-around-type", "#\tTYPE  a\t gauge \t\n", &["TYPE a Gauge"]),
    (
        "help-without-text",
        "# HELP a\n# HELP a \n# HELP a  b\n# HELP a-b c\n# HELP 1 c\n",
        &[
            "HELP a []",
            "HELP a []",
            "HELP a [ b]",
            "! 4:9 Space",
            "! 5:8 FamilyName",
        ],
    ),
    (
        "help-escapes",
        "# HELP a \\\\ \\n \\\" \\q\n",
        &["HELP a [\\ \n \\\" \\q]"],
    ),
    (
        "exemplar-in-text",
        "up 1 # {a=\"b\"} 2\nup{a=\"b\"} 1 # x\n",
        &["! 1:6 Timestamp", "! 2:13 Timestamp"],
    ),
    ("cut", "a 1\nb 12", &["a{} 1.0", "! 2:5 Unterminated"]),
];

const OPEN_METRICS: &[Row] = &[
    ("end", "a 1\n# EOF\n", &["a{} 1.0", "END"]),
    ("end", "# EOF", &["END"]),
    ("no-end", "a 1\n", &["a{} 1.0", "! 2:1 NoEnd"]),
    (
        "no-end",
        "a 1\n# EOF \n",
        &["a{} 1.0", "! 2:1 Comment", "! 3:1 NoEnd"],
    ),
    ("after-end", "# EOF\na 1\n", &["END", "! 2:1 AfterEnd"]),
    ("after-end", "# EOF\n# TYPE a gauge\n", &["END", "! 2:1 AfterEnd"]),
    ("after-end", "# EOF\n\n", &["END", "! 2:1 AfterEnd"]),
    ("empty-open-metrics", "", &["! 1:1 NoEnd"]),
    (
        "no-blanks",
        " a 1\na  1\na\t1\na {b=\"c\"} 1\na{b=\"c\", d=\"e\"} 1\na{b=\"c\"}1\na 1 \n\n#x\n# x\n# HELP  a b\n# EOF\n",
        &[
            "! 1:1 Start",
            "! 2:3 NoValue",
            "! 3:2 Space",
            "! 4:3 Number",
            "! 5:9 LabelName",
            "! 6:9 Space",
            "! 7:5 NoValue",
            "! 8:1 Comment",
            "! 9:1 Comment",
            "! 10:1 Comment",
            "! 11:8 FamilyName",
            "END",
        ],
    ),
    (
        "exemplars",
        "a 1 # {a=\"b\",\"c d\"=\"\\n\"} 2 3.5\na{x=\"y\"} 1 2 # {} NaN\n# EOF\n",
        &[
            "a{} 1.0 # {a=b,c d=\n} 2.0 @3500",
            "a{x=y} 1.0 @2000 # {} NaN",
            "END",
        ],
    ),
    (
        "bad-exemplars",
        "a 1 # {a=\"b\"}\na 1 # {\"b\"} 2\na 1 # {a=\"b\",a=\"c\"} 2\na 1 # {a=\"b\"} 2 NaN\na 1 # {a=\"b\"} 2 3 4\n# EOF\n",
        &[
            "! 1:14 Space",
            "! 2:8 SecondName",
            "! 3:14 DuplicateLabel",
            "! 4:17 Timestamp",
            "! 5:18 Trailing",
            "END",
        ],
    ),
    (
        "seconds",
        "a 1 1.5\na 1 -1.5\na 1 1e3\na 1 0.0019\n# EOF\n",
        &[
            "a{} 1.0 @1500",
            "a{} 1.0 @-1500",
            "a{} 1.0 @1000000",
            "a{} 1.0 @1",
            "END",
        ],
    ),
    (
        "bad-seconds",
        "a 1 NaN\na 1 Inf\na 1 1e300\n# EOF\n",
        &["! 1:5 Timestamp", "! 2:5 Timestamp", "! 3:5 Timestamp", "END"],
    ),
    (
        "open-metrics-types",
        "# TYPE a gaugehistogram\n# TYPE a info\n# TYPE a stateset\n# TYPE a unknown\n# TYPE a untyped\n# TYPE a gauge \n# EOF\n",
        &[
            "TYPE a GaugeHistogram",
            "TYPE a Info",
            "TYPE a StateSet",
            "TYPE a Unknown",
            "! 5:10 Type",
            "! 6:10 Type",
            "END",
        ],
    ),
    (
        "units",
        "# UNIT a_seconds seconds\n# UNIT a \n# UNIT a seconds\n# UNIT aseconds seconds\n# UNIT \"a b_seconds\" seconds\n# EOF\n",
        &[
            "UNIT a_seconds [seconds]",
            "UNIT a []",
            "! 3:8 Unit",
            "! 4:8 Unit",
            "UNIT a b_seconds [seconds]",
            "END",
        ],
    ),
    (
        "open-metrics-help",
        "# HELP a \\\\ \\n \\\"\n# HELP a \n# HELP a\n# EOF\n",
        &["HELP a [\\ \n \"]", "HELP a []", "! 3:9 Space", "END"],
    ),
    ("cut", "a 1\n# EO", &["a{} 1.0", "! 2:5 Unterminated"]),
];

#[test]
fn both_formats() {
    for (name, page, expected) in BOTH {
        assert_eq!(read(page.as_bytes(), Prometheus), *expected, "{name}");
        let mut with_end = read(format!("{page}# EOF\n").as_bytes(), OpenMetrics);
        if *name != "html" {
            assert_eq!(with_end.pop().as_deref(), Some("END"), "{name}");
        }
        assert_eq!(with_end, *expected, "{name} in OpenMetrics");
    }
}

#[test]
fn prometheus() {
    for (name, page, expected) in PROMETHEUS {
        assert_eq!(read(page.as_bytes(), Prometheus), *expected, "{name}: {page:?}");
    }
}

#[test]
fn open_metrics() {
    for (name, page, expected) in OPEN_METRICS {
        assert_eq!(read(page.as_bytes(), OpenMetrics), *expected, "{name}: {page:?}");
    }
}

#[test]
fn not_utf8() {
    let page = b"a 1\nb{c=\"\xff\"} 1\n# \xc3\nd\xe4 1\ne 5\n";
    assert_eq!(
        read(page, Prometheus),
        [
            "a{} 1.0",
            "! 2:6 NotUtf8",
            "! 3:3 NotUtf8",
            "! 4:2 NotUtf8",
            "e{} 5.0"
        ]
    );
}

#[test]
fn gzip() {
    assert_eq!(read(b"\x1f\x8b\x08\x00up 1\n", Prometheus), ["! 1:1 Compressed"]);
    assert_eq!(read(b"\x28\xb5\x2f\xfdup 1\n", OpenMetrics), ["! 1:1 Compressed"]);
}

#[test]
fn cut_but_known_to_be_whole() {
    let whole = |page: &'static [u8], format| -> Vec<String> {
        Parser::with(page, &Limits::default(), None)
            .format(format)
            .complete()
            .map(describe)
            .collect()
    };
    assert_eq!(whole(b"a 1\nb 12", Prometheus), ["a{} 1.0", "b{} 12.0"]);
    assert_eq!(whole(b"a 1", OpenMetrics), ["a{} 1.0", "! 2:1 NoEnd"]);
}

#[test]
fn limits() {
    let within = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        read_within(
            b"a 1\nb oops\nccc{x=\"1\",y=\"2\"} 3\nd oops\ne 5\n",
            Prometheus,
            &limits,
        )
    };
    let ccc = "ccc{x=1,y=2} 3.0";
    let (b, d) = ("! 2:3 Number", "! 4:3 Number");
    assert_eq!(within(|_| ()), ["a{} 1.0", b, ccc, d, "e{} 5.0"]);
    assert_eq!(
        within(|limits| limits.page_bytes = 15),
        ["a{} 1.0", b, "! 3:5 PageTooLong(15)"]
    );
    assert_eq!(
        within(|limits| limits.page_bytes = 11),
        ["a{} 1.0", b, "! 3:1 PageTooLong(11)"]
    );
    assert_eq!(
        within(|limits| limits.line_bytes = 17),
        ["a{} 1.0", b, "! 3:18 LineTooLong(17)"]
    );
    assert_eq!(
        within(|limits| limits.samples = 1),
        ["a{} 1.0", b, "! 3:1 TooManySamples(1)"]
    );
    assert_eq!(
        within(|limits| limits.labels = 1),
        ["a{} 1.0", b, "! 3:11 TooManyLabels(1)"]
    );
    assert_eq!(
        within(|limits| limits.errors = 1),
        ["a{} 1.0", b, ccc, "! 4:3 TooManyErrors(1)"]
    );
}

#[test]
fn many_labels() {
    let labels: Vec<String> = (0..40).map(|index| format!("l{index}=\"{index}\"")).collect();
    for count in [0, 1, 7, 8, 9, 31, 32, 33, 40] {
        let text = labels.get(..count).unwrap().join(",");
        let page = format!("a{{{text}}} 1\na{{{text}}} 2\na{{{text},l0=\"x\"}} 3\n");
        let read = read(page.as_bytes(), Prometheus);
        let plain = text.replace('"', "");
        assert_eq!(
            read[..2],
            [format!("a{{{plain}}} 1.0"), format!("a{{{plain}}} 2.0")]
        );
        let twice = if count == 0 {
            "! 3:3 LabelName"
        } else {
            "DuplicateLabel"
        };
        assert!(read[2].ends_with(twice), "{count}: {}", read[2]);
    }
}

#[test]
fn final_errors_end_the_page() {
    let mut parser = Parser::with(b"<html>\n", &Limits::default(), None);
    let error = parser.next().unwrap().unwrap_err();
    assert!(error.is_final() && error.problem == Problem::Html);
    assert!(parser.next().is_none() && parser.next().is_none());
}

#[test]
fn every_row_has_its_test() {
    let document = include_str!("../EDGE.md");
    let rows: BTreeSet<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .map(|(name, _)| name)
        .filter(|name| !name.contains(' ') && !matches!(*name, "name" | "we"))
        .collect();
    let tables = [BOTH, PROMETHEUS, OPEN_METRICS];
    let mut tested: BTreeSet<&str> = tables
        .iter()
        .flat_map(|rows| rows.iter().map(|row| row.0))
        .collect();
    tested.extend(["not-utf8", "gzip", "limits"]);
    assert_eq!(rows, tested);
}
