use super::names::open_metrics_name;
use crate::{Format, Kind};

/// The lines that describe a family.
pub(super) fn family_head(page: &mut String, format: Format, name: &str, kind: Kind, unit: &str, help: &str) {
    let name = match format {
        Format::Prometheus => name,
        Format::OpenMetrics => open_metrics_name(name, kind),
    };
    let type_name = match (kind, format) {
        (Kind::Info, Format::OpenMetrics) => "info",
        (Kind::Gauge | Kind::Info, _) => "gauge",
        (Kind::Counter, _) => "counter",
        (Kind::Histogram, _) => "histogram",
    };
    page.extend(["# HELP ", name, " "]);
    // In version 0.0.4 a backslash before a quote in a help text would be shown as it stands.
    escape(page, help, format == Format::OpenMetrics);
    page.extend(["\n# TYPE ", name, " ", type_name, "\n"]);
    if format == Format::OpenMetrics && !unit.is_empty() {
        page.extend(["# UNIT ", name, " ", unit, "\n"]);
    }
}

/// One line: `name` and `suffix`, written `labels` and perhaps the bucket's bound, and a value.
pub(super) fn sample(
    page: &mut String,
    name: &str,
    suffix: &str,
    labels: &str,
    bound: Option<&str>,
    value: &str,
) {
    page.extend([name, suffix]);
    match (labels, bound) {
        ("", None) => {}
        (labels, None) => page.extend(["{", labels, "}"]),
        ("", Some(bound)) => page.extend(["{le=\"", bound, "\"}"]),
        (labels, Some(bound)) => page.extend(["{", labels, ",le=\"", bound, "\"}"]),
    }
    page.extend([" ", value, "\n"]);
}

/// Labels as they stand between the braces.
pub(super) fn labels(labels: &[(&str, &str)]) -> String {
    let mut written = String::new();
    for (name, value) in labels {
        if !written.is_empty() {
            written.push(',');
        }
        written.extend([*name, "=\""]);
        escape(&mut written, value, true);
        written.push('"');
    }
    written
}

/// The shortest text that reads back as the same number. With `always_float` a whole number keeps
/// its `.0`, which OpenMetrics wants in the bounds of buckets.
pub(super) fn number(value: f64, always_float: bool) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    // Unlike Display, Debug turns to exponents where plain digits would get long.
    let mut text = format!("{value:?}");
    if !always_float && text.ends_with(".0") {
        text.truncate(text.len() - 2);
    }
    text
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}
