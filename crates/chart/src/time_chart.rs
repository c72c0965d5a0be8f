use std::fmt::Write as _;

use crate::axis::{nice_step, number, time_ticks};
use crate::svg::{escape, legend, line, text};

/// A chart over time.
pub struct Chart<'a> {
    /// What it shows.
    pub title: &'a str,
    /// Unit of the values, for the axis.
    pub unit: &'a str,
    /// Seconds of the horizontal axis.
    pub seconds: f64,
    /// The least that the vertical axis reaches up to.
    pub top: f64,
    /// The lines.
    pub series: Vec<Series<'a>>,
    /// Moments to mark: second and text.
    pub marks: Vec<(f64, String)>,
}

/// One line of a chart.
pub struct Series<'a> {
    /// Its name in the legend.
    pub name: &'a str,
    /// Its class in the style sheet.
    pub class: &'a str,
    /// How it is drawn.
    pub kind: Kind,
    /// `(second, value)`.
    pub points: Vec<(f64, f64)>,
}

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
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
const LOWER: f64 = 28.0;

impl Chart<'_> {
    /// As SVG, to stand in an HTML page with the report's style sheet.
    #[must_use]
    pub fn svg(&self) -> String {
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
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\"><title>{0}</title>\n",
            escape(self.title)
        );
        let names = self.series.iter().map(|series| (series.class, series.name));
        let rows = legend(&mut out, LEFT + 30.0, WIDTH - LEFT - RIGHT, names);
        let upper = 16.0 + 18.0 * f64::from(rows);
        let x = |second: f64| LEFT + second / self.seconds.max(1.0) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - LOWER - value / top * (HEIGHT - upper - LOWER);
        let mut grid = 0.0;
        while grid <= top * 1.001 {
            line(&mut out, "grid", (LEFT, y(grid)), (WIDTH - RIGHT, y(grid)));
            text(&mut out, "end", (LEFT - 6.0, y(grid) + 4.0), &number(grid, step));
            grid += step;
        }
        text(&mut out, "start", (4.0, upper - 12.0), self.unit);
        for (second, name) in time_ticks(self.seconds) {
            text(&mut out, "middle", (x(second), HEIGHT - 8.0), &name);
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
            line(&mut out, "mark", (x(*at), upper), (x(*at), HEIGHT - LOWER));
            text(&mut out, "start", (x(*at) + 3.0, upper + 10.0), what);
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
    let last = series.points.len().saturating_sub(1);
    for (place, (second, value)) in series.points.iter().enumerate() {
        let (px, py) = (x(*second), y(*value));
        let _ = match before {
            None if series.kind == Kind::Area => write!(path, "M{px:.1} {:.1}V{py:.1}", y(0.0)),
            None => write!(path, "M{px:.1} {py:.1}"),
            Some(_) if series.kind == Kind::Line => write!(path, "L{px:.1} {py:.1}"),
            // A replica count stays for long: only its changes are written.
            Some(before) if (before - py).abs() < 0.05 && place < last => continue,
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(draw(Kind::Steps), "M0.0 9.0H2.0V7.0");
        assert_eq!(draw(Kind::Area), "M0.0 10.0V9.0H2.0V7.0V10.0Z");
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
