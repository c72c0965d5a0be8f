use crate::pace::Pace;
use crate::record::{Entry, clock_time};
use crate::story::{ASSIST, CHAT, LLM, Story};
use crate::view::{Scene, is_slow, say};

/// Lines on standard output.
pub(crate) struct Plain {
    status_at: f64,
    told_slow: bool,
}

/// Simulated seconds between two lines of status.
const STATUS_EVERY: f64 = 30.0;

/// Before this second of the day the speed says nothing.
const SETTLED: f64 = 60.0;

impl Plain {
    pub(crate) fn start(story: &Story, pace: Pace) -> anyhow::Result<Self> {
        say(&format!(
            "Three nodes with 8 H100 each (fake NVML, real agents, real scaler), {} simulated minutes at {} times \
             real speed. Load: {}.",
            story.seconds / 60,
            pace.speed(),
            story.load
        ))?;
        Ok(Self {
            status_at: STATUS_EVERY,
            told_slow: false,
        })
    }

    pub(crate) fn entry(&mut self, story: &Story, entry: &Entry) -> anyhow::Result<()> {
        say(&entry_line(story, entry))
    }

    pub(crate) fn tick(&mut self, scene: &Scene<'_>) -> anyhow::Result<()> {
        let now = scene.world.now();
        if now < self.status_at {
            return Ok(());
        }
        self.status_at += STATUS_EVERY;
        say(&status(scene))?;
        if is_slow(scene.speed, scene.pace) && now > SETTLED && !self.told_slow {
            self.told_slow = true;
            say(&format!(
                "{}  this machine reaches {:.0} of {} times real speed; the day waits for it",
                clock_time(now),
                scene.speed,
                scene.pace.speed()
            ))?;
        }
        Ok(())
    }
}

/// A decision in one line.
pub(crate) fn entry_line(story: &Story, entry: &Entry) -> String {
    let workload = story.manifests[entry.workload].full_name();
    let mut line = format!(
        "{}  {:<11}  {workload:<13}",
        clock_time(entry.at),
        entry.who.name()
    );
    if let Some((from, to)) = entry.change {
        line.push_str(&format!("  {from} → {to}"));
    }
    line.push_str("  ");
    line.push_str(&entry.what);
    if !entry.why.is_empty() {
        line.push_str(" | ");
        line.push_str(&entry.why);
    }
    line
}

fn status(scene: &Scene<'_>) -> String {
    let each = scene
        .world
        .workloads()
        .iter()
        .enumerate()
        .map(|(index, workload)| {
            let mut text = format!(
                "{} {}/{} ready, {:.0} %",
                scene.story.manifests[index].name(),
                workload.ready(),
                workload.replicas(),
                workload.utilization() * 100.0
            );
            if workload.pending() > 0 {
                text.push_str(&format!(", {} waiting for a GPU", workload.pending()));
            }
            if index == CHAT {
                let needs = scene.story.chat_needs(workload.load());
                text.push_str(&format!(
                    ", needs {needs:.1}, {:.0} GPU-s queued",
                    workload.backlog()
                ));
            }
            if matches!(index, LLM | ASSIST) {
                let (running, waiting) = (workload.running(), workload.waiting());
                text.push_str(&format!(", {running} requests running, {waiting} waiting"));
            }
            text
        });
    format!(
        "{}  -- {}",
        clock_time(scene.world.now()),
        each.collect::<Vec<_>>().join("; ")
    )
}
