use crate::play::Played;
use crate::record::{Who, WorkloadSample, clock_time};
use crate::score::{Score, scores};
use crate::story::{ASSIST, BATCH, BATCH_REPLICAS, CHAT, LLM, RENDER, Story};

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

/// Llm's replicas may not fall until so many seconds after the engine's restart.
const RESTART_LASTS: f64 = 30.0;

/// GPUs that are at least this busy look full.
const LOOKS_FULL: f64 = 0.9;

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
        check(
            "llm scales up with the requests in its engines",
            llm_grew(story, played),
        ),
        check("llm is never scaled down while requests wait", llm_waits(played)),
        check(
            "llm goes to zero when there are no requests, and comes back",
            llm_zero(played),
        ),
        check(
            "an engine that hangs and restarts does not shrink llm",
            llm_held(played),
        ),
        check(
            "llm's GPUs look as full with few requests as with many",
            llm_gpus(story, played),
        ),
    ];
    checks.push(check("assist is sized by its policy", by_policy(played)));
    checks.push(check(
        "nobody pays less than what was kept takes",
        above_the_least(story, played),
    ));
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

fn llm_grew(story: &Story, played: &Played) -> (bool, String) {
    let samples = &played.record.samples;
    let first = samples.first().map_or(0, |sample| sample.workloads[LLM].replicas);
    let most = played.record.most(LLM, |sample| sample.replicas);
    let ready = played.record.most(LLM, |sample| sample.ready);
    let in_flight = played.record.most(LLM, WorkloadSample::in_flight);
    let waiting = played.record.most(LLM, |sample| sample.waiting);
    let by_hpa = |(_, from, to, who): (f64, i32, i32, Who)| to > from && who == Who::Hpa;
    let grew = played.record.changes(LLM).any(by_hpa);
    // Where a trace takes all GPUs, its pods may have to wait for one.
    let enough = first + if story.built_in { 2 } else { 1 };
    let served = !story.built_in || ready >= enough as usize;
    (
        grew && most >= enough && served,
        format!("from {first} to {most} replicas; at most {in_flight} requests at once, {waiting} waiting"),
    )
}

fn llm_waits(played: &Played) -> (bool, String) {
    let falls = &played.record.falls;
    match falls.iter().find(|fall| fall.waiting > 0) {
        Some(fall) => (
            false,
            format!(
                "{} → {} at {} while {} waited",
                fall.from,
                fall.to,
                clock_time(fall.at),
                fall.waiting
            ),
        ),
        None => (
            !falls.is_empty(),
            format!("{} times scaled down, never while a request waited", falls.len()),
        ),
    }
}

fn llm_zero(played: &Played) -> (bool, String) {
    let changes: Vec<_> = played.record.changes(LLM).collect();
    let by_keda = |who: Who| matches!(who, Who::Keda | Who::KedaPush);
    let gone = changes.iter().find(|(_, _, to, who)| *to == 0 && by_keda(*who));
    let Some(&(gone_at, from, ..)) = gone else {
        return (false, "it never went to zero".to_owned());
    };
    let back = changes
        .iter()
        .find(|(at, from, to, who)| *at > gone_at && *from == 0 && *to > 0 && by_keda(*who));
    match back {
        Some((at, _, to, who)) => (
            true,
            format!(
                "{from} → 0 at {}, 0 → {to} at {} by {}, for its schedule",
                clock_time(gone_at),
                clock_time(*at),
                who.name()
            ),
        ),
        None => (
            false,
            format!("{from} → 0 at {}, and it stayed there", clock_time(gone_at)),
        ),
    }
}

