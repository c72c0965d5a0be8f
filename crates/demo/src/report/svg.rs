use std::fmt::Write as _;

/// A chart over time.
pub(crate) struct Chart<'a> {
    /// What it shows.
    pub(crate) title: &'a str,
    /// Unit of the values, for the axis.
    pub(crate) unit: &'a str,
    /// Seconds of the horizontal axis.
    pub(crate) seconds: f64,
    /// The least that the vertical axis reaches up to.
    pub(crate) top: f64,
    /// The lines.
    pub(crate) series: Vec<Series<'a>>,
    /// Moments to mark: second and text.
    pub(crate) marks: Vec<(f64, String)>,
}

/// One line of a chart.
pub(crate) struct Series<'a> {
    /// Its name in the legend.
    pub(crate) name: &'a str,
    /// Its class in the style sheet.
    pub(crate) class: &'static str,
    /// How it is drawn.
    pub(crate) kind: Kind,
    /// `(second, value)`.
    pub(crate) points: Vec<(f64, f64)>,
}

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From point to point.
    Line,
    /// A value holds until the next one.
    Steps,
    /// The same, filled down to zero.
    Area,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 26.0;
const UPPER: f64 = 34.0;
const LOWER: f64 = 28.0;

impl Chart<'_> {
    /// As SVG, to stand in an HTML page with the report's style sheet.
    pub(crate) fn svg(&self) -> String {
        let values = self
            .series
            .iter()
            .flat_map(|series| &series.points)
            .map(|(_, value)| *value);
        let step = nice_step(values.fold(self.top, f64::max) / 4.0);
        let top = (self
            .series
            .iter()
            .flat_map(|series| &series.points)
            .map(|(_, value)| *value))
        .fold(self.top, f64::max)
        .max(step);
        let x = |second: f64| LEFT + second / self.seconds.max(1.0) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - LOWER - value / top * (HEIGHT - UPPER - LOWER);
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\"><title>{0}</title>\n",
            escape(self.title)
        );
        let mut grid = 0.0;
        while grid <= top * 1.001 {
            line(&mut out, "grid", (LEFT, y(grid)), (WIDTH - RIGHT, y(grid)));
            text(&mut out, "end", (LEFT - 6.0, y(grid) + 4.0), &format!("{grid}"));
            grid += step;
        }
        text(&mut out, "start", (4.0, UPPER - 12.0), self.unit);
        let minutes = nice_step(self.seconds / 60.0 / 8.0).max(1.0);
        let mut minute = 0.0;
        while minute * 60.0 <= self.seconds {
            text(
                &mut out,
                "middle",
                (x(minute * 60.0), HEIGHT - 8.0),
                &format!("{minute:.0} min"),
            );
            minute += minutes;
        }
        for series in &self.series {
            let path = path(series, x, y);
            let _ = writeln!(
                out,
                "<path class=\"{} {}\" d=\"{path}\"/>",
                series.class,
                series.kind.class()
            );
        }
        for (at, what) in &self.marks {
            line(&mut out, "mark", (x(*at), UPPER), (x(*at), HEIGHT - LOWER));
            text(&mut out, "start", (x(*at) + 3.0, UPPER + 10.0), what);
        }
        let mut place = LEFT + 30.0;
        for series in &self.series {
            let _ = writeln!(
                out,
                "<rect class=\"{} key\" x=\"{place:.1}\" y=\"8\" width=\"14\" height=\"10\"/>",
                series.class
            );
            text(&mut out, "start", (place + 19.0, 17.0), series.name);
            place += 40.0 + 7.0 * series.name.chars().count() as f64;
        }
        out.push_str("</svg>\n");
        out
    }
}

impl Kind {
    const fn class(self) -> &'static str {
        match self {
            Self::Line | Self::Steps => "line",
            Self::Area => "area",
        }
    }
}

fn path(series: &Series<'_>, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut before: Option<f64> = None;
    for (second, value) in &series.points {
        let (px, py) = (x(*second), y(*value));
        let _ = match before {
            None if series.kind == Kind::Area => write!(path, "M{px:.1} {:.1}V{py:.1}", y(0.0)),
            None => write!(path, "M{px:.1} {py:.1}"),
            Some(_) if series.kind == Kind::Line => write!(path, "L{px:.1} {py:.1}"),
            Some(before) if (before - py).abs() < 0.05 => write!(path, "H{px:.1}"),
            Some(_) => write!(path, "H{px:.1}V{py:.1}"),
        };
        before = Some(py);
    }
    if series.kind == Kind::Area && before.is_some() {
        let _ = write!(path, "V{:.1}Z", y(0.0));
    }
    path
}

fn line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

fn text(out: &mut String, anchor: &str, (x, y): (f64, f64), what: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        escape(what)
    );
}

/// A round number of at least `least`: 1, 2 or 5 times a power of ten.
fn nice_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-9).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least * 0.999);
    step.unwrap_or(10.0 * power)
}

/// `text` with what has a meaning in HTML written so that it has none.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        for (least, step) in [
            (0.9, 1.0),
            (1.0, 1.0),
            (1.1, 2.0),
            (3.5, 5.0),
            (6.0, 10.0),
            (25.0, 50.0),
        ] {
            assert!((nice_step(least) - step).abs() < 1e-9, "{least}");
        }
    }

    #[test]
    fn a_value_holds_until_the_next_one() {
        let series = |kind| Series {
            name: "n",
            class: "c",
            kind,
            points: vec![(0.0, 1.0), (1.0, 1.0), (2.0, 3.0)],
        };
        let draw = |kind| path(&series(kind), |x| x, |y| 10.0 - y);
        assert_eq!(draw(Kind::Line), "M0.0 9.0L1.0 9.0L2.0 7.0");
        assert_eq!(draw(Kind::Steps), "M0.0 9.0H1.0H2.0V7.0");
        assert_eq!(draw(Kind::Area), "M0.0 10.0V9.0H1.0H2.0V7.0V10.0Z");
    }

    #[test]
    fn a_chart_is_closed_and_text_is_harmless() {
        let chart = Chart {
            title: "a <b> & \"c\"",
            unit: "GPUs",
            seconds: 1200.0,
            top: 4.0,
            series: vec![Series {
                name: "x<y",
                class: "ready",
                kind: Kind::Area,
                points: vec![(0.0, 2.0), (600.0, 3.0)],
            }],
            marks: vec![(450.0, "lost".into())],
        };
        let svg = chart.svg();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(
            svg.contains("x&lt;y") && svg.contains("&lt;b&gt; &amp; &quot;c&quot;") && !svg.contains("NaN")
        );
        let empty = Chart {
            series: Vec::new(),
            marks: Vec::new(),
            seconds: 0.0,
            ..chart
        };
        assert!(!empty.svg().contains("NaN"));
    }
}
