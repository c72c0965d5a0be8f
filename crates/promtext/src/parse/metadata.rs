use std::borrow::Cow;

use super::error::{Fault, Problem};
use super::escape::unescape;
use super::line::Line;
use super::{Item, MetricKind};
use crate::Format;

/// A line that begins with `#` (after blanks, where the format has them), or `None` where it is a free
/// comment.
pub(super) fn metadata(text: &str, format: Format) -> Result<Option<Item<'_>>, Fault> {
    let mut line = Line::new(text, format);
    line.blanks();
    line.eat(b'#');
    let Some(word) = keyword(&mut line, format) else {
        return match format {
            Format::Prometheus => Ok(None),
            Format::OpenMetrics => Err(Fault {
                at: 0,
                problem: Problem::Comment,
            }),
        };
    };
    if word == "EOF" {
        return Ok(Some(Item::End));
    }
    let family_at = line.at();
    let family = line.quoted_or_name(true, Problem::FamilyName)?;
    let separated = match (line.peek(), format) {
        (None, Format::Prometheus) => true,
        (Some(b'\t'), Format::Prometheus) | (Some(b' '), _) => line.pass(),
        _ => false,
    };
    if !separated {
        return Err(line.fault(Problem::Space));
    }
    let argument_at = line.at();
    let argument = line.rest();
    let fault = |at, problem| Err(Fault { at, problem });
    match word {
        "HELP" => Ok(Some(Item::Help {
            family,
            text: help(argument, format),
        })),
        "TYPE" => match kind(argument, format) {
            Some(kind) => Ok(Some(Item::Type { family, kind })),
            None => fault(argument_at, Problem::Type),
        },
        _ if is_unit(&family, argument) => Ok(Some(Item::Unit {
            family,
            unit: argument,
        })),
        _ => fault(family_at, Problem::Unit),
    }
}

/// The word after `#`, where it is one that the format knows, with all that separates it from what
/// follows.
fn keyword(line: &mut Line<'_>, format: Format) -> Option<&'static str> {
    let words: &[&str] = match format {
        Format::Prometheus => &["HELP", "TYPE"],
        Format::OpenMetrics => &["HELP", "TYPE", "UNIT", "EOF"],
    };
    let before = line.at();
    match format {
        Format::Prometheus => line.blanks(),
        Format::OpenMetrics => drop(line.eat(b' ')),
    }
    if line.at() == before {
        return None;
    }
    let word = words.iter().find(|word| line.rest().starts_with(**word))?;
    line.advance(word.len());
    let separated = match (*word, line.peek()) {
        ("EOF", next) => next.is_none(),
        (_, Some(b' ')) => line.pass(),
        (_, Some(b'\t')) => format == Format::Prometheus && line.pass(),
        _ => false,
    };
    line.blanks();
    separated.then_some(*word)
}

/// A help text: in the Prometheus format blanks alone are none.
fn help(text: &str, format: Format) -> Cow<'_, str> {
    match format {
        Format::Prometheus if is_blank(text) => Cow::Borrowed(""),
        _ => unescape(text, format == Format::OpenMetrics),
    }
}

/// Whether there is nothing but blanks.
pub(super) fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t'))
}

/// The type that `word` names.
pub(super) fn kind(word: &str, format: Format) -> Option<MetricKind> {
    let word = match format {
        Format::Prometheus => word.trim_matches([' ', '\t']),
        Format::OpenMetrics => word,
    };
    Some(match (word, format) {
        ("counter", _) => MetricKind::Counter,
        ("gauge", _) => MetricKind::Gauge,
        ("histogram", _) => MetricKind::Histogram,
        ("summary", _) => MetricKind::Summary,
        ("untyped", Format::Prometheus) | ("unknown", Format::OpenMetrics) => MetricKind::Unknown,
        ("gaugehistogram", Format::OpenMetrics) => MetricKind::GaugeHistogram,
        ("info", Format::OpenMetrics) => MetricKind::Info,
        ("stateset", Format::OpenMetrics) => MetricKind::StateSet,
        _ => return None,
    })
}

/// Whether a family of that name can have `unit`.
fn is_unit(family: &str, unit: &str) -> bool {
    unit.is_empty()
        || family
            .strip_suffix(unit)
            .is_some_and(|before| before.ends_with('_'))
}
