use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::pace::Pace;
use crate::record::{Entry, Fall, Record, Sample, Trouble, Who, WorkloadSample};
use crate::stage::{Sight, Stage};
use crate::story::{CHAT, HANG_LASTS, LLM, Story};
use crate::view::{Scene, View};
use crate::world::{Happening, World, WorldEvent};

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Played {
    /// What happened.
    pub(crate) record: Record,
    /// The world at the end.
    pub(crate) world: World,
    /// Whether it came to the story's end.
    pub(crate) finished: bool,
    /// Simulated seconds a second that were reached.
    pub(crate) speed: f64,
}

/// Simulated seconds between two samples.
const SAMPLE_EVERY: f64 = 5.0;

/// Plays `story` until its end or `shutdown`.
///
/// # Errors
///
/// A part has died, or the terminal cannot be written.
pub(crate) async fn play(
    story: &Story,
    mut world: World,
    stage: &mut Stage,
    pace: Pace,
    view: &mut View,
    shutdown: &CancellationToken,
) -> anyhow::Result<Played> {
    let mut record = Record::default();
    let began = Instant::now();
    let mut next = began;
    let mut finished = true;
    let speed = |world: &World| world.now() / began.elapsed().as_secs_f64().max(1e-3);
    while world.now() < f64::from(story.seconds) {
        if record.failure.is_none() && story.gpu_fails(&world) {
            world.lose_gpu(CHAT);
        }
        let shown = record.entries.len();
        let asked = story.batch_demand(world.now());
        for event in world.step() {
            note_event(&mut record, &world, event);
        }
        note_demand(&mut record, story, asked, world.now());
        trouble(&mut record, story, stage, &mut world).await?;
        tokio::select! {
            shown = stage.show(&mut world, story) => shown?,
            () = shutdown.cancelled() => {}
        }
        if shutdown.is_cancelled() {
            finished = false;
            break;
        }
        for index in 0..world.workloads().len() {
            for change in stage.autoscale(index, &world).await {
                world.set_replicas(index, u32::try_from(change.to).unwrap_or_default());
                if index == LLM && change.to < change.from {
                    record.falls.push(Fall {
                        at: world.now(),
                        from: change.from,
                        to: change.to,
                        waiting: world.workloads()[LLM].waiting(),
                    });
                }
                record.entries.push(Entry {
                    at: world.now(),
                    workload: index,
                    who: Who::of(change.by, change.pushed),
                    change: Some((change.from, change.to)),
                    what: change.cause,
                    why: change.why,
                });
            }
        }
        note_sight(&mut record, story, stage, &world);
        note_engine(&mut record, story, stage, &world);
        if world.now() % SAMPLE_EVERY < 0.5 {
            record.samples.push(sample(&world, story));
        }
        for entry in &record.entries[shown..] {
            view.entry(story, entry)?;
        }
        view.tick(&Scene {
            story,
            world: &world,
            record: &record,
            stage,
            pace,
            speed: speed(&world),
        })?;
        next = (next + pace.step()).max(Instant::now());
        tokio::time::sleep_until(next).await;
    }
    record.served = stage.served().into();
    let speed = speed(&world);
    Ok(Played {
        record,
        world,
        finished,
        speed,
    })
}

fn note_event(record: &mut Record, world: &World, event: WorldEvent) {
    let WorldEvent {
        at,
        workload,
        pod,
        what,
    } = event;
    if what == Happening::GpuLost {
        record.failure = Some((at, pod.clone()));
    }
    let place = || {
        let pods = world.workloads()[workload].pods().iter();
        let found = pods.filter(|one| one.name == pod).find_map(|one| one.gpu);
        found.map_or_else(String::new, |gpu| {
            format!("GPU {} of {}", gpu.gpu, world.nodes()[gpu.node].name)
        })
    };
    let (who, what) = match what {
        Happening::Unschedulable => (Who::Scheduler, format!("{pod} waits: no GPU is free")),
        Happening::Scheduled => (Who::Scheduler, format!("{pod} gets {}", place())),
        Happening::GpuLost => (
            Who::Node,
            format!("{} under {pod} falls off the bus (GPU_IS_LOST)", place()),
        ),
        Happening::Unready => (Who::Node, format!("{pod} fails its readiness probe")),
        Happening::Replaced => (
            Who::Node,
            format!("{pod} is evicted, its Deployment makes a new pod"),
        ),
    };
    record.entries.push(Entry {
        at,
        workload,
        who,
        change: None,
        what,
        why: String::new(),
    });
}

