use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rheostat_reading::Timestamp;
use serde::{Deserialize, Serialize};

use crate::capacity::Room;
use crate::cost::Lengths;
use crate::finished::{self, Finished};
use crate::intent::{Objective, Slo};
use crate::observation::{Latency, Observation, Replica, Serving, Stage};
use crate::queued_outside::QueuedOutside;

/// What there is to do, from what the engines say.
///
/// Arrivals are what was finished and by how much more is in flight: a count of requests that is not capped
/// by what the replicas can do, as what they finish is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Demand {
    in_flight: BTreeMap<Arc<str>, f64>,
    outside: Option<f64>,
    /// Requests that were counted too early: those that finish are told over a window, later than they
    /// leave.
    owed: f64,
    #[serde(default)]
    finished: Finished,
    lengths: Option<Lengths>,
    started: bool,
    /// Whether there was anything to do when pods were ready last; `None` where none was yet.
    #[serde(default)]
    worked: Option<bool>,
    /// Seconds for which no pod has been ready, nor unready.
    #[serde(default)]
    replaced_for: f64,
    /// Seconds for which each pod has had more requests than it can do, in every look.
    #[serde(default)]
    queued: BTreeMap<Arc<str>, f64>,
}

/// What was seen of a workload in one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Pods that serve.
    pub(crate) ready: u32,
    /// Those of them that are known.
    pub(crate) known: u32,
    /// Those of them that are known or should be by now: all but those that are new.
    pub(crate) awaited: u32,
    /// Requests in flight, in front of the workload too; what unknown pods have is taken from the others.
    pub(crate) in_flight: f64,
    /// Those of them that wait.
    pub(crate) waiting: f64,
    /// Requests that arrive per second.
    pub(crate) rate: f64,
    /// How long they are.
    pub(crate) lengths: Lengths,
    /// Requests that finish per second, and the part of them that kept the objective, where known.
    pub(crate) kept: Option<(f64, f64)>,
    /// Seconds for which some pod has had more requests than it can do; 0 where none has.
    pub(crate) queued: f64,
    /// Requests that a pod finishes per second while it has more than it can do, on average over those that
    /// have had for long enough; `None` where none has.
    pub(crate) at_most: Option<f64>,
    /// Places and KV tokens of a replica, the least that a pod tells.
    pub(crate) room: Room,
    /// Where no pod serves any more, and some worked when they did.
    pub(crate) gone: Option<Gone>,
    /// GPUs' busy part, added up over the ready pods; `None` unless all the known ones tell.
    pub(crate) busy: Option<f64>,
}

/// Pods that worked, and are not ready any more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Gone {
    /// Some are still there: what becomes of what they have nobody tells.
    Unready,
    /// They are deleted, and what they had with them; others take their place, for so many seconds.
    For(f64),
}

/// How long requests are taken to be before any has told: a page in, a paragraph out (the medians of the
/// public conversation traces of 2023 and 2024 lie around it).
const USUAL: Lengths = Lengths {
    prompt: 1000.0,
    output: 200.0,
};

/// What a new mean length counts beside those before, in each step: a change of the mix is followed in some
/// minutes.
const LENGTHS_WEIGHT: f64 = 0.02;

/// GPUs that are busy for no more of their time, all together, do nothing: drivers and monitors show some, and
/// without it nothing that is sized by utilisation would ever be idle.
pub(crate) const IDLE: f64 = 0.01;

/// One look's mean counts for no more than so many times what is known: what a pod tells wrong once is no new mix.
const MOST_CHANGED: f64 = 4.0;

/// Readings older than this are nothing that is known: three scrapes were missed.
const FRESH: Duration = Duration::from_secs(15);

impl Demand {
    /// What is still true when nothing was seen for a while.
    pub(crate) fn after_a_gap(&self) -> Self {
        Self {
            worked: self.worked,
            ..Self::default()
        }
    }

