//! Decides for one workload by its policy, now and then, and remembers what came of it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use rheostat_cluster::Workload;
use rheostat_crd::{Policy, Pool, Surroundings};
use rheostat_decisions::DecisionLog;
use rheostat_fleet::FleetView;
use rheostat_policy::{Needs, PodInput};
use rheostat_reading::Timestamp;
use rheostat_sizing::{Decision, Intent, Learned, Observation, QueuedOutside, Schedule, Sizer};
use rheostat_steward::decode_learned;

use crate::observe::{self, FirstReady};
use crate::seen_pod::SeenPod;
use crate::{join, standing};

/// What is remembered of a workload between two decisions.
#[derive(Debug)]
pub(crate) struct Decider {
    /// `namespace/name`, as the decision log has it.
    name: String,
    sizer: Sizer,
    first_ready: FirstReady,
    /// Of the last pods that were seen, by this scaler or one before it: at zero there is none to ask.
    gpus_per_pod: Option<f64>,
    last: Option<Last>,
    /// The last decision that was due; those that something changed come in between.
    stepped: Option<Timestamp>,
    learned: Option<(Timestamp, Arc<Learned>)>,
    /// The hash of what another had learned, as text, when it was last taken over.
    adopted: Option<u64>,
}

/// The last decision and what it was made for.
#[derive(Clone, Debug)]
pub(crate) struct Last {
    pub(crate) decision: Arc<Decision>,
    pub(crate) intent: Arc<Intent>,
    /// The GPUs that the policy shares with others.
    pub(crate) pool: Option<Pool>,
    /// The HPA keeps so many, whatever is decided, while there are any.
    pub(crate) kept: u32,
    /// The pods as it saw them.
    pub(crate) pods: Arc<[SeenPod]>,
    /// The replica count that the decision before came to, where there was one.
    pub(crate) before: Option<u32>,
    /// Replicas that are asked for.
    pub(crate) replicas: u32,
    schedule: Schedule,
    allotment: Option<u32>,
}

/// What a decision looks at.
pub(crate) struct Look<'a> {
    pub(crate) now: Timestamp,
    pub(crate) workload: &'a Workload,
    /// Replicas that are asked for.
    pub(crate) replicas: u32,
    pub(crate) pods: &'a [PodInput],
    /// Requests that wait in front of the workload.
    pub(crate) queued_outside: &'a QueuedOutside,
    pub(crate) needs: &'a Needs,
    pub(crate) fleet: &'a FleetView,
    pub(crate) policy: &'a Policy,
    /// What the pool leaves to the workload, where it is in one and that is known.
    pub(crate) allotment: Option<u32>,
    /// What the other one of a pair needs.
    pub(crate) partner: Option<u32>,
}

/// Time between two decisions while nothing changes: that of the sizing's own steps.
const PERIOD: Duration = Duration::from_secs(5);
/// Evaluations come a little early at times. Without this every second decision would be a second late, and
/// the forecast, which counts in steps, would look too far.
const EARLY: Duration = Duration::from_millis(200);
/// What is learned is copied no more often: it is some 100 kB, and changes slowly. What a scaler learned since then
/// is lost when it stops.
const LEARNED_PERIOD: Duration = Duration::from_secs(10);

impl Decider {
    /// Of a workload that was not decided for yet.
    pub(crate) fn new(workload: &Workload, log: &DecisionLog) -> Self {
        let name = format!("{}/{}", workload.id.namespace, workload.id.name);
        log.begin(&name);
        Self {
            name,
            sizer: Sizer::new(),
            first_ready: FirstReady::default(),
            gpus_per_pod: None,
            last: None,
            stepped: None,
            learned: None,
            adopted: None,
        }
    }

    pub(crate) const fn last(&self) -> Option<&Last> {
        self.last.as_ref()
    }

    /// What it has learned, as of ten seconds ago at most.
    pub(crate) fn learned(&self) -> Option<&Arc<Learned>> {
        self.learned.as_ref().map(|(_, learned)| learned)
    }

    /// GPUs that its pods were last seen to hold each.
    pub(crate) const fn gpus_per_pod(&self) -> Option<f64> {
        self.gpus_per_pod
    }

    /// Takes over how many GPUs its pods held each when another saw them, where none was seen since.
    pub(crate) fn adopt_gpus(&mut self, gpus: f64) {
        self.gpus_per_pod = self.gpus_per_pod.or(Some(gpus));
    }

