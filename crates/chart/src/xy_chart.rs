use std::fmt::Write as _;

use crate::axis::{nice_step, number};
use crate::svg::{escape, legend, line, text};

/// A chart of one quantity against another: points, and lines between points.
pub struct XyChart<'a> {
    /// What it shows.
    pub title: &'a str,
    /// From left to right.
    pub x: Axis<'a>,
    /// From the bottom up.
    pub y: Axis<'a>,
    /// Lines, drawn below the points.
    pub lines: Vec<Line<'a>>,
    /// Points.
    pub points: Vec<Point>,
}

/// One axis.
pub struct Axis<'a> {
    /// What it measures, with its unit.
    pub name: &'a str,
    /// Where it begins. Greater than 0 on a logarithmic axis.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// Whether equal factors are equally long.
    pub logarithmic: bool,
}

/// A line through points.
pub struct Line<'a> {
    /// Its name in the legend; none where it is empty.
    pub name: &'a str,
    /// Its class in the style sheet.
    pub class: &'a str,
    /// `(x, y)`, in order.
    pub points: Vec<(f64, f64)>,
}

/// A dot.
pub struct Point {
    /// Its class in the style sheet.
    pub class: String,
    /// Where.
    pub at: (f64, f64),
    /// Written beside it; nothing where it is empty.
    pub label: String,
    /// What is shown to whoever points at it.
    pub title: String,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 26.0;
const LOWER: f64 = 42.0;

impl XyChart<'_> {
    /// As SVG, to stand in an HTML page. What lies beyond an axis is drawn at its end.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\"><title>{0}</title>\n",
            escape(self.title)
        );
        let named = self.lines.iter().filter(|line| !line.name.is_empty());
        let rows = legend(
            &mut out,
            LEFT + 30.0,
            WIDTH - LEFT - RIGHT,
            named.map(|line| (line.class, line.name)),
        );
        let upper = 22.0 + 18.0 * f64::from(rows);
        let x = |value: f64| LEFT + self.x.part(value) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - LOWER - self.y.part(value) * (HEIGHT - upper - LOWER);
        for (value, name) in self.y.ticks() {
            line(&mut out, "grid", (LEFT, y(value)), (WIDTH - RIGHT, y(value)));
            text(&mut out, "end", (LEFT - 6.0, y(value) + 4.0), &name);
        }
        for (value, name) in self.x.ticks() {
            line(&mut out, "grid", (x(value), upper), (x(value), HEIGHT - LOWER));
            text(&mut out, "middle", (x(value), HEIGHT - LOWER + 16.0), &name);
        }
        text(&mut out, "start", (4.0, upper - 10.0), self.y.name);
        text(
            &mut out,
            "middle",
            (f64::midpoint(LEFT, WIDTH), HEIGHT - 8.0),
            self.x.name,
        );
        for Line { class, points, .. } in &self.lines {
            let mut path = String::new();
            for (place, (px, py)) in points.iter().enumerate() {
                let letter = if place == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{letter}{:.1} {:.1}", x(*px), y(*py));
            }
            let _ = writeln!(out, "<path class=\"{class} line\" d=\"{path}\"/>");
        }
        for Point {
            class,
            at,
            label,
            title,
        } in &self.points
        {
            let (px, py) = (x(at.0), y(at.1));
            let _ = writeln!(
                out,
                "<circle class=\"{}\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"5\"><title>{}</title></circle>",
                escape(class),
                escape(title)
            );
            if !label.is_empty() {
                // On the side where there is room.
                let (anchor, beside) = if px > WIDTH * 0.7 {
                    ("end", -8.0)
                } else {
                    ("start", 8.0)
                };
                text(&mut out, anchor, (px + beside, py + 4.0), label);
            }
        }
        out.push_str("</svg>\n");
        out
    }
}

impl Axis<'_> {
    /// Where `value` lies, 0 at the beginning and 1 at the end.
    fn part(&self, value: f64) -> f64 {
        let scale = |value: f64| {
            if self.logarithmic {
                value.max(1e-300).ln()
            } else {
                value
            }
        };
        let (from, to) = (scale(self.from), scale(self.to));
        if value.is_finite() && to > from {
            ((scale(value) - from) / (to - from)).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        if self.logarithmic {
            return self.powers();
        }
        let step = nice_step((self.to - self.from) / 6.0);
        let mut value = (self.from / step - 1e-6).ceil() * step;
        let mut ticks = Vec::new();
        while value <= self.to + step * 1e-6 && ticks.len() < 20 {
            ticks.push((value, number(value, step)));
            value += step;
        }
        ticks
    }

    /// Powers of ten, with 2 and 5 times each where there is room.
    fn powers(&self) -> Vec<(f64, String)> {
        let first = self.from.max(1e-300).log10().floor() as i32;
        let last = self.to.max(1e-300).log10().ceil() as i32;
        let factors: &[f64] = if last - first <= 4 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let values = (first..=last.min(first + 30))
            .flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)));
        values
            .filter(|value| (self.from * 0.999..=self.to * 1.001).contains(value))
            .map(|value| (value, number(value, value)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> XyChart<'static> {
        XyChart {
            title: "cost & attainment",
            x: Axis {
                name: "cost",
                from: 1.0,
                to: 100.0,
                logarithmic: true,
            },
            y: Axis {
                name: "attainment, %",
                from: 90.0,
                to: 100.0,
                logarithmic: false,
            },
            lines: vec![Line {
                name: "front",
                class: "front",
                points: vec![(1.0, 90.0), (10.0, 95.0)],
            }],
            points: vec![Point {
                class: "other".to_owned(),
                at: (10.0, 95.0),
                label: "a<b".to_owned(),
                title: "a & b".to_owned(),
            }],
        }
    }

    #[test]
    fn points_lie_where_their_values_are() {
        let svg = chart().svg();
        // Ten is half-way from 1 to 100 in factors, 95 half-way from 90 to 100.
        let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
        assert!(svg.contains(&format!("cx=\"{middle:.1}\"")), "{svg}");
        assert!(
            svg.contains("a&lt;b") && svg.contains("<title>a &amp; b</title>"),
            "{svg}"
        );
        for tick in ["1", "2", "5", "10", "20", "50", "100", "92", "98"] {
            assert!(svg.contains(&format!(">{tick}</text>")), "{tick} in {svg}");
        }
    }

    #[test]
    fn nothing_that_is_no_number_is_drawn() {
        let mut one = chart();
        one.points[0].at = (f64::NAN, f64::INFINITY);
        (one.x.from, one.x.to) = (0.0, 0.0);
        (one.y.from, one.y.to) = (5.0, 5.0);
        let svg = one.svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