    /// Takes what is seen now, `seconds` after the step before.
    pub(crate) fn pass(&mut self, seen: &Observation, seconds: f64, objective: &Objective) -> Seen {
        let ready: Vec<&Replica> = seen.ready().collect();
        let current = |pod: &&Replica| {
            let serving = pod
                .serving
                .filter(|serving| seen.now.since(serving.taken_at) <= FRESH && serving.is_plausible())?;
            // Without the rate, what was finished would count as nothing, and a full fleet as idle.
            // A pod that is new has finished next to nothing.
            let tells = !matches!(objective, Objective::Slo(_))
                || serving.request_rate.is_some()
                || pod.is_new(seen.now);
            serving.in_flight().filter(|_| tells).map(|_| serving)
        };
        let serving: Vec<(&Replica, Serving)> = ready
            .iter()
            .filter_map(|pod| Some((*pod, current(pod)?)))
            .collect();
        let unread = ready
            .iter()
            .filter(|pod| current(pod).is_none() && !pod.is_new(seen.now))
            .count();
        // A pod that is not known is as busy as the others; one that is new has no more than has just come.
        let scale = if serving.is_empty() {
            1.0
        } else {
            (serving.len() + unread) as f64 / serving.len() as f64
        };
        let of = |serving: &Serving| serving.in_flight().map_or(0.0, |count| count.0);
        let in_flight: f64 = serving.iter().map(|(_, serving)| of(serving)).sum();
        let waiting: f64 = serving
            .iter()
            .map(|(_, serving)| serving.waiting.map_or(0.0, |count| count.0))
            .sum();
        let outside = seen.queued_outside.count().map_or(0.0, |count| count.0);
        let works = in_flight > 0.0
            || match objective {
                // Whoever keeps GPUs busy need not be an engine.
                Objective::Utilization(_) => busy(&ready).is_none_or(|busy| busy > IDLE),
                Objective::Slo(_) | Objective::Concurrency(_) => unread > 0,
            };
        let gone = self.lose(seen, !ready.is_empty(), works, seconds);
        let finished = self.finished.pass(seen, &serving, seconds);
        self.learn_lengths(&serving);
        let rate = self.arrivals(seen, &serving, finished, seconds) * scale;
        let at_most = self.finished_while_queued(&serving, seconds);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (known, awaited) = match objective {
            // Whoever keeps GPUs busy need not be an engine.
            Objective::Utilization(_) => {
                let tell = ready.iter().filter(|pod| pod.gpu_utilization.is_some());
                (tell.count(), ready.len())
            }
            Objective::Slo(_) | Objective::Concurrency(_) => (serving.len(), serving.len() + unread),
        };
        Seen {
            ready: number(ready.len()),
            known: number(known),
            awaited: number(awaited),
            in_flight: in_flight * scale + outside,
            waiting: waiting * scale + outside,
            rate,
            lengths: self.lengths.unwrap_or(USUAL),
            kept: kept(seen.now, &serving, objective).map(|(requests, part)| (requests * scale, part)),
            queued: self.queued.values().copied().fold(0.0, f64::max),
            at_most,
            room: Room {
                sequences: least(&serving, |serving| serving.max_sequences.map(|count| count.0)),
                kv_tokens: least(&serving, |serving| serving.kv_tokens.map(|count| count.0)),
            },
            gone,
            busy: busy(&ready),
        }
    }

    /// What became of pods that worked when they were ready, where none is any more.
    fn lose(&mut self, seen: &Observation, any_ready: bool, works: bool, seconds: f64) -> Option<Gone> {
        let unready = || seen.pods.iter().filter(|pod| pod.stage == Stage::Unready);
        if any_ready {
            // Those that went before the last one count, too.
            let had_some = |pod: &Replica| self.in_flight.get(&pod.name).is_some_and(|count| *count > 0.0);
            self.worked = Some(works || unready().any(had_some));
        }
        let some_left = any_ready || unready().next().is_some();
        self.replaced_for = if some_left {
            0.0
        } else {
            self.replaced_for + seconds
        };
        if any_ready || seen.replicas == 0 || self.worked == Some(false) {
            return None;
        }
        if some_left {
            return Some(Gone::Unready);
        }
        // Nobody knows of a fleet that was met without any whether it worked.
        let is_met = self.worked.is_some() || seen.pods.iter().any(|pod| pod.stage == Stage::Terminating);
        is_met.then_some(Gone::For(self.replaced_for))
    }

