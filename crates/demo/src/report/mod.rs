//! The report: one HTML file with charts, figures and every decision.

use std::fmt::Write as _;
use std::path::Path;

use rheostat_chart::{Chart, Kind, Series, escape};

use crate::numbers::{gpu_time, percent, requests};
use crate::play::Played;
use crate::record::{Sample, WorkloadSample, clock_time};
use crate::report_file;
use crate::score::{ATTAINMENT, FIRST_TOKEN, scores};
use crate::story::{ASSIST, BATCH, CHAT, HANG_LASTS, LLM, RENDER, Story};
use crate::verdict::Check;

/// The option that names the report's file.
pub(crate) const OPTION: &str = "--report";

/// Writes the report to `path`.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn write(path: &Path, story: &Story, played: &Played, checks: &[Check]) -> anyhow::Result<()> {
    report_file::write(OPTION, path, html(story, played, checks).as_bytes())
}

fn html(story: &Story, played: &Played, checks: &[Check]) -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    page.push_str("<title>Rheostat demo</title><style>\n");
    page.push_str(include_str!("style.css"));
    page.push_str("</style></head><body>\n<h1>Rheostat demo</h1>\n");
    let (served, late) = requests(played);
    let _ = writeln!(
        page,
        "<p>{} of {} simulated minutes, at {:.0} times real speed. Load of team-a/chat: {}. It served {served} \
         requests, {late} of them ({:.1} %) after waiting for more than 5 s.</p>",
        clock_time(played.world.now()),
        clock_time(f64::from(story.seconds)),
        played.speed,
        escape(&story.load),
        percent(late, served)
    );
    charts(&mut page, story, played);
    gpu_hours(&mut page, story, played);
    policy_scores(&mut page, story, played);
    if !checks.is_empty() {
        page.push_str("<h2>What the demo checks of itself</h2>\n<ul>\n");
        for Check { claim, holds, seen } in checks {
            let (class, word) = if *holds {
                ("good", "holds")
            } else {
                ("bad", "fails")
            };
            let _ = writeln!(
                page,
                "<li><b class=\"{class}\">{word}</b> {}: {}</li>",
                escape(claim),
                escape(seen)
            );
        }
        page.push_str("</ul>\n");
    }
    decisions(&mut page, story, played);
    page.push_str("<h2>The ScaledObjects</h2>\n");
    for manifest in &story.manifests {
        let _ = writeln!(
            page,
            "<details><summary>{}</summary><pre>{}</pre></details>",
            escape(&manifest.full_name()),
            escape(manifest.text())
        );
    }
    let _ = writeln!(
        page,
        "<details><summary>the ScalingPolicy of assist</summary><pre>{}</pre></details>",
        escape(story.policy.text())
    );
    page.push_str("</body></html>\n");
    page
}

fn charts(page: &mut String, story: &Story, played: &Played) {
    let samples = &played.record.samples;
    let points =
        |value: &dyn Fn(&Sample) -> f64| samples.iter().map(|one| (one.at, value(one))).collect::<Vec<_>>();
    let steps = |name, class, index: usize| Series {
        name,
        class,
        kind: Kind::Steps,
        points: points(&|one| f64::from(one.workloads[index].replicas)),
    };
    let seconds = f64::from(story.seconds);
    let failure = played.record.failure.iter();
    let marks: Vec<_> = failure
        .map(|(at, pod)| (*at, format!("{pod}: GPU lost")))
        .collect();
    let replicas = Chart {
        title: "team-a/chat: replicas against demand",
        unit: "replicas",
        seconds,
        top: 4.0,
        series: vec![
            Series {
                name: "ready",
                class: "ready",
                kind: Kind::Area,
                points: points(&|one| one.workloads[CHAT].ready as f64),
            },
            steps("asked for", "asked", CHAT),
            Series {
                name: "needed by the load at the target",
                class: "needed",
                kind: Kind::Line,
                points: points(&|one| one.chat_needs),
            },
        ],
        marks,
    };
    let busy = Chart {
        title: "How busy the ready pods are",
        unit: "%",
        seconds,
        top: 100.0,
        series: vec![
            Series {
                name: "team-a/chat (target 70)",
                class: "ready",
                kind: Kind::Line,
                points: points(&|one| one.workloads[CHAT].utilization * 100.0),
            },
            Series {
                name: "team-b/render, on the same nodes",
                class: "render",
                kind: Kind::Line,
                points: points(&|one| one.workloads[RENDER].utilization * 100.0),
            },
        ],
        marks: Vec::new(),
    };
    let others = Chart {
        title: "The other workloads",
        unit: "replicas",
        seconds,
        top: 4.0,
        series: vec![
            steps("team-b/render", "render", RENDER),
            steps("team-a/batch, by push from zero", "batch", BATCH),
            steps("team-a/assist, by its policy", "ready", ASSIST),
        ],
        marks: Vec::new(),
    };
    let [by_requests, requests] = llm_charts(story, played);
    for chart in [replicas, busy, by_requests, requests, others] {
        let _ = writeln!(page, "<h2>{}</h2>\n{}", escape(chart.title), chart.svg());
    }
}

