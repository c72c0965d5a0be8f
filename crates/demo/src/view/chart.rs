use crate::record::Sample;
use crate::story::CHAT;

/// Marks of the chart.
const READY: char = '█';
const STARTING: char = '░';
const NEEDED: char = '•';
const BEYOND: char = '↑';

/// The chart reaches up to this many times the largest replica count: a short burst may need many
/// times that, and would leave the rest flat.
const HEADROOM: f64 = 1.5;

/// What the marks mean.
pub(crate) const LEGEND: &str =
    "█ ready  ░ asked for, not ready  • needed by the load at its target (↑ more)";

/// Chat's replicas against what its load needs, over the `seconds` of the story, in `width` columns
/// and at most `height` rows with axes.
pub(crate) fn replicas(samples: &[Sample], seconds: f64, width: usize, height: usize) -> Vec<String> {
    const AXIS: usize = 5;
    let (columns, rows) = (width.saturating_sub(AXIS).max(1), height.saturating_sub(1).max(1));
    let column_of = |at: f64| ((at / seconds.max(1.0) * columns as f64) as usize).min(columns - 1);
    let mut of_column: Vec<Option<&Sample>> = vec![None; columns];
    for sample in samples {
        of_column[column_of(sample.at)] = Some(sample);
    }
    // Where samples are rarer than columns, the last one holds until the next.
    let end = samples.last().map_or(0, |sample| column_of(sample.at) + 1);
    let mut last = samples.first();
    for column in of_column.iter_mut().take(end) {
        last = column.or(last);
        *column = last;
    }
    let replicas = samples
        .iter()
        .map(|sample| f64::from(sample.workloads[CHAT].replicas));
    let replicas = replicas.fold(4.0, f64::max);
    let needs = samples.iter().map(|sample| sample.chat_needs).fold(0.0, f64::max);
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
            let marks = of_column.iter().map(|sample| {
                let Some(sample) = sample else { return ' ' };
                let chat = &sample.workloads[CHAT];
                if row == 0 && sample.chat_needs > high {
                    BEYOND
                } else if sample.chat_needs > low && sample.chat_needs <= high {
                    NEEDED
                } else if chat.ready as f64 >= middle {
                    READY
                } else if f64::from(chat.replicas) >= middle {
                    STARTING
                } else {
                    ' '
                }
            });
            label + &marks.collect::<String>()
        })
        .collect();
    let minutes = format!("{:.0} min", seconds / 60.0);
    let line = "─".repeat(columns.saturating_sub(minutes.len() + 1));
    lines.push(format!("  0 └{line} {minutes}"));
    lines
}

/// A bar of `width` characters of which `part` (0 to 1) is full.
pub(crate) fn bar(part: f64, width: usize) -> String {
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
    use crate::record::WorkloadSample;

    fn sample(at: f64, replicas: u32, ready: usize, chat_needs: f64) -> Sample {
        let chat = WorkloadSample {
            replicas,
            ready,
            gpus: ready,
            ..WorkloadSample::default()
        };
        Sample {
            at,
            workloads: vec![chat],
            chat_needs,
        }
    }

    #[test]
    fn replicas_stand_as_high_as_they_are() {
        let samples = [sample(0.0, 1, 1, 0.5), sample(50.0, 4, 2, 3.5)];
        let lines = replicas(&samples, 100.0, 9, 5);
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
        let lines = replicas(&[sample(0.0, 4, 4, 400.0)], 60.0, 6, 7);
        assert_eq!(
            lines.len(),
            7,
            "one and a half times the replicas, and the axis: {lines:?}"
        );
        assert!(lines[0].ends_with('↑') && lines[2].ends_with('█'), "{lines:?}");
    }

    #[test]
    fn any_size_and_no_samples_give_a_chart() {
        for (width, height) in [(0, 0), (1, 1), (80, 12), (300, 60)] {
            assert!(replicas(&[], 1200.0, width, height).len() <= height.max(2));
            let high = [sample(1200.0, 3, 3, 900.0)];
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