fn llm_held(played: &Played) -> (bool, String) {
    let Some(trouble) = &played.record.trouble else {
        return (false, "no engine hung".to_owned());
    };
    let (Some(noticed), Some(restarted)) = (trouble.noticed_at, trouble.restarted_at) else {
        return (
            false,
            format!("{}'s engine hung, and the scaler never said so", trouble.pod),
        );
    };
    let window = trouble.hung_at..restarted + RESTART_LASTS;
    let falls = played.record.falls.iter();
    match falls.clone().find(|fall| window.contains(&fall.at)) {
        Some(fall) => (
            false,
            format!(
                "{} → {}, {:.0} s after it hung",
                fall.from,
                fall.to,
                fall.at - trouble.hung_at
            ),
        ),
        None => (
            true,
            format!(
                "{}'s engine; {:.0} s later the scaler says so; no fall within {:.0} s",
                trouble.pod,
                noticed - trouble.hung_at,
                window.end - window.start
            ),
        ),
    }
}

fn by_policy(played: &Played) -> (bool, String) {
    let changes: Vec<_> = played.record.changes(ASSIST).collect();
    let most = played.record.most(ASSIST, |sample| sample.replicas);
    let grew = changes
        .iter()
        .any(|(_, from, to, who)| to > from && *who == Who::Hpa);
    let shrank = changes.iter().any(|(_, from, to, _)| to < from);
    (
        grew && shrank && most > 1,
        format!("{} changes, at most {most} replicas", changes.len()),
    )
}

fn above_the_least(story: &Story, played: &Played) -> (bool, String) {
    let scores = scores(story, played);
    let each = scores.iter().map(|score| {
        format!(
            "{} {:.2} GPU-hours for {:.1} % in time, which takes {:.2}",
            score.workload,
            score.gpu_hours,
            score.attainment * 100.0,
            score.least
        )
    });
    (
        !scores.is_empty() && scores.iter().all(Score::is_possible),
        each.collect::<Vec<_>>().join(", "),
    )
}

