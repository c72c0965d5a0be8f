use std::fmt::Write as _;

use rheostat_backtest::{CaseReport, Report, Row, Variant};

use super::Group;

/// The scoreboard as Markdown.
pub(super) fn text(report: &Report, groups: &[Group], tune: usize) -> String {
    let mut out = String::from(INTRODUCTION);
    let slo = &report.slo;
    let _ = writeln!(
        out,
        "Engine `{}` ({} GPUs a replica), {} to {} replicas, fluid mode, seed {}. SLO: TTFT at most {:?}, mean ITL at \
         most {:?}, kept by {} % of the requests.\n",
        report.engine,
        report.gpus_per_replica,
        report.min_replicas,
        report.max_replicas,
        report.seed,
        slo.ttft.unwrap_or_default(),
        slo.itl.unwrap_or_default(),
        slo.attainment.0 * 100.0
    );
    for group in groups {
        let files: Vec<String> = group.files.iter().map(|file| format!("`{file}`")).collect();
        let options = if group.options.is_empty() {
            String::new()
        } else {
            format!(" (`{}`)", group.options.join(" "))
        };
        let _ = writeln!(out, "- {}{options}: {}", files.join(", "), group.why);
    }
    let _ = writeln!(
        out,
        "\nA search tries up to {tune} settings, and then a third as many beginning with the floor."
    );
    aims(&mut out, report);
    for case in &report.cases {
        section(&mut out, case, slo.attainment.0);
    }
    out
}

const INTRODUCTION: &str = "# Scoreboard

Written by `cargo xtask scoreboard --traces FOLDER`; not by hand. The folder holds the traces that are named below:
`AzureLLMInferenceTrace_{code,conv}.csv` of [AzurePublicDataset](https://github.com/Azure/AzurePublicDataset) (CC-BY 4.0,
Patel et al., \"Splitwise\", ISCA 2024), and the `m-small` clients of [ServeGen](https://github.com/alibaba/ServeGen)
(Apache-2.0), one row for each client and window.

Cost is GPU-hours over the least that any policy must spend to keep the SLO, whatever it knows: a lower bound
(`crates/optimum`), so that nobody who keeps it can come out below 1, and even the best possible policy may come out
above. Every policy starts warm, with the replicas that the first five minutes of a trace need, or as many minutes as a
start takes where that is longer. The first day of a trace longer than two days teaches and is not scored. Requests that
wait at the end are late. Replicas are paid for from when they are asked for.

Each of the others is run with its defaults, with the settings that a search found on one half of what is scored and
that are run on the other half, and with those that a search found in hindsight on the very part that is scored,
floor and cap included, which nobody could have known. Ours has nothing to set. Policies marked with ¹ are told
the future: bounds, not competitors. Figures are of this simulator and these traces.

";

fn aims(out: &mut String, report: &Report) {
    let aims = &report.aims;
    out.push_str("\n## Ours against the best of the others, tuned in hindsight\n\n");
    out.push_str(
        "| trace | cold start | best of the others | cost | ours | optimum, GPU-h | ours kept | closed |\n",
    );
    out.push_str("|---|---:|---|---:|---:|---:|---:|---:|\n");
    for aim in &aims.cases {
        let over = |gpu_hours: f64| format!("{:.2}×", gpu_hours / aim.optimum_gpu_hours);
        let closed = aim
            .share_closed
            .filter(|_| aim.kept)
            .map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0));
        let _ = writeln!(
            out,
            "| {} | {} s | {}, {} ({:.2} %) | {} | {} | {:.2} | {:.2} %{} | {closed} |",
            aim.trace,
            aim.cold_start_seconds,
            aim.best_policy,
            aim.best_variant.name(),
            aim.best_attainment * 100.0,
            over(aim.best_gpu_hours),
            over(aim.ours_gpu_hours),
            aim.optimum_gpu_hours,
            aim.ours_attainment * 100.0,
            if aim.kept { "" } else { " **missed**" }
        );
    }
    match aims.mean_share_closed {
        Some(mean) => {
            let _ = writeln!(
                out,
                "\nWhere ours and the best of the others keep the SLO, ours closes {:.0} % of the distance on average \
                 (below 0: it costs more than the best of the others). It misses the SLO in {} of {} cases, which the \
                 mean leaves out.",
                mean * 100.0,
                aims.missed,
                aims.cases.len()
            );
        }
        None => {
            let _ = writeln!(
                out,
                "\nIn none of these do ours and the best of the others keep the SLO."
            );
        }
    }
    if aims.dominated_by.is_empty() {
        out.push_str("\nNo other is both cheaper and better than ours anywhere.\n");
        return;
    }
    let _ = writeln!(
        out,
        "\n<details><summary>{} of {} others, with one setting or another, are cheaper than ours and keep the SLO more \
         often</summary>\n",
        aims.dominated_by.len(),
        report
            .cases
            .iter()
            .flat_map(|case| &case.rows)
            .filter(|row| !row.ours && !row.told_the_future)
            .count()
    );
    for one in &aims.dominated_by {
        let _ = writeln!(out, "- {one}");
    }
    out.push_str("\n</details>\n");
}

