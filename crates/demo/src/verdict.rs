use crate::play::Played;
use crate::record::Who;
use crate::story::{BATCH, BATCH_REPLICAS, CHAT, RENDER, Story};

/// A claim about the run, and whether it holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Check {
    /// What should be.
    pub(crate) claim: &'static str,
    /// Whether it is.
    pub(crate) holds: bool,
    /// What was seen.
    pub(crate) seen: String,
}

/// Chat's replicas may not fall from the moment of the failure until the new pod may be ready.
const FAILURE_LASTS: f64 = 60.0;

/// Chat is back near its beginning when it has come down to so many.
const QUIET: i32 = 3;

/// Judges a run that came to its end.
pub(crate) fn judge(story: &Story, played: &Played) -> Vec<Check> {
    let check = |claim, (holds, seen)| Check { claim, holds, seen };
    let mut checks = vec![
        check("chat scales up with its load", scaled_up(story, played)),
        check("chat comes down again", came_down(story, played)),
        check("chat is judged by its own GPUs only", own_gpus(played)),
        check("team-b's render stays as it is", neighbour(played)),
        check(
            "batch goes from zero to what was asked for and back to zero",
            from_zero(played),
        ),
        check("a lost GPU is noticed, and said", noticed(played)),
    ];
    if story.built_in {
        // A trace's own load may fall just then.
        checks.push(check("a lost GPU does not shrink chat", held(played)));
    }
    checks
}

fn scaled_up(story: &Story, played: &Played) -> (bool, String) {
    let first = played
        .record
        .samples
        .first()
        .map_or(0, |sample| sample.workloads[CHAT].replicas);
    let most = played.record.most(CHAT, |sample| sample.replicas);
    let ready = played.record.most(CHAT, |sample| sample.ready);
    let enough = if story.built_in { first * 2 } else { first + 1 };
    (
        most >= enough && ready > first as usize,
        format!("from {first} to {most} replicas, {ready} of them ready at once"),
    )
}

fn came_down(story: &Story, played: &Played) -> (bool, String) {
    let last = played
        .record
        .samples
        .last()
        .map_or(0, |sample| sample.workloads[CHAT].replicas);
    let most = played.record.most(CHAT, |sample| sample.replicas);
    let low = if story.built_in {
        i64::from(last) <= i64::from(QUIET)
    } else {
        last < most
    };
    (low, format!("{last} replicas at the end, after {most}"))
}

fn own_gpus(played: &Played) -> (bool, String) {
    let record = &played.record;
    let strange = record.strange_devices.first();
    let seen = strange.map_or_else(
        || {
            format!(
                "{} readings looked at, all of its own pods' GPUs",
                record.own_devices
            )
        },
        |strange| format!("{} of others, such as {strange}", record.strange_devices.len()),
    );
    (strange.is_none() && record.own_devices > 0, seen)
}

fn neighbour(played: &Played) -> (bool, String) {
    let changes = played.record.changes(RENDER).count();
    let replicas = played.world.workloads()[RENDER].replicas();
    let busy = played.world.workloads()[RENDER].utilization();
    (
        changes == 0,
        format!(
            "{replicas} replicas at {:.0} %, changed {changes} times",
            busy * 100.0
        ),
    )
}

fn from_zero(played: &Played) -> (bool, String) {
    let changes: Vec<_> = played.record.changes(BATCH).collect();
    let rose = changes
        .first()
        .is_some_and(|(_, from, to, who)| *from == 0 && *to > 0 && matches!(who, Who::Keda | Who::KedaPush));
    let most = changes.iter().map(|(_, _, to, _)| *to).max().unwrap_or_default();
    let last = changes.last().map_or(0, |(_, _, to, _)| *to);
    let way: Vec<String> = changes
        .iter()
        .map(|(_, from, to, who)| format!("{from} → {to} by {}", who.name()))
        .collect();
    let holds = rose && most == BATCH_REPLICAS as i32 && last == 0;
    (
        holds,
        if way.is_empty() {
            "it stayed at zero".to_owned()
        } else {
            way.join(", ")
        },
    )
}

