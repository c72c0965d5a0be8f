use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::observation::{Observation, Replica, Stage};

/// How long starts take, learned by stage and kind of hardware from the pods that were seen to start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColdStart {
    kinds: BTreeMap<Arc<str>, VecDeque<Start>>,
    /// Pods whose start has been counted.
    counted: Vec<Arc<str>>,
}

/// One start, by stages, in seconds. A stage is missing where Kubernetes did not tell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Start {
    /// From asking for the pod to its node.
    scheduling: Option<f32>,
    /// From there to its container running: image and volumes.
    image: Option<f32>,
    /// From there to ready: weights and engine.
    loading: Option<f32>,
    /// All of it.
    total: f32,
}

/// Quantiles of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    /// Which one.
    pub stage: StartStage,
    /// The median.
    pub p50: Duration,
    /// The 90th percentile.
    pub p90: Duration,
    /// How many starts it was learned from.
    pub samples: u32,
}

/// A stage of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartStage {
    /// Until the pod has a node: the scheduler, or a node that has to be made.
    Scheduling,
    /// Until its container runs: the image.
    Image,
    /// Until it is ready: weights and engine.
    Loading,
    /// All of it.
    Total,
}

/// Starts that are remembered of each kind of hardware.
const REMEMBERED: usize = 64;
const MOST_KINDS: usize = 8;
/// What the user said counts as so many starts.
const PRIOR_STARTS: usize = 2;
/// No start is taken to be longer: beyond it something is broken, and not slow.
const LONGEST: Duration = Duration::from_secs(3600);

impl ColdStart {
    /// Takes the pods that became ready since they were looked at last.
    pub(crate) fn learn(&mut self, observation: &Observation) {
        for pod in &observation.pods {
            if pod.stage == Stage::Ready && !self.counted.contains(&pod.name) {
                self.counted.push(Arc::clone(&pod.name));
                if let Some(start) = start_of(pod)
                    && (self.kinds.len() < MOST_KINDS || self.kinds.contains_key(&pod.hardware))
                {
                    let starts = self.kinds.entry(Arc::clone(&pod.hardware)).or_default();
                    starts.push_back(start);
                    if starts.len() > REMEMBERED {
                        starts.pop_front();
                    }
                }
            }
        }
        if self.counted.len() > observation.pods.len() {
            self.counted
                .retain(|name| observation.pods.iter().any(|pod| pod.name == *name));
        }
    }

    /// The 90th percentile of a whole start, with what the user said as two of them; longer where pods that
    /// start right now have taken longer already.
    ///
    /// Such a pod counts as a start that took as long as it has by now. Those that have just been asked for
    /// say nothing, so that what starts later does not hide how long the others have been at it.
    pub(crate) fn expected(&self, said: Duration, observation: &Observation) -> Duration {
        let mut totals = self.totals(said);
        totals.extend(self.overdue(said, observation).map(|age| age.as_secs_f32()));
        quantile(&mut totals, 0.9).min(LONGEST)
    }

    /// The ages of the pods that start right now and should serve by now, as starts have been.
    pub(crate) fn overdue<'a>(
        &self,
        said: Duration,
        observation: &'a Observation,
    ) -> impl Iterator<Item = Duration> + use<'a> {
        let usual = quantile(&mut self.totals(said), 0.9);
        let under_way = observation.pods.iter();
        under_way
            .filter(|pod| matches!(pod.stage, Stage::Pending | Stage::Starting))
            .map(|pod| observation.now.since(pod.created))
            .filter(move |age| *age > usual)
    }

    /// Seconds that starts took, with what the user said as two of them.
    fn totals(&self, said: Duration) -> Vec<f32> {
        let starts = self.kinds.values().flatten().map(|start| start.total);
        starts
            .chain(std::iter::repeat_n(said.as_secs_f32(), PRIOR_STARTS))
            .collect()
    }

    /// What was learned, by hardware and stage.
    pub fn learned(&self) -> impl Iterator<Item = (&str, StageTime)> {
        self.kinds.iter().flat_map(|(kind, starts)| {
            let of = |stage: StartStage, get: fn(&Start) -> Option<f32>| {
                let mut times: Vec<f32> = starts.iter().filter_map(get).collect();
                let samples = u32::try_from(times.len()).unwrap_or(u32::MAX);
                (samples > 0).then(|| StageTime {
                    stage,
                    p50: quantile(&mut times, 0.5),
                    p90: quantile(&mut times, 0.9),
                    samples,
                })
            };
            [
                of(StartStage::Scheduling, |start| start.scheduling),
                of(StartStage::Image, |start| start.image),
                of(StartStage::Loading, |start| start.loading),
                of(StartStage::Total, |start| Some(start.total)),
            ]
            .into_iter()
            .flatten()
            .map(|time| (kind.as_ref(), time))
        })
    }
}

