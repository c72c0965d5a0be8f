/// Replicas at one moment, and how many it would take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Level {
    /// The moment, seconds since the beginning.
    pub at: f64,
    /// Replicas that are asked for.
    pub asked: f64,
    /// Replicas that are ready.
    pub ready: f64,
    /// Replicas that the load needs.
    pub needed: f64,
}

/// Marks of the chart.
const READY: char = '█';
const STARTING: char = '░';
const NEEDED: char = '•';
const BEYOND: char = '↑';

/// The chart reaches up to this many times the largest replica count: a short burst may need many
/// times that, and would leave the rest flat.
const HEADROOM: f64 = 1.5;

/// What the marks mean.
pub const LEGEND: &str = "█ ready  ░ asked for, not ready  • needed by the load (↑ more)";

/// Replicas against what the load needs, over `seconds`, in `width` columns and at most `height` rows with
/// axes.
#[must_use]
pub fn replicas(levels: &[Level], seconds: f64, width: usize, height: usize) -> Vec<String> {
    const AXIS: usize = 5;
    let (columns, rows) = (width.saturating_sub(AXIS).max(1), height.saturating_sub(1).max(1));
    let column_of = |at: f64| ((at / seconds.max(1.0) * columns as f64) as usize).min(columns - 1);
    let mut of_column: Vec<Option<&Level>> = vec![None; columns];
    for level in levels {
        of_column[column_of(level.at)] = Some(level);
    }
    // Where levels are rarer than columns, the last one holds until the next.
    let end = levels.last().map_or(0, |level| column_of(level.at) + 1);
    let mut last = levels.first();
    for column in of_column.iter_mut().take(end) {
        last = column.or(last);
        *column = last;
    }
    let replicas = levels.iter().map(|level| level.asked).fold(4.0, f64::max);
    let needs = levels.iter().map(|level| level.needed).fold(0.0, f64::max);
    let top = needs.clamp(replicas, HEADROOM * replicas);
    // Whole replicas for each row, so that equal steps look equal.
    let per_row = (top / rows as f64).ceil();
    let rows = (top / per_row).ceil() as usize;

    let mut lines: Vec<String> = (0..rows)
        .map(|row| {
            let (low, high) = ((rows - 1 - row) as f64 * per_row, (rows - row) as f64 * per_row);
            let middle = (low + high) / 2.0;
            let label = if row % 3 == 0 {
                format!("{high:>3.0} ┤")
            } else {
                "    │".to_owned()
            };
            let marks = of_column.iter().map(|level| {
                let Some(level) = level else { return ' ' };
                if row == 0 && level.needed > high {
                    BEYOND
                } else if level.needed > low && level.needed <= high {
                    NEEDED
                } else if level.ready >= middle {
                    READY
                } else if level.asked >= middle {
                    STARTING
                } else {
                    ' '
                }
            });
            label + &marks.collect::<String>()
        })
        .collect();
    let length = length(seconds);
    let line = "─".repeat(columns.saturating_sub(length.len() + 1));
    lines.push(format!("  0 └{line} {length}"));
    lines
}

/// A span in the unit that suits it.
fn length(seconds: f64) -> String {
    match seconds {
        ..=14_400.0 => format!("{:.0} min", seconds / 60.0),
        ..=259_200.0 => format!("{:.0} h", seconds / 3600.0),
        _ => format!("{:.1} d", seconds / 86_400.0),
    }
}

/// A bar of `width` characters of which `part` (0 to 1) is full.
#[must_use]
pub fn bar(part: f64, width: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (part.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let mut text = "█".repeat(eighths / 8);
    if eighths / 8 < width {
        text.push(EIGHTHS[eighths % 8]);
        text.push_str(&" ".repeat(width - eighths / 8 - 1));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(at: f64, asked: f64, ready: f64, needed: f64) -> Level {
        Level {
            at,
            asked,
            ready,
            needed,
        }
    }

    #[test]
    fn replicas_stand_as_high_as_they_are() {
        let levels = [level(0.0, 1.0, 1.0, 0.5), level(50.0, 4.0, 2.0, 3.5)];
        let lines = replicas(&levels, 100.0, 9, 5);
        assert_eq!(
            lines,
            [
                "  4 ┤  • ", // ready 2 of 4, needs 3.5
                "    │  ░ ",
                "    │  █ ",
                "  1 ┤••█ ",
                "  0 └ 2 min",
            ]
        );
    }

    #[test]
    fn a_need_beyond_the_chart_is_said() {
        let lines = replicas(&[level(0.0, 4.0, 4.0, 400.0)], 60.0, 6, 7);
        assert_eq!(
            lines.len(),
            7,
            "one and a half times the replicas, and the axis: {lines:?}"
        );
        assert!(lines[0].ends_with('↑') && lines[2].ends_with('█'), "{lines:?}");
    }

    #[test]
    fn any_size_and_no_levels_give_a_chart() {
        for (width, height) in [(0, 0), (1, 1), (80, 12), (300, 60)] {
            assert!(replicas(&[], 1200.0, width, height).len() <= height.max(2));
            let high = [level(1200.0, 3.0, 3.0, 900.0)];
            assert!(replicas(&high, 1200.0, width, height).len() <= height.max(2));
        }
    }

    #[test]
    fn bars_have_their_width() {
        for (part, text) in [
            (0.0, "    "),
            (0.5, "██  "),
            (1.0, "████"),
            (7.0, "████"),
            (0.53, "██▏ "),
            (f64::NAN, "    "),
        ] {
            assert_eq!(bar(part, 4), text);
        }
    }
}