/// Why llm is not scaled by its GPUs: of the moments at which they look full, that at which they
/// would most have asked for too many replicas, and that for too few.
fn llm_gpus(story: &Story, played: &Played) -> (bool, String) {
    let target = story.llm_target();
    let by_requests = |llm: &WorkloadSample| (llm.in_flight() as f64 / target).ceil();
    let too_many = |llm: &WorkloadSample| story.by_utilization(llm.ready, llm.utilization) - by_requests(llm);
    let samples = played.record.samples.iter();
    let full = samples
        .map(|sample| (sample.at, &sample.workloads[LLM]))
        .filter(|(_, llm)| llm.ready > 0 && llm.utilization >= LOOKS_FULL);
    let order = |(_, a): &(f64, &WorkloadSample), (_, b): &(f64, &WorkloadSample)| {
        too_many(a).total_cmp(&too_many(b))
    };
    let (Some(few), Some(many)) = (full.clone().max_by(order), full.min_by(order)) else {
        return (false, "they never looked full".to_owned());
    };
    let asked = |(at, llm): (f64, &WorkloadSample)| {
        format!(
            "{:.0} % with {} requests in {} replicas at {}, which means {:.0} by utilisation and {:.0} by requests",
            llm.utilization * 100.0,
            llm.in_flight(),
            llm.ready,
            clock_time(at),
            story.by_utilization(llm.ready, llm.utilization),
            by_requests(llm)
        )
    };
    (
        too_many(few.1) >= 1.0 && too_many(many.1) <= -1.0,
        format!("{}; {}", asked(few), asked(many)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Entry, Fall, Record, Sample, Trouble};
    use crate::stage::{Handed, Served};

    const HANDED: Handed = Handed {
        came: 100.0,
        prompt_tokens: 200,
        output_tokens: 100,
    };

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

    fn fall(at: f64, waiting: u64) -> Fall {
        Fall {
            at,
            from: 4,
            to: 0,
            waiting,
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
            ..WorkloadSample::default()
        };
        let llm = |replicas: u32, waiting, running| WorkloadSample {
            utilization: 0.97,
            waiting,
            running,
            ..workload(replicas)
        };
        let sample = |at, chat, llm| Sample {
            at,
            workloads: vec![workload(chat), workload(6), workload(0), llm, workload(2)],
            chat_needs: 1.0,
        };
        let record = Record {
            samples: vec![
                sample(0.0, 2, llm(1, 0, 10)),
                sample(200.0, 9, llm(1, 100, 48)),
                sample(500.0, 9, llm(4, 0, 120)),
                sample(1000.0, 2, llm(1, 0, 10)),
            ],
            entries: vec![
                change(100.0, CHAT, Who::Hpa, 2, 9),
                change(485.0, BATCH, Who::KedaPush, 0, 1),
                change(500.0, BATCH, Who::Hpa, 1, 4),
                change(700.0, BATCH, Who::Keda, 4, 0),
                change(900.0, CHAT, Who::Hpa, 9, 2),
                change(120.0, LLM, Who::Hpa, 1, 4),
                change(620.0, LLM, Who::Keda, 4, 0),
                change(840.0, LLM, Who::KedaPush, 0, 1),
                change(200.0, ASSIST, Who::Hpa, 1, 4),
                change(620.0, ASSIST, Who::Hpa, 4, 1),
            ],
            failure: Some((450.0, "chat-1".into())),
            unread: Some((452.0, "said".into())),
            strange_devices: Vec::new(),
            own_devices: 10,
            trouble: Some(Trouble {
                pod: "llm-1".into(),
                hung_at: 330.0,
                noticed_at: Some(391.0),
                restarted_at: Some(420.0),
            }),
            falls: vec![fall(620.0, 0)],
            served: vec![Served {
                workload: ASSIST,
                requests: vec![HANDED; 100],
                // It has spent nothing, and so has kept nothing.
                in_time: 0,
            }],
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
        let defects: [Defect; 17] = [
            ("sized by its policy", |record| {
                record
                    .entries
                    .retain(|entry| entry.workload != ASSIST || entry.change != Some((4, 1)));
            }),
            // A tenth in time, at no cost.
            ("less than what was kept", |record| record.served[0].in_time = 10),
            ("chat scales up", |record| {
                for sample in &mut record.samples {
                    sample.workloads[CHAT].replicas = 3;
                }
            }),
            ("chat comes down", |record| {
                record.samples[3].workloads[CHAT].replicas = 8;
            }),
            ("own GPUs", |record| {
                record.strange_devices.push("GPU-1 for chat-1".into());
            }),
            ("render", |record| {
                record.entries.push(change(1.0, RENDER, Who::Hpa, 6, 5));
            }),
            ("batch goes from zero", |record| {
                record
                    .entries
                    .retain(|entry| entry.workload != BATCH || entry.change != Some((4, 0)));
            }),
            ("noticed", |record| record.unread = None),
            ("does not shrink chat", |record| {
                record.entries.push(change(470.0, CHAT, Who::Hpa, 9, 8));
            }),
            ("llm scales up", |record| {
                record
                    .entries
                    .retain(|entry| entry.workload != LLM || entry.change != Some((1, 4)));
            }),
            ("llm is never scaled down", |record| {
                record.falls.push(fall(700.0, 3));
            }),
            ("llm is never scaled down", |record| record.falls.clear()),
            ("llm goes to zero", |record| {
                record
                    .entries
                    .retain(|entry| entry.change != Some((0, 1)) || entry.workload != LLM);
            }),
            ("does not shrink llm", |record| record.falls.push(fall(425.0, 0))),
            ("does not shrink llm", |record| {
                let trouble = record.trouble.as_mut();
                trouble.unwrap().noticed_at = None;
            }),
            ("llm's GPUs", |record| {
                for sample in &mut record.samples {
                    sample.workloads[LLM].utilization = 0.5;
                }
            }),
            ("llm's GPUs", |record| {
                record.samples[1].workloads[LLM].waiting = 0;
                record.samples[1].workloads[LLM].running = 20;
                record.samples[2].workloads[LLM].running = 40;
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
