//! The report as one HTML file that needs nothing from elsewhere.

mod charts;

use std::fmt::Write as _;

use rheostat_chart::escape;
use serde_json::json;

use crate::aims::Aims;
use crate::report::{CaseReport, Report, Row, Variant};

/// Decisions that are shown of one row that is not ours: what a page still loads on a phone.
const MOST_OF_OTHERS: usize = 60;
/// The same of ours.
const MOST_OF_OURS: usize = 1000;

/// `report` as an HTML page with charts, tables and decisions. It is readable without scripts, which only
/// search and sort.
#[must_use]
pub fn html(report: &Report) -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>");
    page.push_str("<title>Rheostat backtest</title><style>\n");
    page.push_str(include_str!("html/style.css"));
    page.push_str("</style></head><body>\n<h1>Backtest</h1>\n");
    conditions(&mut page, report);
    page.push_str("<nav>");
    for (place, case) in report.cases.iter().enumerate() {
        let _ = write!(page, "<a href=\"#case-{place}\">{}</a> ", escape(&name(case)));
    }
    page.push_str("</nav>\n");
    aims(&mut page, &report.aims, report);
    for (place, case) in report.cases.iter().enumerate() {
        section(&mut page, report, place, case);
    }
    let _ = writeln!(
        page,
        "<script type=\"application/json\" id=\"decisions\">{}</script>",
        // Within a script element, nothing but its end has a meaning.
        decisions(report).to_string().replace('<', "\\u003c")
    );
    page.push_str("<script>\n");
    page.push_str(include_str!("html/script.js"));
    page.push_str("</script>\n</body></html>\n");
    page
}

fn name(case: &CaseReport) -> String {
    format!("{}, cold start {} s", case.trace, case.cold_start_seconds)
}

fn conditions(page: &mut String, report: &Report) {
    let latency = |name: &str, limit: Option<std::time::Duration>| {
        limit.map(|limit| format!("{name} at most {limit:?}"))
    };
    let slo = &report.slo;
    let promised: Vec<String> = [
        latency("time to the first token", slo.ttft),
        latency("mean time between tokens", slo.itl),
        latency("whole request", slo.e2e),
    ]
    .into_iter()
    .flatten()
    .collect();
    let _ = writeln!(
        page,
        "<p>Engine <b>{}</b>, {} to {} replicas, simulated {}. To be kept by {} % of the requests: {}.</p>",
        escape(&report.engine),
        report.min_replicas,
        report.max_replicas,
        match report.mode {
            rheostat_simulator::Mode::Iteration => "iteration by iteration",
            rheostat_simulator::Mode::Fluid => "as a flow",
            rheostat_simulator::Mode::Stepping => "iteration by iteration, each by itself",
        },
        rounded(slo.attainment.0 * 100.0),
        escape(&promised.join(", "))
    );
    page.push_str(
        "<p class=\"faint\">Every policy starts warm, with the replicas that the first minutes need. The first day of \
         a trace longer than two days teaches and is not scored. Requests that wait at the end are late. Replicas \
         are paid for from when they are asked for. The optimum is the least that any policy must spend, whatever \
         it knows.</p>\n",
    );
}

