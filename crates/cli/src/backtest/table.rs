use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};
use rheostat_backtest::{CaseReport, Report, Row};

/// A report for a terminal.
pub(crate) fn text(report: &Report) -> String {
    let mut out = String::new();
    for case in &report.cases {
        let _ = writeln!(
            out,
            "{}, cold start {} s: {} requests over {}, optimum {:.2} GPU-hours ({})",
            case.trace,
            case.cold_start_seconds,
            case.requests,
            hours(case.until_seconds - case.scored_from_seconds),
            case.optimum.gpu_hours,
            case.optimum.bound
        );
        let _ = writeln!(out, "{}\n", table(case));
    }
    out.push_str(
        "* no other is both cheaper and better. x optimum: cost over the least that any policy must spend. Policies \
         marked (future)\nare told what is to come: bounds, no competitors.\n",
    );
    aims(&mut out, report);
    out
}

fn table(case: &CaseReport) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "",
        "policy",
        "settings",
        "GPU-h",
        "x optimum",
        "of peak",
        "attained",
        "TTFT p50",
        "p99",
        "ITL p50",
        "p99",
        "events",
        "starting",
    ]);
    for row in &case.rows {
        table.add_row(cells(row));
    }
    for column in 3..13 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn cells(row: &Row) -> [String; 13] {
    let score = &row.score;
    let future = if row.told_the_future { " (future)" } else { "" };
    [
        if row.on_front { "*" } else { "" }.to_owned(),
        format!("{}{future}", row.policy),
        row.variant.name().to_owned(),
        format!("{:.2}", score.gpu_hours),
        format!("{:.2}", score.over_optimum),
        format!("{:.0} %", score.of_static_peak * 100.0),
        format!("{:.2} %", score.attainment * 100.0),
        seconds(score.ttft_p50_seconds),
        seconds(score.ttft_p99_seconds),
        milliseconds(score.itl_p50_seconds),
        milliseconds(score.itl_p99_seconds),
        score.scaling_events.to_string(),
        format!("{:.2}", score.gpu_hours_starting),
    ]
}

fn aims(out: &mut String, report: &Report) {
    let aims = &report.aims;
    if aims.cases.is_empty() {
        return;
    }
    let tuned = if report.evaluations > 0 {
        ", even tuned in hindsight,"
    } else {
        ""
    };
    let _ = writeln!(
        out,
        "\nHow far ours closes the distance from the best of the others{tuned} to the optimum, where both keep the SLO:"
    );
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "trace",
        "cold start",
        "best of the others",
        "GPU-h",
        "ours",
        "optimum",
        "closed",
    ]);
    let needed = report.slo.attainment.0;
    // Without the last digits of the arithmetic.
    let percent = (needed * 1e8).round() / 1e6;
    let missed = |attainment: f64| {
        if attainment >= needed {
            return String::new();
        }
        format!(" ({:.2} % is below {percent} %)", attainment * 100.0)
    };
    for aim in &aims.cases {
        let closed = aim
            .share_closed
            .filter(|_| aim.kept)
            .map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0));
        table.add_row([
            aim.trace.clone(),
            format!("{} s", aim.cold_start_seconds),
            format!("{}, {}", aim.best_policy, aim.best_variant.name()),
            format!("{:.2}{}", aim.best_gpu_hours, missed(aim.best_attainment)),
            format!("{:.2}{}", aim.ours_gpu_hours, missed(aim.ours_attainment)),
            format!("{:.2}", aim.optimum_gpu_hours),
            closed,
        ]);
    }
    let _ = writeln!(out, "{table}");
    if let Some(mean) = aims.mean_share_closed {
        let _ = writeln!(
            out,
            "mean where both kept the SLO: {:.0} %; missed by ours in {} cases",
            mean * 100.0,
            aims.missed
        );
    }
    for one in aims.dominated_by.iter().take(MOST_DOMINANCES) {
        let _ = writeln!(out, "better than ours on both: {one}");
    }
    let more = aims.dominated_by.len().saturating_sub(MOST_DOMINANCES);
    if more > 0 {
        let _ = writeln!(out, "and {more} more, which --json and --html list");
    }
}

/// A terminal shows no more of them at once.
const MOST_DOMINANCES: usize = 10;

fn hours(seconds: f64) -> String {
    if seconds >= 2.0 * 86_400.0 {
        format!("{:.1} days", seconds / 86_400.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2} s"))
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.0} ms", value * 1e3))
}
