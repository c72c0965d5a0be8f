use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use rheostat_backtest::{Case, Row};
use rheostat_chart::{LEGEND, Level, bar, replicas};
use rheostat_reading::{Clock, Timestamp};
use rheostat_simulator::{Change, Observer, Progress};
use rheostat_sizing::Decision;

use crate::output::print;

/// What is seen while a simulation runs: a chart that is redrawn on a terminal, lines elsewhere.
pub(super) struct View<'a> {
    case: &'a Case,
    live: bool,
    clock: Clock,
    drawn: Option<Timestamp>,
    /// Lines of the last picture, which the next one takes the place of.
    lines: usize,
    levels: Vec<Level>,
    /// The tenth of the trace that was told last.
    tenth: u64,
    changes: u64,
}

/// Not drawn more often.
const FRAME: Duration = Duration::from_millis(100);
const WIDTH: usize = 100;
const HEIGHT: usize = 16;

impl<'a> View<'a> {
    pub(super) fn new(plain: bool, case: &'a Case) -> Self {
        Self {
            case,
            live: !plain && std::io::stderr().is_terminal(),
            clock: Clock::system(),
            drawn: None,
            lines: 0,
            levels: Vec::new(),
            tenth: 0,
            changes: 0,
        }
    }

    /// Takes the picture away.
    pub(super) fn end(&mut self) {
        if self.live && self.lines > 0 {
            let _ = write!(std::io::stderr(), "\x1b[{}A\x1b[J", self.lines);
        }
    }

    fn draw(&mut self, progress: &Progress) {
        let until = self.case.trace.until.as_secs_f64();
        let at = progress.sample.at.as_secs_f64();
        let mut text = String::new();
        if self.lines > 0 {
            text = format!("\x1b[{}A", self.lines);
        }
        let mut lines = replicas(&self.levels, until, WIDTH, HEIGHT);
        lines.push(format!("     {LEGEND}"));
        lines.push(format!(
            "{} {}",
            bar(at / until.max(1.0), 30),
            figures(progress, self.changes)
        ));
        for line in &lines {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        self.lines = lines.len();
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

impl Observer for View<'_> {
    fn progress(&mut self, progress: &Progress) {
        let sample = &progress.sample;
        if self.live {
            let demand = &self.case.demand;
            let place = demand.partition_point(|one| one.at <= sample.at.as_secs_f64());
            let needed = place.checked_sub(1).and_then(|place| demand.get(place));
            self.levels.push(Level {
                at: sample.at.as_secs_f64(),
                asked: sample.asked.0,
                ready: sample.ready.0,
                needed: needed.map_or(0.0, |one| one.replicas),
            });
            let now = self.clock.now();
            if self.drawn.is_none_or(|drawn| now.since(drawn) >= FRAME) {
                self.drawn = Some(now);
                self.draw(progress);
            }
            return;
        }
        let tenth = (sample.at.as_secs_f64() / self.case.trace.until.as_secs_f64() * 10.0) as u64;
        if tenth > self.tenth {
            self.tenth = tenth;
            eprintln!("{:>3} % {}", tenth * 10, figures(progress, self.changes));
        }
    }

    fn changed(&mut self, _change: &Change, _decision: Option<&Decision>) {
        self.changes += 1;
    }
}

fn figures(progress: &Progress, changes: u64) -> String {
    let attained = progress.kept as f64 / progress.requests.max(1) as f64;
    format!(
        "{}: {} requests, {} waiting, {:.0} of {:.0} replicas ready, {changes} changes, {:.2} GPU-hours, {:.2} % kept",
        clock(progress.sample.at),
        progress.arrived,
        progress.sample.waiting,
        progress.sample.ready.0,
        progress.sample.asked.0,
        progress.gpu_hours,
        attained * 100.0
    )
}

fn clock(at: Duration) -> String {
    let seconds = at.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let time = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days == 0 {
        time
    } else {
        format!("{days}d {time}")
    }
}

/// Prints what came of it, with a chart.
pub(super) fn summary(case: &Case, row: &Row) -> anyhow::Result<()> {
    let mut text = String::new();
    if let Some(record) = &row.record {
        let needed = |at: f64| {
            let place = case.demand.partition_point(|one| one.at <= at);
            let one = place.checked_sub(1).and_then(|place| case.demand.get(place));
            one.map_or(0.0, |one| one.replicas)
        };
        let levels: Vec<Level> = record
            .samples
            .iter()
            .map(|sample| Level {
                at: sample.at.as_secs_f64(),
                asked: sample.asked.0,
                ready: sample.ready.0,
                needed: needed(sample.at.as_secs_f64()),
            })
            .collect();
        for line in replicas(&levels, case.trace.until.as_secs_f64(), WIDTH, HEIGHT) {
            text.push_str(&line);
            text.push('\n');
        }
        text.push_str(&format!("     {LEGEND}\n\n"));
        if let Some(last) = record.changes.last() {
            text.push_str(&format!(
                "last change   {}: {} → {}, {}\n",
                clock(last.change.at),
                last.change.from,
                last.change.to,
                last.change.why
            ));
            for step in &last.steps {
                text.push_str(&format!("                {step}\n"));
            }
            text.push('\n');
        }
    }
    let score = &row.score;
    let seconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3} s"));
    let lines = [
        ("policy", format!("{} ({})", row.policy, row.settings)),
        (
            "cost",
            format!(
                "{:.2} GPU-hours: {:.2} times the optimum ({:.2}), {:.0} % of the static peak",
                score.gpu_hours,
                score.over_optimum,
                case.optimum.gpu_hours,
                score.of_static_peak * 100.0
            ),
        ),
        (
            "starting",
            format!("{:.2} GPU-hours of it", score.gpu_hours_starting),
        ),
        (
            "attainment",
            format!(
                "{:.3} % of {} requests; {} still waited at the end",
                score.attainment * 100.0,
                score.requests,
                score.waiting
            ),
        ),
        (
            "TTFT",
            format!(
                "p50 {}, p99 {}",
                seconds(score.ttft_p50_seconds),
                seconds(score.ttft_p99_seconds)
            ),
        ),
        (
            "ITL",
            format!(
                "p50 {}, p99 {}",
                seconds(score.itl_p50_seconds),
                seconds(score.itl_p99_seconds)
            ),
        ),
        (
            "changes",
            format!("{} of the replica count", score.scaling_events),
        ),
    ];
    for (name, value) in lines {
        text.push_str(&format!("{name:<14}{value}\n"));
    }
    print(&text)
}