fn aims(page: &mut String, aims: &Aims, report: &Report) {
    if aims.cases.is_empty() {
        return;
    }
    page.push_str("<h2>Ours against the best of the others</h2>\n");
    if let Some(mean) = aims.mean_share_closed {
        let _ = writeln!(
            page,
            "<p>Where both keep the SLO, ours closes <b>{:.0} %</b> of the distance in GPU-hours from the best of \
             the others{} to the optimum, on average; ours misses the SLO in {} of {} cases.</p>",
            mean * 100.0,
            if report.evaluations > 0 {
                ", even tuned in hindsight,"
            } else {
                ""
            },
            aims.missed,
            aims.cases.len()
        );
    }
    page.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>Trace</th><th class=\"number\">Cold start</th><th>Best of the \
         others</th><th class=\"number\">GPU-hours</th><th class=\"number\">Attained</th><th class=\"number\">Ours</th>\
         <th class=\"number\">Attained</th>\
         <th class=\"number\">Optimum</th><th class=\"number\">Closed</th></tr></thead><tbody>\n",
    );
    let class = |attainment: f64| {
        if attainment >= report.slo.attainment.0 {
            "good"
        } else {
            "bad"
        }
    };
    for aim in &aims.cases {
        let closed = aim
            .share_closed
            .filter(|_| aim.kept)
            .map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0));
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td class=\"number\">{} s</td><td>{}, {}</td><td class=\"number\">{:.2}</td>\
             <td class=\"number {}\">{:.2} %</td><td class=\"number\">{:.2}</td><td class=\"number {}\">{:.2} %</td><td class=\"number\">{:.2}</td>\
             <td class=\"number\">{closed}</td></tr>",
            escape(&aim.trace),
            aim.cold_start_seconds,
            escape(&aim.best_policy),
            aim.best_variant.name(),
            aim.best_gpu_hours,
            class(aim.best_attainment),
            aim.best_attainment * 100.0,
            aim.ours_gpu_hours,
            class(aim.ours_attainment),
            aim.ours_attainment * 100.0,
            aim.optimum_gpu_hours
        );
    }
    page.push_str("</tbody></table></div>\n");
    if !aims.dominated_by.is_empty() {
        let _ = writeln!(
            page,
            "<details><summary class=\"bad\">{} of {} others, with one setting or another, are cheaper than ours and \
             keep the SLO more often</summary><ul>",
            aims.dominated_by.len(),
            report.cases.iter().map(|case| case.rows.len()).sum::<usize>()
        );
        for one in &aims.dominated_by {
            let _ = writeln!(
                page,
                "<li>{} ({}) on {}, cold start {} s: {:.2} GPU-hours, {:.2} %</li>",
                escape(&one.policy),
                one.variant.name(),
                escape(&one.trace),
                one.cold_start_seconds,
                one.gpu_hours,
                one.attainment * 100.0
            );
        }
        page.push_str("</ul></details>\n");
    }
}

fn section(page: &mut String, report: &Report, place: usize, case: &CaseReport) {
    let _ = writeln!(
        page,
        "<section id=\"case-{place}\"><h2>{}</h2>",
        escape(&name(case))
    );
    let _ = writeln!(
        page,
        "<p>{} requests over {:.2} h. The optimum is <b>{:.2} GPU-hours</b> (bound: {}), the static peak {:.2}. \
         {} replicas were warm at the beginning.</p>",
        case.requests,
        (case.until_seconds - case.scored_from_seconds) / 3600.0,
        case.optimum.gpu_hours,
        escape(&case.optimum.bound),
        case.static_peak_gpu_hours,
        case.warm
    );
    page.push_str("<h3>Cost against attainment</h3>\n");
    page.push_str(&charts::front(case, report.slo.attainment.0));
    page.push_str(LEGEND);
    table(page, case, report.slo.attainment.0);
    page.push_str("<h3>Latencies</h3>\n");
    page.push_str(&charts::latencies(case, report));
    page.push_str(
        "<h3>Replicas against demand</h3>\n<p class=\"faint\">One policy each; open one to see it.</p>\n",
    );
    let mut shown: Vec<&Row> = case.rows.iter().filter(|row| row.record.is_some()).collect();
    shown.sort_by_key(|row| !row.ours);
    for row in shown {
        let _ = writeln!(
            page,
            "<details{}><summary>{} <span class=\"faint\">({}) {:.2} × optimum, {:.2} %</span></summary>",
            if row.ours { " open=\"open\"" } else { "" },
            escape(&row.policy),
            row.variant.name(),
            row.score.over_optimum,
            row.score.attainment * 100.0
        );
        let _ = writeln!(
            page,
            "<p class=\"faint\">{}; settings: {}</p>",
            escape(&row.source),
            escape(&row.settings.to_string())
        );
        if let Some(record) = &row.record {
            page.push_str(&charts::replicas(report, case, record));
        }
        page.push_str("</details>\n");
    }
    let _ = writeln!(
        page,
        "<h3>Decisions</h3>\n<form class=\"decisions\" data-case=\"{place}\"><select aria-label=\"Policy\"></select> \
         <input type=\"search\" placeholder=\"search in reasons\" aria-label=\"Search\"/> <span class=\"faint\"></span>\
         </form>\n<div class=\"scroll\"><table class=\"decisions\"><thead><tr><th>Time</th><th>Replicas</th>\
         <th>Why</th></tr></thead><tbody></tbody></table></div>\n</section>"
    );
}