    fn arrivals(
        &mut self,
        seen: &Observation,
        serving: &[(&Replica, Serving)],
        finished: f64,
        seconds: f64,
    ) -> f64 {
        let mut more = 0.0;
        let mut in_flight = BTreeMap::new();
        for (pod, serving) in serving {
            let now = serving.in_flight().map_or(0.0, |count| count.0);
            // A pod that is new had none before; one that is only known for the first time did not get all that it has
            // since the last look.
            let before = self.in_flight.get(&pod.name).copied();
            let unseen = if self.started && pod.is_new(seen.now) {
                0.0
            } else {
                now
            };
            more += now - before.unwrap_or(unseen);
            in_flight.insert(Arc::clone(&pod.name), now);
        }
        // A pod that is not known now is met again where it was left; one that is gone is forgotten.
        for pod in &seen.pods {
            if matches!(pod.stage, Stage::Ready | Stage::Unready)
                && let Some(before) = self.in_flight.get(&pod.name)
            {
                in_flight.entry(Arc::clone(&pod.name)).or_insert(*before);
            }
        }
        self.in_flight = in_flight;
        let outside = seen.queued_outside.count().map(|count| count.0);
        if let (Some(now), Some(before)) = (outside, self.outside) {
            more += now - before;
        } else if let (Some(now), true) = (outside, self.started) {
            more += now;
        }
        // While it is not known, nobody has come for all that is seen of it: what waited before is not new after.
        if !matches!(seen.queued_outside, QueuedOutside::Unknown(_)) {
            self.outside = outside;
        }
        self.started = true;
        let came = finished * seconds + more + self.owed;
        // What is owed is settled within the window over which finished requests are told; more is doubt.
        self.owed = came.min(0.0).max(-finished * LONGEST_WINDOW);
        came.max(0.0) / seconds.max(1e-9)
    }

    fn finished_while_queued(&mut self, serving: &[(&Replica, Serving)], seconds: f64) -> Option<f64> {
        let mut queued = BTreeMap::new();
        let (mut finished, mut pods) = (0.0, 0.0);
        for (pod, serving) in serving {
            let (Some(waiting), Some(rate)) = (serving.waiting, serving.request_rate) else {
                continue;
            };
            if waiting.0 < FEWEST_QUEUED || waiting.0 < rate.0 * LEAST_QUEUE || rate.0 <= 0.0 {
                continue;
            }
            let lasting = self.queued.get(&pod.name).copied().unwrap_or(0.0) + seconds;
            if lasting >= QUEUED_FOR {
                finished += rate.0;
                pods += 1.0;
            }
            queued.insert(Arc::clone(&pod.name), lasting);
        }
        self.queued = queued;
        // Where few queue, they are slower than the others, or get more: what they finish is not what a replica can do.
        (pods > 0.0 && 2.0 * pods >= serving.len() as f64).then(|| finished / pods)
    }

    fn learn_lengths(&mut self, serving: &[(&Replica, Serving)]) {
        let (mut prompt, mut output, mut requests) = (0.0, 0.0, 0.0);
        for (_, serving) in serving {
            if let (Some(prompts), Some(outputs), Some(rate)) = (
                serving.prompt_tokens_mean,
                serving.generation_tokens_mean,
                serving.request_rate,
            ) && rate.0 > 0.0
            {
                prompt += prompts.0 * rate.0;
                output += outputs.0 * rate.0;
                requests += rate.0;
            }
        }
        if requests <= 0.0 {
            return;
        }
        let found = Lengths {
            prompt: prompt / requests,
            output: (output / requests).max(1.0),
        };
        self.lengths = Some(match self.lengths {
            None => found,
            Some(before) => {
                let towards = |before: f64, found: f64| {
                    let found = found.clamp(before / MOST_CHANGED, before.max(1.0) * MOST_CHANGED);
                    before + LENGTHS_WEIGHT * (found - before)
                };
                Lengths {
                    prompt: towards(before.prompt, found.prompt),
                    output: towards(before.output, found.output),
                }
            }
        });
    }
}