fn section(out: &mut String, case: &CaseReport, attainment: f64) {
    let _ = writeln!(
        out,
        "\n## {}, cold start {} s\n\n{} requests over {:.1} h; optimum {:.2} GPU-hours ({}), static peak {:.2}. Cost over \
         the optimum, and the part of the requests that kept the SLO; bold where that is enough.\n",
        case.trace,
        case.cold_start_seconds,
        case.requests,
        (case.until_seconds - case.scored_from_seconds) / 3600.0,
        case.optimum.gpu_hours,
        case.optimum.bound,
        case.static_peak_gpu_hours
    );
    out.push_str("| policy | defaults | tuned elsewhere | hindsight | settings in hindsight |\n|---|---:|---:|---:|---|\n");
    let mut names: Vec<&str> = Vec::new();
    for row in &case.rows {
        if !names.contains(&row.policy.as_str()) {
            names.push(&row.policy);
        }
    }
    for name in names {
        let of = |variant: Variant| {
            case.rows
                .iter()
                .find(|row| row.policy == name && row.variant == variant)
        };
        let cell = |row: Option<&Row>| match row {
            None => "–".to_owned(),
            Some(row) => {
                let text = format!(
                    "{:.2}×, {:.2} %",
                    row.score.over_optimum,
                    row.score.attainment * 100.0
                );
                if row.score.attainment >= attainment {
                    format!("**{text}**")
                } else {
                    text
                }
            }
        };
        let hindsight = of(Variant::Hindsight);
        let any = case.rows.iter().find(|row| row.policy == name);
        let future = any.is_some_and(|row| row.told_the_future);
        let _ = writeln!(
            out,
            "| {name}{} | {} | {} | {} | {} |",
            if future { "¹" } else { "" },
            cell(of(Variant::Default)),
            cell(of(Variant::TunedElsewhere)),
            cell(hindsight),
            hindsight.map_or_else(String::new, |row| format!("`{}`", row.settings))
        );
    }
    out.push_str("\n<details><summary>latencies, changes, starts</summary>\n\n");
    out.push_str(
        "| policy | settings | GPU-h | TTFT p50 | p99 | ITL p50 | p99 | changes | GPU-h starting | of static peak |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let seconds = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2} s"));
    let milliseconds =
        |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{:.0} ms", value * 1e3));
    for row in &case.rows {
        let score = &row.score;
        let _ = writeln!(
            out,
            "| {} | {} | {:.2} | {} | {} | {} | {} | {} | {:.2} | {:.0} % |",
            row.policy,
            row.variant.name(),
            score.gpu_hours,
            seconds(score.ttft_p50_seconds),
            seconds(score.ttft_p99_seconds),
            milliseconds(score.itl_p50_seconds),
            milliseconds(score.itl_p99_seconds),
            score.scaling_events,
            score.gpu_hours_starting,
            score.of_static_peak * 100.0
        );
    }
    out.push_str("\n</details>\n");
}