fn start_of(pod: &Replica) -> Option<Start> {
    let milestones = &pod.milestones;
    let ready = milestones.ready?;
    let between = |from, to: Option<rheostat_reading::Timestamp>| Some(to?.since(from?).as_secs_f32());
    let total = ready.since(pod.created);
    // A pod that was ready the moment it was made is one whose beginning was not seen.
    (total > Duration::ZERO && total <= LONGEST).then(|| Start {
        scheduling: between(Some(pod.created), milestones.scheduled),
        image: between(milestones.scheduled, milestones.started),
        loading: between(milestones.started, Some(ready)),
        total: total.as_secs_f32(),
    })
}

fn quantile(times: &mut [f32], part: f64) -> Duration {
    times.sort_by(f32::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the slice"
    )]
    let place = ((times.len() as f64 * part).ceil() as usize).clamp(1, times.len().max(1)) - 1;
    Duration::from_secs_f32(times.get(place).copied().unwrap_or(0.0).max(0.0))
}

#[cfg(test)]
mod tests {
    use rheostat_reading::Timestamp;

    use super::*;
    use crate::observation::{Milestones, Schedule};
    use crate::queued_outside::QueuedOutside;

    fn observation(now: Timestamp, pods: Vec<Replica>) -> Observation {
        Observation {
            now,
            replicas: 1,
            pods,
            queued_outside: QueuedOutside::Untold,
            schedule: Schedule::default(),
            pool: None,
            partner: None,
        }
    }

    fn pod(name: &str, created: Timestamp, took: [u64; 3]) -> Replica {
        let after = |seconds| created.plus(Duration::from_secs(seconds));
        Replica {
            name: name.into(),
            hardware: "H100".into(),
            created,
            stage: Stage::Ready,
            milestones: Milestones {
                scheduled: Some(after(took[0])),
                started: Some(after(took[0] + took[1])),
                ready: Some(after(took.iter().sum())),
            },
            serving: None,
            gpu_utilization: None,
            power: None,
        }
    }

    #[test]
    fn starts_are_learned_by_stage_and_once_for_each_pod() {
        let created = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
        let mut starts = ColdStart::default();
        let pods: Vec<_> = (0..20)
            .map(|place| pod(&format!("chat-{place}"), created, [5, 20, 60 + place]))
            .collect();
        let seen = observation(created.plus(Duration::from_secs(200)), pods);
        let said = Duration::from_secs(600);
        assert_eq!(starts.expected(said, &seen), said, "nothing was seen");
        starts.learn(&seen);
        starts.learn(&seen);
        let learned: Vec<_> = starts.learned().collect();
        assert_eq!(learned.len(), 4);
        assert!(
            learned
                .iter()
                .all(|(kind, time)| *kind == "H100" && time.samples == 20)
        );
        assert_eq!(learned[2].1.p50, Duration::from_secs(69));
        let expected = starts.expected(said, &seen);
        assert!(
            expected < Duration::from_secs(110),
            "{expected:?}: what was said is outvoted"
        );
    }

    #[test]
    fn a_start_that_takes_longer_than_any_before_is_believed() {
        let created = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
        let mut slow = pod("chat-0", created, [5, 20, 60]);
        slow.stage = Stage::Starting;
        slow.milestones.ready = None;
        let seen = observation(created.plus(Duration::from_secs(400)), vec![slow]);
        let expected = ColdStart::default().expected(Duration::from_secs(120), &seen);
        assert_eq!(expected, Duration::from_secs(400));

        let mut young = seen.pods[0].clone();
        (young.name, young.created) = ("chat-1".into(), seen.now.minus(Duration::from_secs(10)));
        let both = observation(seen.now, vec![young, seen.pods[0].clone()]);
        let expected = ColdStart::default().expected(Duration::from_secs(120), &both);
        assert_eq!(
            expected,
            Duration::from_secs(400),
            "one that was just asked for hides nothing"
        );
    }
}