/// Llm, which is scaled by requests: its replicas beside what its GPUs alone would ask for, and the
/// requests.
fn llm_charts(story: &Story, played: &Played) -> [Chart<'static>; 2] {
    let points = |value: &dyn Fn(&WorkloadSample) -> f64| {
        let samples = played.record.samples.iter();
        samples
            .map(|one| (one.at, value(&one.workloads[LLM])))
            .collect::<Vec<_>>()
    };
    let seconds = f64::from(story.seconds);
    let marks = |what: &str| {
        let trouble = played.record.trouble.iter();
        trouble
            .map(|trouble| (trouble.hung_at, format!("{}: {what}", trouble.pod)))
            .collect::<Vec<_>>()
    };
    let series = |name, class, kind, points| Series {
        name,
        class,
        kind,
        points,
    };
    let replicas = Chart {
        title: "team-a/llm: replicas by requests, and what its GPUs would have asked for",
        unit: "replicas",
        seconds,
        top: 4.0,
        series: vec![
            series("ready", "ready", Kind::Area, points(&|one| one.ready as f64)),
            series(
                "asked for",
                "asked",
                Kind::Steps,
                points(&|one| f64::from(one.replicas)),
            ),
            series(
                "by utilisation, at chat's target",
                "needed",
                Kind::Steps,
                points(&|one| story.by_utilization(one.ready, one.utilization)),
            ),
        ],
        marks: marks("engine hangs"),
    };
    let target = story.llm_target();
    let requests = Chart {
        title: "team-a/llm: requests in its engines",
        unit: "requests",
        seconds,
        top: target,
        series: vec![
            series("running", "ready", Kind::Area, points(&|one| one.running as f64)),
            series(
                "running and waiting",
                "asked",
                Kind::Line,
                points(&|one| one.in_flight() as f64),
            ),
            series(
                "target of the ready replicas",
                "needed",
                Kind::Steps,
                points(&|one| one.ready as f64 * target),
            ),
        ],
        marks: marks("engine hangs"),
    };
    [replicas, requests]
}

fn gpu_hours(page: &mut String, story: &Story, played: &Played) {
    page.push_str(
        "<h2>GPU-hours</h2>\n<div class=\"scroll\"><table><tr><th>Workload</th><th class=\"number\">used</th>\
         <th class=\"number\">most GPUs at once</th><th class=\"number\">as many all the time</th>\
         <th class=\"number\">saved</th></tr>\n",
    );
    for time in gpu_time(story, played) {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td class=\"number\">{:.2}</td><td class=\"number\">{}</td><td class=\"number\">{:.2}</td>\
             <td class=\"number\">{:.0} %</td></tr>",
            escape(&time.workload),
            time.used,
            time.peak,
            time.static_peak,
            time.saved() * 100.0
        );
    }
    page.push_str("</table></div>\n");
}

fn policy_scores(page: &mut String, story: &Story, played: &Played) {
    let _ = writeln!(
        page,
        "<h2>By a threshold and by a policy</h2>\n<p>The same engines and as many requests. Both are held to a first \
         token within {} s for {:.0} % of them; the optimum is the least that anybody must spend for that, whatever \
         is known. llm's engine hung for {HANG_LASTS:.0} s, and it goes to zero in its break.</p>\n\
         <div class=\"scroll\"><table><tr><th>Workload</th><th>sized by</th><th class=\"number\">GPU-hours</th>\
         <th class=\"number\">optimum</th><th class=\"number\">times the optimum</th>\
         <th class=\"number\">requests</th><th class=\"number\">in time</th></tr>",
        FIRST_TOKEN.as_secs(),
        ATTAINMENT * 100.0
    );
    for score in scores(story, played) {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td class=\"number\">{:.2}</td><td class=\"number\">{:.2}</td>\
             <td class=\"number\">{:.2}</td><td class=\"number\">{}</td><td class=\"number\">{:.1} %</td></tr>",
            escape(&score.workload),
            score.by,
            score.gpu_hours,
            score.optimum,
            score.over(),
            score.requests,
            score.attainment * 100.0
        );
    }
    page.push_str("</table></div>\n");
}

fn decisions(page: &mut String, story: &Story, played: &Played) {
    page.push_str(
        "<h2>Decisions and events</h2>\n<div class=\"scroll\"><table><tr><th>Time</th><th>Who</th><th>Workload</th>\
         <th>Replicas</th><th>Why</th></tr>\n",
    );
    for entry in &played.record.entries {
        let change = entry
            .change
            .map_or_else(String::new, |(from, to)| format!("{from} → {to}"));
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{change}</td><td>{}<div class=\"why\">{}</div></td></tr>",
            clock_time(entry.at),
            entry.who.name(),
            escape(&story.manifests[entry.workload].full_name()),
            escape(&entry.what),
            escape(&entry.why)
        );
    }
    page.push_str("</table></div>\n");
}