    /// Takes over what another has learned of the same workload, as the status has it: before the first
    /// decision, and whatever the leader has learned since while one is followed.
    pub(crate) fn adopt(&mut self, text: &str, follows: bool, log: &DecisionLog) {
        if self.last.is_some() && !follows {
            return;
        }
        let hash = hash(text);
        if self.adopted.replace(hash) == Some(hash) {
            return;
        }
        match decode_learned(text) {
            Ok(learned) => {
                // Reported as it is until the next decision: a status that is written meanwhile keeps it.
                self.learned = Some((Timestamp::default(), Arc::new(learned.clone())));
                log.adopt(&self.name, &mut self.sizer, learned);
            }
            Err(error) => {
                let (workload, error) = (&self.name, &error as &dyn std::error::Error);
                tracing::warn!(
                    workload,
                    error,
                    "what was learned cannot be read from the policy's status; it is learned anew"
                );
            }
        }
    }

    /// Decides where it is time to, or something has changed that a decision must not wait for.
    pub(crate) fn decide(&mut self, look: &Look<'_>, log: &DecisionLog) -> &Last {
        self.first_ready.follow(look.workload);
        let intent = self.intent(look);
        let schedule = look.policy.schedule_at(look.now);
        let sized = look.policy.gpus_per_replica().or(self.gpus_per_pod).is_some();
        let allotment = look.policy.pool().map(|_| match look.allotment {
            Some(allotment) if sized => allotment,
            // The next one shows how many GPUs a replica takes.
            Some(allotment) => allotment.min(look.replicas.saturating_add(1)),
            // While it is not known what others of the pool want, nothing is taken from what they may have.
            None => look.replicas,
        });
        let due = self.last.as_ref().is_none_or(|last| {
            self.stepped
                .is_none_or(|stepped| look.now.since(stepped) + EARLY >= PERIOD)
                || last.replicas != look.replicas
                || last.schedule != schedule
                || *last.intent != intent
                || last.allotment != allotment && last.is_bound_by(allotment)
                // Who waits for a workload that is at zero is not left to wait for the next step, too.
                || look.replicas == 0 && !last.decision.active && look.queued_outside.is_any()
        });
        let last = match self.last.take() {
            Some(last) if !due => last,
            before => self.anew(look, intent, schedule, allotment, before, log),
        };
        self.last.insert(last)
    }

    fn intent(&mut self, look: &Look<'_>) -> Intent {
        let workload = look.workload;
        self.gpus_per_pod = join::gpus_each(workload, look.fleet).or(self.gpus_per_pod);
        look.policy.intent(&Surroundings {
            min_replicas: match workload.idle_replicas {
                Some(0) => 0,
                _ => workload.min_replicas,
            },
            max_replicas: workload.max_replicas,
            cooldown_period: workload.cooldown_period,
            gpus_per_pod: self.gpus_per_pod,
        })
    }

    fn anew(
        &mut self,
        look: &Look<'_>,
        intent: Intent,
        schedule: Schedule,
        allotment: Option<u32>,
        before: Option<Last>,
        log: &DecisionLog,
    ) -> Last {
        let intent = match &before {
            Some(before) if *before.intent == intent => Arc::clone(&before.intent),
            _ => Arc::new(intent),
        };
        let due = self.stepped.map_or(look.now, |stepped| stepped.plus(PERIOD));
        let now = match due.since(look.now) <= EARLY {
            true => look.now.max(due),
            false => look.now,
        };
        self.stepped = match self.stepped {
            // The first period is cut short, by more or less: otherwise all workloads of a scaler would be
            // decided for in the same second of five.
            None => {
                let part = hash(&self.name) % PERIOD.as_nanos() as u64;
                Some(Timestamp::from_unix_nanos(now.unix_nanos().saturating_sub(part)))
            }
            Some(_) if now >= due => Some(now),
            stepped => stepped,
        };
        let pods = observe::replicas(
            look.workload,
            look.pods,
            look.fleet,
            look.needs,
            look.now,
            &self.first_ready,
        );
        let seen = look
            .pods
            .iter()
            .zip(&pods)
            .map(|(input, replica)| SeenPod::new(input, replica, look.needs, look.now))
            .collect();
        let observation = Observation {
            now,
            replicas: look.replicas,
            pods,
            queued_outside: look.queued_outside.clone(),
            schedule,
            pool: allotment,
            partner: look.partner,
        };
        let decision = log.decide(&self.name, &mut self.sizer, &intent, observation);
        if self
            .learned
            .as_ref()
            .is_none_or(|(at, _)| look.now.since(*at) >= LEARNED_PERIOD)
        {
            self.learned = Some((look.now, Arc::new(self.sizer.learned())));
        }
        Last {
            decision: Arc::new(decision),
            intent,
            pool: look.policy.pool().cloned(),
            kept: look.workload.min_replicas,
            pods: seen,
            before: before.map(|before| before.decision.replicas),
            replicas: look.replicas,
            schedule,
            allotment,
        }
    }
}

/// The same in every process.
fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Last {
    /// Whether another allotment of the pool could have led to another decision.
    fn is_bound_by(&self, allotment: Option<u32>) -> bool {
        let wants = standing::wants(&self.decision);
        [self.allotment, allotment]
            .into_iter()
            .flatten()
            .any(|allotment| allotment < wants)
    }
}
