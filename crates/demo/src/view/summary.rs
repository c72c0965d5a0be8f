use rheostat_chart as chart;

use crate::numbers::{gpu_time, percent, requests};
use crate::pace::Pace;
use crate::play::Played;
use crate::record::clock_time;
use crate::score::{ATTAINMENT, FIRST_TOKEN, scores};
use crate::story::Story;
use crate::verdict::Check;
use crate::view::plain::entry_line;
use crate::view::{is_slow, say};

/// Columns and rows of the chart.
const WIDTH: usize = 105;
const HEIGHT: usize = 21;

/// Prints what happened; with every decision where `decisions` asks for it, since lines have shown
/// them already.
///
/// # Errors
///
/// Standard output cannot be written.
pub(crate) fn print_summary(
    story: &Story,
    played: &Played,
    pace: Pace,
    checks: &[Check],
    decisions: bool,
) -> anyhow::Result<()> {
    let lines = summary(story, played, pace, checks, decisions);
    lines.iter().try_for_each(|line| say(line))
}

fn summary(story: &Story, played: &Played, pace: Pace, checks: &[Check], decisions: bool) -> Vec<String> {
    let mut lines = vec![String::new()];
    if decisions {
        lines.push("Decisions and events".to_owned());
        lines.extend(
            played
                .record
                .entries
                .iter()
                .map(|entry| format!("  {}", entry_line(story, entry))),
        );
        lines.push(String::new());
    }
    lines.push(format!("team-a/chat: replicas against demand ({})", story.load));
    lines.extend(chart::replicas(
        &played.record.chat_levels(),
        f64::from(story.seconds),
        WIDTH,
        HEIGHT,
    ));
    lines.push(format!("     {}", chart::LEGEND));
    lines.push(String::new());
    lines.push(format!(
        "{:<14}{:>12}{:>12}{:>22}{:>9}",
        "", "GPU-hours", "peak GPUs", "static at the peak", "saved"
    ));
    for time in gpu_time(story, played) {
        lines.push(format!(
            "{:<14}{:>12.2}{:>12}{:>22.2}{:>7.0} %",
            time.workload,
            time.used,
            time.peak,
            time.static_peak,
            time.saved() * 100.0
        ));
    }
    let (served, late) = requests(played);
    lines.push(format!(
        "chat served {served} requests, {late} of them ({:.1} %) after waiting for more than 5 s",
        percent(late, served)
    ));
    lines.push(String::new());
    lines.push(format!(
        "The same engines and as many requests, by a threshold and by a policy: first token within {} s for {:.0} %",
        FIRST_TOKEN.as_secs(),
        ATTAINMENT * 100.0
    ));
    for score in scores(story, played) {
        lines.push(format!(
            "{:<14}by {:<12}{:>7.2} GPU-hours, {:.2} times the optimum ({:.2}); {:.1} % of {} requests in time",
            score.workload,
            score.by,
            score.gpu_hours,
            score.over(),
            score.optimum,
            score.attainment * 100.0,
            score.requests
        ));
    }
    if !played.finished {
        lines.push(format!(
            "Stopped at {} of {}; nothing is judged.",
            clock_time(played.world.now()),
            clock_time(f64::from(story.seconds))
        ));
    }
    if is_slow(played.speed, pace) {
        lines.push(format!(
            "This machine reached {:.0} of {} times real speed; the day waited for the \
             slowest part, so that no reading was older than it would be otherwise.",
            played.speed,
            pace.speed()
        ));
    }
    if !checks.is_empty() {
        lines.push(String::new());
    }
    for Check { claim, holds, seen } in checks {
        lines.push(format!(
            "{} {claim}: {seen}",
            if *holds { "ok  " } else { "FAIL" }
        ));
    }
    lines
}
