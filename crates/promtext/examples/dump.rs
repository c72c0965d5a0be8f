//! What is read in pages, in the words of `go/dump.go`, so that the two can be compared.
//!
//! `dump` answers pages on standard input; `dump encode prometheus|openmetrics` writes a page of ours.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests"
)]

use std::io::{BufRead, Read, Write};

use rheostat_promtext::{Encoder, Format, Histogram, Item, Kind, Labels, Limits, MetricKind, Parser, Sample};

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => answer(),
        ["encode", format] => std::io::stdout().write_all(encoded(format_of(format)).as_bytes()),
        _ => panic!("usage: dump | dump encode prometheus|openmetrics"),
    }
}

/// Answers a stream of pages; `go/dump.go` says how it is written.
fn answer() -> std::io::Result<()> {
    let mut input = std::io::stdin().lock();
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    let mut head = String::new();
    while input.read_line(&mut head)? > 0 {
        let (format, length) = head.trim_end().split_once(' ').expect("FORMAT LENGTH");
        let mut page = vec![0; length.parse().expect("a length")];
        input.read_exact(&mut page)?;
        let limits = Limits {
            errors: usize::MAX,
            ..Limits::default()
        };
        for item in Parser::with(&page, &limits, None)
            .format(format_of(format))
            .complete()
        {
            match item {
                Ok(item) => write!(output, "{}", describe(&item))?,
                Err(error) => writeln!(output, "error {:?}", error.problem)?,
            }
        }
        writeln!(output, "---")?;
        head.clear();
    }
    output.flush()
}

fn format_of(name: &str) -> Format {
    match name {
        "prometheus" => Format::Prometheus,
        "openmetrics" => Format::OpenMetrics,
        other => panic!("{other} is no format"),
    }
}

fn describe(item: &Item<'_>) -> String {
    match item {
        Item::Sample(sample) => describe_sample(sample),
        Item::Type { family, kind } => {
            let kind = match kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram => "histogram",
                MetricKind::GaugeHistogram => "gaugehistogram",
                MetricKind::Summary => "summary",
                MetricKind::Info => "info",
                MetricKind::StateSet => "stateset",
                MetricKind::Unknown => "unknown",
            };
            format!("type {} {kind}\n", hexadecimal(family))
        }
        Item::Help { family, text } => format!("help {} {}\n", hexadecimal(family), hexadecimal(text)),
        Item::Unit { family, unit } => format!("unit {} {}\n", hexadecimal(family), hexadecimal(unit)),
        Item::End => String::new(),
    }
}

fn describe_sample(sample: &Sample<'_>) -> String {
    let mut text = format!(
        "sample {} {} {}",
        set(Some(&sample.name), &sample.labels),
        number(sample.value),
        millis(sample.timestamp_millis)
    );
    if let Some(exemplar) = sample.exemplar() {
        text += &format!(
            " exemplar {} {} {}",
            set(None, &exemplar.labels),
            number(exemplar.value),
            millis(exemplar.timestamp_millis)
        );
    }
    text + "\n"
}

/// Labels in the order of their names, without those that have no value, as Prometheus has them.
fn set(name: Option<&str>, labels: &Labels<'_>) -> String {
    let mut pairs: Vec<String> = name
        .map(|name| format!("{}={}", hexadecimal("__name__"), hexadecimal(name)))
        .into_iter()
        .collect();
    for (name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
        let plain = value.bytes().all(|byte| b"0123456789.eE+-".contains(&byte));
        let bound = Some(&*value).filter(|_| plain && matches!(&*name, "le" | "quantile"));
        let value = match bound.and_then(|bound| bound.parse().ok().filter(|bound: &f64| bound.is_finite())) {
            Some(bound) => number(bound),
            None => hexadecimal(&value),
        };
        pairs.push(format!("{}={value}", hexadecimal(&name)));
    }
    pairs.sort_unstable();
    format!("{{{}}}", pairs.join(","))
}

fn millis(timestamp: Option<i64>) -> String {
    timestamp.map_or_else(|| "-".into(), |timestamp| timestamp.to_string())
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "nan".into()
    } else {
        format!("{:016x}", value.to_bits())
    }
}

fn hexadecimal(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// A page with every kind of family and everything that needs an escape.
fn encoded(format: Format) -> String {
    let mut page = Encoder::new(format);
    page.family("rheostat_build_info", Kind::Info, "", "What was built.")
        .unwrap()
        .info(&[("version", "0.1.0"), ("path", "C:\\ \"x\"\nü")])
        .unwrap();
    let mut power = page
        .family(
            "rheostat_gpu_power_watts",
            Kind::Gauge,
            "watts",
            "Power \"drawn\".\nA \\ B",
        )
        .unwrap();
    for (gpu, value) in [
        ("0", 312.5),
        ("1", f64::NAN),
        ("2", f64::INFINITY),
        ("}", -1e-300),
    ] {
        power.sample(&[("gpu", gpu), ("empty", "")], value).unwrap();
    }
    page.family(
        "rheostat_gpu_energy_joules_total",
        Kind::Counter,
        "joules",
        "Energy used.",
    )
    .unwrap()
    .sample(&[], 1e21)
    .unwrap();
    let wait = Histogram::new(Histogram::SECONDS).unwrap();
    for seconds in [0.000_1, 0.05, 0.5, 0.5, 30.0] {
        wait.observe(seconds);
    }
    page.family(
        "rheostat_wait_seconds",
        Kind::Histogram,
        "seconds",
        "Time waited.",
    )
    .unwrap()
    .histogram(&[("kind", "a")], &wait.snapshot())
    .unwrap();
    page.finish()
}
