use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rheostat_reading::Timestamp;
use serde::{Deserialize, Serialize};

use crate::observation::{Observation, Replica, Serving};

/// Requests that all pods together finish.
///
/// Each pod tells it over a window, or over less where it is watched for less. The rates of pods that are younger than
/// the window must not be added to those of older ones as they are: what they took over is still in the older ones'
/// windows and would count twice, and the demand of a fleet that has just grown look twice as high. And what a pod
/// finished that is gone was finished.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finished {
    /// Requests per second of each pod over the common window, when it was last known.
    each: BTreeMap<Arc<str>, f64>,
    /// Of each pod that is not ready any more, as long as the window reaches back to when it was.
    gone: BTreeMap<Arc<str>, Gone>,
}

/// What a pod finished before it left.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Gone {
    /// Requests per second over the window.
    rate: f64,
    /// Seconds since that was told last.
    since: f64,
    /// Seconds.
    window: f64,
}

impl Finished {
    /// Requests per second over the common window, by what known pods tell now, `seconds` after the step before.
    pub(crate) fn pass(&mut self, seen: &Observation, known: &[(&Replica, Serving)], seconds: f64) -> f64 {
        let window = window(known);
        let told: BTreeMap<_, _> = known
            .iter()
            .map(|(pod, serving)| (Arc::clone(&pod.name), of_pod(pod, serving, seen.now, window)))
            .collect();
        let ready: BTreeSet<&str> = seen.ready().map(|pod| &*pod.name).collect();
        // A pod that is ready and not known now may tell on.
        let (mut each, left): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.each)
            .into_iter()
            .partition(|(name, _)| ready.contains(&**name));
        let rate: f64 = told.values().sum();
        each.extend(told);
        self.each = each;
        let left = left.into_iter().filter(|(_, rate)| *rate > 0.0);
        self.gone.extend(left.map(|(name, rate)| {
            let gone = Gone {
                rate,
                since: 0.0,
                window,
            };
            (name, gone)
        }));
        // One that is ready again tells of it itself.
        self.gone.retain(|name, gone| {
            gone.since += seconds;
            gone.since < gone.window && !ready.contains(&**name)
        });
        let gone = self.gone.values();
        rate + gone
            .map(|gone| gone.rate * (1.0 - gone.since / gone.window))
            .sum::<f64>()
    }
}

/// The longest time over which one of them tells what it finished, in seconds.
pub(crate) fn window(known: &[(&Replica, Serving)]) -> f64 {
    known
        .iter()
        .map(|(_, serving)| serving.window.as_secs_f64())
        .fold(0.0, f64::max)
}

/// Requests that a pod finished over the last `window` seconds, per second of it.
///
/// One that has served for less than that finished none before. One that is only watched for less, as after an agent's
/// restart, is taken to have gone on as it does.
pub(crate) fn of_pod(pod: &Replica, serving: &Serving, now: Timestamp, window: f64) -> f64 {
    let Some(rate) = serving.request_rate else {
        return 0.0;
    };
    let served = pod.served(now).max(serving.window).as_secs_f64();
    rate.0 * (served / window.max(1e-9)).min(1.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::demand::tests::pod;
    use crate::observation::Schedule;
    use crate::queued_outside::QueuedOutside;

    const STEP: u64 = 5;
    const WINDOW: u64 = 60;

    /// Pods with an engine that counts what it finishes, step by step.
    #[derive(Default)]
    struct Fleet {
        now: u64,
        pods: Vec<(Arc<str>, u64, Vec<f64>)>,
        finished: Finished,
        /// Over which each is watched, at most; `None` for as long as it is there.
        watched: Option<u64>,
    }

    impl Fleet {
        fn set(&mut self, from: usize, to: usize) {
            let now = self.now;
            self.pods = (from..to)
                .map(|number| {
                    let name: Arc<str> = format!("chat-{number}").into();
                    let old = self.pods.iter().find(|pod| pod.0 == name).cloned();
                    old.unwrap_or((name, now, Vec::new()))
                })
                .collect();
        }

        /// A step in which they finish `rate` together; what is told of it.
        fn step(&mut self, rate: f64) -> f64 {
            self.now += STEP;
            let each = rate / self.pods.len() as f64;
            let mut replicas = Vec::new();
            for (name, since, counted) in &mut self.pods {
                counted.push(each * STEP as f64);
                let watched = self.watched.unwrap_or(WINDOW).min(self.now - *since);
                let last = counted.iter().rev().take((watched / STEP) as usize);
                let (mut replica, serving) = pod(name, 0.0, last.sum::<f64>() / watched as f64);
                replica.milestones.ready = Some(at(*since));
                replica.serving = Some(Serving {
                    window: Duration::from_secs(watched),
                    ..serving
                });
                replicas.push(replica);
            }
            let seen = Observation {
                now: at(self.now),
                replicas: replicas.len() as u32,
                pods: replicas,
                queued_outside: QueuedOutside::Untold,
                schedule: Schedule::default(),
                pool: None,
                partner: None,
            };
            let known: Vec<_> = seen.ready().map(|pod| (pod, pod.serving.unwrap())).collect();
            self.finished.pass(&seen, &known, STEP as f64)
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_nanos((1_000_000 + seconds) * 1_000_000_000)
    }

    fn assert_near(told: f64, is: f64) {
        assert!((told - is).abs() < 1e-6 * is, "{told} is told, {is} is right");
    }

    #[test]
    fn a_load_that_moves_to_new_pods_does_not_count_twice() {
        let mut fleet = Fleet::default();
        fleet.set(0, 1);
        (0..20).for_each(|_| assert_near(fleet.step(20.0), 20.0));
        for pods in [2, 6, 12] {
            fleet.set(0, pods);
            (0..5).for_each(|_| assert_near(fleet.step(20.0), 20.0));
        }
    }

    #[test]
    fn what_pods_finished_that_are_gone_was_finished() {
        let mut fleet = Fleet::default();
        fleet.set(0, 6);
        (0..20).for_each(|_| assert_near(fleet.step(18.0), 18.0));
        fleet.set(2, 5);
        // Those that stay finish all from now on, and tell of it over a minute.
        (0..20).for_each(|_| assert_near(fleet.step(18.0), 18.0));
        assert!(fleet.finished.gone.is_empty(), "{:?}", fleet.finished);
        assert_eq!(fleet.finished.each.len(), 3);
    }

    #[test]
    fn a_pod_that_is_ready_by_turns_does_not_count_again_each_time() {
        let mut fleet = Fleet::default();
        fleet.set(0, 3);
        (0..20).for_each(|_| assert_near(fleet.step(9.0), 9.0));
        let away = fleet.pods[2].clone();
        for _ in 0..6 {
            fleet.set(0, 2);
            assert_near(fleet.step(6.0), 9.0 - 3.0 * STEP as f64 / WINDOW as f64);
            // It went on meanwhile.
            fleet.pods.push(away.clone());
            assert_near(fleet.step(9.0), 9.0);
        }
    }

    #[test]
    fn pods_that_are_watched_anew_tell_what_they_do() {
        let mut fleet = Fleet::default();
        fleet.set(0, 3);
        (0..20).for_each(|_| assert_near(fleet.step(9.0), 9.0));
        fleet.watched = Some(STEP);
        assert_near(fleet.step(12.0), 12.0);
    }
}