/// What the points of the first chart are.
const LEGEND: &str = "<p class=\"legend\"><span><i style=\"background:var(--ours)\"></i>ours</span><span><i \
     style=\"background:var(--asked)\"></i>others, defaults</span><span><i style=\"background:var(--ready)\"></i>tuned \
     on another part</span><span><i style=\"background:var(--front)\"></i>tuned in hindsight</span><span><i \
     style=\"border:2px solid var(--faint);box-sizing:border-box\"></i>told the future</span></p>\n";

/// The columns of the table that hold numbers.
const COLUMNS: [&str; 11] = [
    "GPU-hours",
    "× optimum",
    "of peak",
    "attained",
    "TTFT p50",
    "TTFT p99",
    "ITL p50",
    "ITL p99",
    "events",
    "starting",
    "waiting",
];

fn table(page: &mut String, case: &CaseReport, attainment: f64) {
    page.push_str(
        "<div class=\"scroll\"><table class=\"sortable\"><thead><tr><th>Policy</th><th>Settings</th>",
    );
    for column in COLUMNS {
        let _ = write!(page, "<th class=\"number\">{column}</th>");
    }
    page.push_str("</tr></thead><tbody>\n");
    let seconds = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3} s"));
    for row in &case.rows {
        let score = &row.score;
        let class = if row.ours {
            "ours"
        } else if row.told_the_future {
            "future"
        } else {
            "other"
        };
        let marks = match (row.on_front, row.told_the_future) {
            (true, _) => " <span class=\"mark-front\" title=\"no other is cheaper and better\">●</span>",
            (_, true) => " <span class=\"faint\">(future)</span>",
            _ => "",
        };
        let _ = write!(
            page,
            "<tr class=\"{class}\"><td>{}{marks}</td><td title=\"{}\">{}</td>",
            escape(&row.policy),
            escape(&row.settings.to_string()),
            row.variant.name()
        );
        let kept = if score.attainment >= attainment {
            "good"
        } else {
            "bad"
        };
        let cells = [
            (format!("{:.2}", score.gpu_hours), ""),
            (format!("{:.2}", score.over_optimum), ""),
            (format!("{:.0} %", score.of_static_peak * 100.0), ""),
            (format!("{:.2} %", score.attainment * 100.0), kept),
            (seconds(score.ttft_p50_seconds), ""),
            (seconds(score.ttft_p99_seconds), ""),
            (seconds(score.itl_p50_seconds), ""),
            (seconds(score.itl_p99_seconds), ""),
            (score.scaling_events.to_string(), ""),
            (format!("{:.2}", score.gpu_hours_starting), ""),
            (score.waiting.to_string(), ""),
        ];
        for (text, class) in cells {
            let _ = write!(page, "<td class=\"number {class}\">{text}</td>");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

/// For the script: the decisions of each row of each case that has any.
fn decisions(report: &Report) -> serde_json::Value {
    let of_row = |row: &Row| {
        let record = row.record.as_ref()?;
        if row.variant == Variant::Hindsight && record.changes.is_empty() {
            return None;
        }
        let most = if row.ours { MOST_OF_OURS } else { MOST_OF_OTHERS };
        let changes: Vec<_> = record
            .changes
            .iter()
            .take(most)
            .map(|one| {
                json!([
                    one.change.at.as_secs(),
                    one.change.from,
                    one.change.to,
                    one.change.why,
                    one.steps
                ])
            })
            .collect();
        let left_out = record.changes.len() as u64 - changes.len() as u64 + record.changes_left_out;
        let name = format!("{} ({})", row.policy, row.variant.name());
        Some(json!({ "name": name, "ours": row.ours, "changes": changes, "left_out": left_out }))
    };
    let of_case = |case: &CaseReport| {
        let mut rows: Vec<_> = case.rows.iter().filter_map(of_row).collect();
        rows.sort_by_key(|row| row["ours"] != true);
        json!(rows)
    };
    report.cases.iter().map(of_case).collect()
}

/// Without the last digits of the arithmetic, so that 0.99 is 99 %.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
