use crossterm::style::Color;
use rheostat_chart as chart;

use crate::record::{Entry, Who, clock_time};
use crate::story::{ASSIST, BATCH, CHAT, LLM, RENDER, Story};
use crate::view::{Scene, is_slow};
use crate::world::{GpuIndex, World};

/// A line of the picture: texts, each in a colour.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Line(pub(crate) Vec<(Color, String)>);

/// The most columns of the chart.
const WIDEST_CHART: usize = 140;

/// The picture of `scene` in `width` columns and `height` rows.
pub(crate) fn frame(
    scene: &Scene<'_>,
    readings: &[Vec<Option<f64>>],
    width: usize,
    height: usize,
) -> Vec<Line> {
    let mut lines = vec![title(scene), Line::default()];
    for index in [CHAT, LLM, ASSIST, RENDER, BATCH] {
        lines.push(workload(scene, index));
    }
    lines.push(Line::default());
    for node in 0..scene.world.nodes().len() {
        lines.push(gpus(
            scene.world,
            node,
            readings.get(node).map_or(&[][..], Vec::as_slice),
        ));
    }
    lines.push(Line::default());
    let rows = (height.saturating_sub(lines.len()) / 2).clamp(4, 14);
    let seconds = f64::from(scene.story.seconds);
    let levels = scene.record.chat_levels();
    for text in chart::replicas(&levels, seconds, width.min(WIDEST_CHART), rows) {
        lines.push(Line(vec![(colour(CHAT), text)]));
    }
    lines.push(Line(vec![(
        Color::DarkGrey,
        format!("     chat: {}", chart::LEGEND),
    )]));
    lines.push(Line::default());
    let room = height.saturating_sub(lines.len());
    lines.extend(decisions(scene.story, &scene.record.entries, room));
    lines.truncate(height);
    lines
}

fn title(scene: &Scene<'_>) -> Line {
    let now = clock_time(scene.world.now());
    let end = clock_time(f64::from(scene.story.seconds));
    let speed = if is_slow(scene.speed, scene.pace) && scene.world.now() > 60.0 {
        let (reached, asked) = (scene.speed, scene.pace.speed());
        (
            Color::Yellow,
            format!("{reached:.0} times real speed: this machine is too slow for {asked}"),
        )
    } else {
        (Color::Reset, format!("{:.0} times real speed", scene.speed))
    };
    Line(vec![
        (Color::Green, format!("rheostat demo  {now} of {end}  ")),
        speed,
        (Color::DarkGrey, format!("  load: {}", scene.story.load)),
    ])
}

fn workload(scene: &Scene<'_>, index: usize) -> Line {
    let workload = &scene.world.workloads()[index];
    let busy = workload.utilization();
    let mut line = vec![
        (
            colour(index),
            format!("{:<14}", scene.story.manifests[index].full_name()),
        ),
        (
            Color::Reset,
            format!(
                "replicas {:>2}  ready {:>2}  waiting for a GPU {:>2}  ",
                workload.replicas(),
                workload.ready(),
                workload.pending()
            ),
        ),
        (colour(index), chart::bar(busy, 10)),
        (Color::Reset, format!(" {:>3.0} %", busy * 100.0)),
    ];
    if index == CHAT {
        let needs = scene.story.chat_needs(workload.load());
        line.push((
            Color::Reset,
            format!("  needs {needs:>4.1}  queued {:>4.0} GPU-s", workload.backlog()),
        ));
    }
    if matches!(index, LLM | ASSIST) {
        let (running, waiting) = (workload.running(), workload.waiting());
        line.push((
            Color::Reset,
            format!("  running {running:>3}  waiting {waiting:>3} requests"),
        ));
    }
    Line(line)
}

/// A node's GPUs with what the scaler's fleet knows of them: the agents' readings.
fn gpus(world: &World, node: usize, readings: &[Option<f64>]) -> Line {
    let mut line = vec![(Color::Reset, format!("{:<12}", world.nodes()[node].name))];
    for (gpu, state) in world.nodes()[node].gpus.iter().enumerate() {
        let reading = readings.get(gpu).copied().flatten();
        let owner = world.holder(GpuIndex { node, gpu }).map(|(owner, _)| owner);
        let shown = match (owner, reading) {
            _ if state.lost => (Color::Red, "  lost    ".to_owned()),
            (Some(owner), Some(busy)) => (
                colour(owner),
                format!("{} {:>3.0}% ", chart::bar(busy, 4), busy * 100.0),
            ),
            (Some(owner), None) => (colour(owner), "     ?    ".to_owned()),
            (None, _) => (Color::DarkGrey, "   ·      ".to_owned()),
        };
        line.push(shown);
    }
    Line(line)
}

/// The newest decisions with their explanations, as many lines as there is room for.
fn decisions(story: &Story, entries: &[Entry], room: usize) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for entry in entries.iter().rev() {
        let mut texts = vec![(
            who_colour(entry.who),
            format!("{}  {:<11} ", clock_time(entry.at), entry.who.name()),
        )];
        texts.push((
            colour(entry.workload),
            format!("{:<7}", story.manifests[entry.workload].name()),
        ));
        let change = entry
            .change
            .map_or_else(String::new, |(from, to)| format!("{from} → {to}  "));
        texts.push((Color::Reset, format!("{change}{}", entry.what)));
        let why =
            (!entry.why.is_empty()).then(|| Line(vec![(Color::DarkGrey, format!("         {}", entry.why))]));
        if lines.len() + 1 + usize::from(why.is_some()) > room {
            break;
        }
        lines.push(Line(texts));
        lines.extend(why);
    }
    lines
}

const fn colour(workload: usize) -> Color {
    match workload {
        CHAT => Color::Cyan,
        RENDER => Color::Magenta,
        LLM => Color::Green,
        ASSIST => Color::Blue,
        _ => Color::Yellow,
    }
}

const fn who_colour(who: Who) -> Color {
    match who {
        Who::Keda | Who::KedaPush | Who::Hpa => Color::Green,
        Who::Node => Color::Red,
        Who::Scheduler | Who::User | Who::Scaler => Color::Blue,
    }
}