/// One request that waits is no queue: where they come at even times, every look may find the one that has just
/// come.
const FEWEST_QUEUED: f64 = 2.0;

/// Requests must have queued for so long, in seconds, before what is finished meanwhile is taken for all that
/// the pods can do. Half of the window over which engines tell it: sooner, it is mostly what was finished
/// before, and a burst that is over in a moment would look as if nothing could be done about it.
const QUEUED_FOR: f64 = 30.0;

/// What waits is a queue where it takes so long to work off, in seconds. A request that has come since the last
/// iteration waits too, in an engine that has room for it.
const LEAST_QUEUE: f64 = 1.0;

/// Seconds over which engines tell what they finished, at most.
const LONGEST_WINDOW: f64 = 60.0;

fn least(serving: &[(&Replica, Serving)], of: impl Fn(&Serving) -> Option<f64>) -> Option<f64> {
    serving
        .iter()
        .filter_map(|(_, serving)| of(serving))
        .min_by(f64::total_cmp)
}

fn busy(ready: &[&Replica]) -> Option<f64> {
    let parts: Vec<f64> = ready
        .iter()
        .filter_map(|pod| Some(pod.gpu_utilization?.0))
        .collect();
    (!parts.is_empty()).then(|| parts.iter().sum::<f64>() * ready.len() as f64 / parts.len() as f64)
}

/// Requests that finish per second and the part of them that kept the objective.
fn kept(now: Timestamp, serving: &[(&Replica, Serving)], objective: &Objective) -> Option<(f64, f64)> {
    let Objective::Slo(slo) = objective else {
        return None;
    };
    let window = finished::window(serving);
    let (mut requests, mut kept) = (0.0, 0.0);
    for (pod, serving) in serving {
        let rate = finished::of_pod(pod, serving, now, window);
        if rate > 0.0
            && let Some(part) = part_kept(serving, slo)
        {
            requests += rate;
            kept += rate * part;
        }
    }
    (requests > 0.0).then(|| (requests, kept / requests))
}

/// The least of the parts that kept each latency; `None` where none of them is told.
fn part_kept(serving: &Serving, slo: &Slo) -> Option<f64> {
    let part = |latency: Option<Latency>, limit: Option<Duration>| Some(latency?.within(limit?).0);
    // What counts is the mean of each request. Where the engine tells only of single tokens, their mean stands
    // for it: their quantiles show the gaps that other prompts make, which even out.
    let itl = part(serving.tpot, slo.itl).or_else(|| {
        let over = serving.itl?.mean.0 / slo.itl?.as_secs_f64().max(1e-6);
        Some(((1.0 + ITL_SPREAD - over) / (2.0 * ITL_SPREAD)).clamp(0.0, 1.0))
    });
    [part(serving.ttft, slo.ttft), itl, part(serving.e2e, slo.e2e)]
        .into_iter()
        .flatten()
        .min_by(f64::total_cmp)
}

/// Requests' mean times between tokens spread by this part around the engine's.
const ITL_SPREAD: f64 = 0.3;

#[cfg(test)]
pub(crate) mod tests {
    use rheostat_reading::{Count, PerSecond};

    use super::*;
    use crate::observation::{Milestones, Schedule};