fn noticed(played: &Played) -> (bool, String) {
    match (&played.record.failure, &played.record.unread) {
        (Some((failed, pod)), Some((noticed, _))) => (
            true,
            format!("{pod}'s GPU; {:.0} s later the scaler says so", noticed - failed),
        ),
        (Some((_, pod)), None) => (false, format!("{pod}'s GPU failed, and the scaler never said so")),
        (None, _) => (false, "no GPU failed".to_owned()),
    }
}

fn held(played: &Played) -> (bool, String) {
    let Some((failed, _)) = played.record.failure else {
        return (false, "no GPU failed".to_owned());
    };
    let window = failed..failed + FAILURE_LASTS;
    let fall = played
        .record
        .changes(CHAT)
        .find(|(at, from, to, _)| window.contains(at) && to < from);
    match fall {
        Some((at, from, to, _)) => (
            false,
            format!("{from} → {to}, {:.0} s after the failure", at - failed),
        ),
        None => (true, format!("no fall within {FAILURE_LASTS} s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Entry, Record, Sample, WorkloadSample};

    fn change(at: f64, workload: usize, who: Who, from: i32, to: i32) -> Entry {
        Entry {
            at,
            workload,
            who,
            change: Some((from, to)),
            what: String::new(),
            why: String::new(),
        }
    }

    fn good() -> (Story, Played) {
        let (story, world) = Story::new(1, None).unwrap();
        let workload = |replicas: u32| WorkloadSample {
            replicas,
            ready: replicas as usize,
            pending: 0,
            gpus: replicas as usize,
            load: 1.0,
            utilization: 0.5,
            backlog: 0.0,
        };
        let sample = |at, chat| Sample {
            at,
            workloads: vec![workload(chat), workload(6), workload(0)],
            chat_needs: 1.0,
        };
        let record = Record {
            samples: vec![sample(0.0, 2), sample(500.0, 9), sample(1000.0, 2)],
            entries: vec![
                change(100.0, CHAT, Who::Hpa, 2, 9),
                change(485.0, BATCH, Who::KedaPush, 0, 1),
                change(500.0, BATCH, Who::Hpa, 1, 4),
                change(700.0, BATCH, Who::Keda, 4, 0),
                change(900.0, CHAT, Who::Hpa, 9, 2),
            ],
            failure: Some((450.0, "chat-1".into())),
            unread: Some((452.0, "said".into())),
            strange_devices: Vec::new(),
            own_devices: 10,
        };
        (
            story,
            Played {
                record,
                world,
                finished: true,
                speed: 20.0,
            },
        )
    }

    fn broken(played: &Played) -> Vec<&'static str> {
        let (story, _) = good();
        judge(&story, played)
            .into_iter()
            .filter(|check| !check.holds)
            .map(|check| check.claim)
            .collect()
    }

    #[test]
    fn a_good_run_passes_and_each_defect_is_found() {
        assert_eq!(broken(&good().1), Vec::<&str>::new());
        type Defect = (&'static str, fn(&mut Record));
        let defects: [Defect; 7] = [
            ("chat scales up", |record| {
                record.samples[1].workloads[CHAT].replicas = 3;
            }),
            ("chat comes down", |record| {
                record.samples[2].workloads[CHAT].replicas = 8;
            }),
            ("own GPUs", |record| {
                record.strange_devices.push("GPU-1 for chat-1".into());
            }),
            ("render", |record| {
                record.entries.push(change(1.0, RENDER, Who::Hpa, 6, 5));
            }),
            ("from zero", |record| {
                record.entries.retain(|entry| entry.change != Some((4, 0)));
            }),
            ("noticed", |record| record.unread = None),
            ("does not shrink", |record| {
                record.entries.push(change(470.0, CHAT, Who::Hpa, 9, 8));
            }),
        ];
        for (name, defect) in defects {
            let (_, mut played) = good();
            defect(&mut played.record);
            let broken = broken(&played);
            assert!(
                broken.len() == 1 && broken[0].contains(name),
                "{name}: {broken:?}"
            );
        }
    }
}