/// Lets an engine of llm hang, and restarts it later.
async fn trouble(
    record: &mut Record,
    story: &Story,
    stage: &mut Stage,
    world: &mut World,
) -> anyhow::Result<()> {
    let now = world.now();
    let what = match &mut record.trouble {
        None if story.engine_hangs(world) => {
            let mut pods = world.workloads()[LLM].pods().iter();
            let Some(pod) = pods.find(|pod| pod.works()).map(|pod| pod.name.clone()) else {
                return Ok(());
            };
            stage.hang(&pod).await?;
            let what = format!("the engine in {pod} hangs: it takes connections and answers none");
            record.trouble = Some(Trouble {
                pod,
                hung_at: now,
                noticed_at: None,
                restarted_at: None,
            });
            what
        }
        Some(trouble) if trouble.restarted_at.is_none() && now >= trouble.hung_at + HANG_LASTS => {
            stage.restart(&trouble.pod, world).await?;
            trouble.restarted_at = Some(now);
            let pod = &trouble.pod;
            format!("the engine in {pod} is restarted: its counters begin at zero, its clients ask again")
        }
        _ => return Ok(()),
    };
    record.entries.push(Entry {
        at: now,
        workload: LLM,
        who: Who::Node,
        change: None,
        what,
        why: String::new(),
    });
    Ok(())
}

/// Looks whether the scaler says so when it cannot read the engine that hangs.
fn note_engine(record: &mut Record, story: &Story, stage: &Stage, world: &World) {
    let Some(trouble) = &mut record.trouble else {
        return;
    };
    if trouble.noticed_at.is_some() || trouble.restarted_at.is_some() {
        return;
    }
    let sight = stage.sight(LLM, story);
    if !sight.cannot_read(&trouble.pod) {
        return;
    }
    trouble.noticed_at = Some(world.now());
    let what = blindness(&sight);
    record.entries.push(Entry {
        at: world.now(),
        workload: LLM,
        who: Who::Scaler,
        change: None,
        what,
        why: sight.number(),
    });
}

/// What becomes of a workload that cannot be read as a whole.
fn blindness(sight: &Sight) -> String {
    match sight.unread() {
        0 => "too little can be read: the last good answer stands".to_owned(),
        pods => format!("{pods} ready pod cannot be read: it is counted at the target, not as idle"),
    }
}

fn note_demand(record: &mut Record, story: &Story, before: Option<u32>, now: f64) {
    let asked = story.batch_demand(now);
    if asked != before {
        let what = match asked {
            Some(replicas) => format!("annotates the ScaledObject: {} = {replicas}", Story::annotation()),
            None => format!("removes the annotation {}", Story::annotation()),
        };
        let workload = crate::story::BATCH;
        record.entries.push(Entry {
            at: now,
            workload,
            who: Who::User,
            change: None,
            what,
            why: String::new(),
        });
    }
}

/// Looks at what the scaler sees of chat: only devices of its own pods; and whether it says so when
/// it cannot read one of them.
fn note_sight(record: &mut Record, story: &Story, stage: &Stage, world: &World) {
    let sight = stage.sight(CHAT, story);
    for (pod, device) in sight.devices() {
        let holder = world.workloads()[CHAT].pods().iter().find(|one| one.name == *pod);
        // A pod that is gone by now held its device to its end.
        let Some(gpu) = holder.and_then(|holder| holder.gpu) else {
            continue;
        };
        record.own_devices += 1;
        if world.gpu(gpu).uuid != *device {
            record.strange_devices.push(format!("{device} for {pod}"));
        }
    }
    let blind = sight.unread() > 0 || sight.is_substitute();
    if blind && record.failure.is_some() && record.unread.is_none() {
        let why = sight.number();
        record.unread = Some((world.now(), why.clone()));
        let what = blindness(&sight);
        let at = world.now();
        record.entries.push(Entry {
            at,
            workload: CHAT,
            who: Who::Scaler,
            change: None,
            what,
            why,
        });
    }
}

fn sample(world: &World, story: &Story) -> Sample {
    let workloads = world.workloads().iter().map(|workload| WorkloadSample {
        replicas: workload.replicas(),
        ready: workload.ready(),
        pending: workload.pending(),
        gpus: workload.gpus_held(),
        load: workload.load(),
        utilization: workload.utilization(),
        backlog: workload.backlog(),
        waiting: workload.waiting(),
        running: workload.running(),
    });
    Sample {
        at: world.now(),
        workloads: workloads.collect(),
        chat_needs: story.chat_needs(world.workloads()[CHAT].load()),
    }
}
