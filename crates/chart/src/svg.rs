use std::fmt::Write as _;

/// A line between two points.
pub(crate) fn line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// A text that begins, ends or has its middle (`anchor`) at a point.
pub(crate) fn text(out: &mut String, anchor: &str, (x, y): (f64, f64), what: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        escape(what)
    );
}

/// The colours of the series and their names, in as many rows as they need; returns how many. `room` is how
/// wide a row is.
pub(crate) fn legend<'a>(
    out: &mut String,
    left: f64,
    room: f64,
    entries: impl Iterator<Item = (&'a str, &'a str)>,
) -> u32 {
    let (mut place, mut row) = (left, 0);
    for (class, name) in entries {
        // Characters are about this wide; nobody measures them here.
        let width = 40.0 + 7.0 * name.chars().count() as f64;
        if place > left && place + width > left + room {
            (place, row) = (left, row + 1);
        }
        let y = 8.0 + f64::from(row) * 18.0;
        let _ = writeln!(
            out,
            "<rect class=\"{class} key\" x=\"{place:.1}\" y=\"{y:.1}\" width=\"14\" height=\"10\"/>"
        );
        text(out, "start", (place + 19.0, y + 9.0), name);
        place += width;
    }
    row + 1
}

/// `text` with what has a meaning in HTML written so that it has none.
#[must_use]
pub fn escape(text: &str) -> String {
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