    /// A ready pod with so many requests waiting that finishes `rate` a second.
    pub(crate) fn pod(name: &str, waiting: f64, rate: f64) -> (Replica, Serving) {
        let serving = Serving {
            taken_at: Timestamp::default(),
            window: Duration::from_secs(60),
            waiting: Some(Count(waiting)),
            running: Some(Count(8.0)),
            kv_cache_usage: None,
            kv_tokens: None,
            max_sequences: None,
            request_rate: Some(PerSecond(rate)),
            prompt_token_rate: None,
            generation_token_rate: None,
            prompt_tokens_mean: None,
            generation_tokens_mean: None,
            preemption_rate: None,
            ttft: None,
            itl: None,
            tpot: None,
            e2e: None,
        };
        let replica = Replica {
            name: name.into(),
            hardware: "".into(),
            created: Timestamp::default(),
            stage: Stage::Ready,
            milestones: Milestones::default(),
            serving: Some(serving),
            gpu_utilization: None,
            power: None,
        };
        (replica, serving)
    }

    #[test]
    fn what_is_finished_counts_for_all_only_where_a_queue_stands() {
        let mut demand = Demand::default();
        let mut look = |pods: &[(Replica, Serving)]| {
            let serving: Vec<_> = pods.iter().map(|(pod, serving)| (pod, *serving)).collect();
            demand.finished_while_queued(&serving, 10.0)
        };
        let queued = [pod("a", 30.0, 2.0), pod("b", 0.0, 0.1)];
        assert_eq!(look(&queued), None, "a burst");
        assert_eq!(look(&queued), None);
        assert_eq!(look(&queued), Some(2.0), "not held down by the pod that is new");
        let one_of_three = [queued.to_vec(), vec![pod("c", 0.0, 7.0)]].concat();
        assert_eq!(look(&one_of_three), None, "it is that pod which is slow");
        assert_eq!(look(&[pod("a", 1.0, 0.5)]), None, "between two iterations");
        assert_eq!(look(&queued), None, "begun anew");
    }

    const SLO: Slo = Slo {
        ttft: Some(Duration::from_secs(3)),
        itl: None,
        e2e: None,
        attainment: rheostat_reading::Ratio(0.99),
    };

    /// Pods at a time; all have been ready from the start.
    fn seen_at(seconds: u64, pods: Vec<Replica>) -> Observation {
        let now = Timestamp::from_unix_nanos(seconds * 1_000_000_000);
        let told = |mut pod: Replica| {
            pod.milestones.ready = Some(Timestamp::default());
            if let Some(serving) = &mut pod.serving {
                serving.taken_at = now;
            }
            pod
        };
        Observation {
            now,
            replicas: u32::try_from(pods.len()).unwrap(),
            pods: pods.into_iter().map(told).collect(),
            queued_outside: QueuedOutside::Untold,
            schedule: Schedule::default(),
            pool: None,
            partner: None,
        }
    }

    #[test]
    fn what_a_pod_has_when_it_is_first_known_has_not_just_come() {
        let mut demand = Demand::default();
        let mut look = |second: u64, known: &[&str]| {
            let pods = ["a", "b"].map(|name| {
                let mut pod = pod(name, 92.0, 5.0).0;
                pod.serving = pod.serving.filter(|_| known.contains(&name));
                pod
            });
            let found = demand.pass(&seen_at(second, pods.into()), 5.0, &Objective::Slo(SLO));
            (found.known, found.rate)
        };
        assert_eq!(look(1000, &[]), (0, 0.0), "a scaler that has just begun to ask");
        assert_eq!(look(1005, &["a", "b"]), (2, 10.0), "what they finish");
        assert_eq!(look(1010, &["a"]), (1, 10.0));
        assert_eq!(look(1015, &["a", "b"]), (2, 10.0));
    }

