use std::fmt::Write;

use rheostat_promtext::HistogramSnapshot;

/// Writes a page as an engine's own client library does.
///
/// Not with `rheostat_promtext`'s encoder, which rightly refuses what real engines do: counters
/// without `_total`, gauges with `_info`, trailing commas.
#[derive(Debug, Default)]
pub(super) struct Page {
    style: Style,
    text: String,
}

/// How a client library writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    /// Whole numbers with `.0`, as Python does.
    pub(super) float: bool,
    /// Labels sorted with `le` among them, as Python does; else `le` comes last.
    pub(super) sorted: bool,
    /// A comma after the last label, as the older Java library does.
    pub(super) trailing_comma: bool,
}

pub(super) type Labels = Vec<(&'static str, String)>;

impl Page {
    pub(super) fn new(style: Style) -> Self {
        Self {
            style,
            text: String::new(),
        }
    }

    /// Begins a family; some libraries write no help.
    pub(super) fn head(&mut self, name: &str, kind: &str, help: &str) {
        if !help.is_empty() {
            self.text.extend(["# HELP ", name, " ", help, "\n"]);
        }
        self.text.extend(["# TYPE ", name, " ", kind, "\n"]);
    }

    pub(super) fn sample(&mut self, name: &str, labels: &Labels, value: f64) {
        let value = self.number(value);
        self.line(name, labels, None, &value);
    }

    pub(super) fn histogram(&mut self, name: &str, labels: &Labels, values: &HistogramSnapshot) {
        let mut below = 0u64;
        let bounds = values.bounds.iter().copied().chain([f64::INFINITY]);
        for (bound, count) in bounds.zip(&values.counts) {
            below += count;
            let bound = self.number(bound);
            let count = self.number(below as f64);
            self.line(&format!("{name}_bucket"), labels, Some(&bound), &count);
        }
        self.sample(&format!("{name}_sum"), labels, values.sum);
        self.sample(&format!("{name}_count"), labels, below as f64);
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, name: &str, labels: &Labels, bound: Option<&str>, value: &str) {
        let mut labels: Vec<(&str, &str)> = labels
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        if let Some(bound) = bound {
            labels.push(("le", bound));
        }
        if self.style.sorted {
            labels.sort_unstable();
        }
        self.text.push_str(name);
        if !labels.is_empty() {
            self.text.push('{');
            for (place, (name, value)) in labels.iter().enumerate() {
                if place > 0 {
                    self.text.push(',');
                }
                self.text.extend([*name, "=\""]);
                for character in value.chars() {
                    match character {
                        '\\' => self.text.push_str("\\\\"),
                        '"' => self.text.push_str("\\\""),
                        '\n' => self.text.push_str("\\n"),
                        other => self.text.push(other),
                    }
                }
                self.text.push('"');
            }
            if self.style.trailing_comma {
                self.text.push(',');
            }
            self.text.push('}');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, " {value}");
    }

    fn number(&self, value: f64) -> String {
        if value.is_nan() {
            "NaN".into()
        } else if value.is_infinite() {
            if value > 0.0 { "+Inf".into() } else { "-Inf".into() }
        } else if self.style.float {
            format!("{value:?}")
        } else {
            format!("{value}")
        }
    }
}