    #[test]
    fn what_was_in_flight_when_all_pods_became_unready_is_not_none() {
        use Stage::{Pending, Ready, Starting, Terminating, Unready};
        let told = |place: usize, stage: Stage, running: f64| {
            let mut pod = pod(&format!("pod-{place}"), running, running).0;
            pod.stage = stage;
            pod.serving = pod.serving.filter(|_| stage == Ready).map(|serving| Serving {
                running: Some(Count(running)),
                ..serving
            });
            pod
        };
        let mut demand = Demand::default();
        let mut look = |second: u64, pods: &[(Stage, f64)]| {
            let pods = pods.iter().enumerate();
            let pods = pods.map(|(place, (stage, running))| told(place, *stage, *running));
            let seen = seen_at(second, pods.collect());
            demand.pass(&seen, 5.0, &Objective::Slo(SLO)).gone
        };
        assert_eq!(look(1000, &[(Starting, 0.0)]), None, "from zero");
        assert_eq!(look(1005, &[(Ready, 40.0), (Ready, 0.0)]), None);
        // One node is cut off, then the other; after minutes the pods are deleted, and others wait for a node.
        assert_eq!(look(1010, &[(Unready, 0.0), (Ready, 0.0)]), None);
        for second in [1015, 1020, 1300] {
            let gone = look(second, &[(Unready, 0.0), (Unready, 0.0)]);
            assert_eq!(gone, Some(Gone::Unready), "for as long as it is so");
        }
        assert_eq!(
            look(1305, &[(Terminating, 0.0), (Pending, 0.0)]),
            Some(Gone::For(5.0))
        );
        assert_eq!(look(1310, &[(Pending, 0.0)]), Some(Gone::For(10.0)));
        assert_eq!(look(5005, &[(Ready, 0.0)]), None);
        assert_eq!(look(5010, &[(Unready, 0.0)]), None, "there was nothing to do");
        let met = |stage: Stage| {
            let seen = seen_at(1000, vec![told(0, stage, 0.0)]);
            Demand::default().pass(&seen, 5.0, &Objective::Slo(SLO)).gone
        };
        assert_eq!(met(Unready), Some(Gone::Unready), "a scaler that has just begun");
        assert_eq!(met(Terminating), Some(Gone::For(5.0)));
        assert_eq!(met(Pending), None);
    }

    #[test]
    fn gpus_that_rest_without_an_engine_are_idle_also_when_their_pod_goes() {
        let look = |busy: f64| {
            let mut demand = Demand::default();
            let mut pod = pod("a", 0.0, 0.0).0;
            pod.serving = None;
            pod.gpu_utilization = Some(rheostat_reading::Ratio(busy));
            let objective = Objective::Utilization(rheostat_reading::Ratio(0.7));
            demand.pass(&seen_at(1000, vec![pod.clone()]), 5.0, &objective);
            (pod.stage, pod.gpu_utilization) = (Stage::Unready, None);
            demand.pass(&seen_at(1005, vec![pod]), 5.0, &objective).gone
        };
        assert_eq!(look(0.0), None);
        assert_eq!(look(0.5), Some(Gone::Unready));
    }

    #[test]
    fn a_pod_that_is_new_is_not_taken_to_have_the_queue_of_the_others() {
        let at = |seconds: u64| Timestamp::from_unix_nanos(seconds * 1_000_000_000);
        let look = |since_ready: u64| {
            let mut old = pod("old", 92.0, 8.0).0;
            let mut other = pod("other", 0.0, 0.0).0;
            other.serving = None;
            let now = at(1000);
            old.milestones.ready = Some(at(0));
            other.milestones.ready = Some(at(1000 - since_ready));
            if let Some(serving) = &mut old.serving {
                serving.taken_at = now;
            }
            let seen = Observation {
                now,
                replicas: 2,
                pods: vec![old, other],
                queued_outside: QueuedOutside::Untold,
                schedule: Schedule::default(),
                pool: None,
                partner: None,
            };
            Demand::default().pass(&seen, 5.0, &Objective::Slo(SLO))
        };
        let (new, unread) = (look(4), look(40));
        assert_eq!((new.in_flight, new.rate), (100.0, 8.0));
        assert_eq!((new.ready, new.known, new.awaited), (2, 1, 1));
        assert_eq!((unread.in_flight, unread.rate), (200.0, 16.0));
        assert_eq!((unread.ready, unread.known, unread.awaited), (2, 1, 2));
    }
}
