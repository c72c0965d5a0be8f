use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use rheostat_reading::Clock;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::lease::wall_time;
use crate::notices::{Notice, Subject};
use crate::reason::bounded;
use crate::stats::Stats;

/// Writes notices as Kubernetes Events: what repeats itself becomes one Event with a count, and nobody gets too
/// many.
pub(crate) struct Recorder {
    client: kube::Client,
    instance: Arc<str>,
    clock: Clock,
    stats: Arc<Stats>,
    patience: Duration,
    /// What was written lately.
    written: BTreeMap<Notice, Written>,
    allowances: BTreeMap<Subject, Allowance>,
    failing: bool,
}

/// An Event that was written.
#[derive(Debug)]
struct Written {
    name: String,
    count: i32,
    at: Instant,
}

/// How many more Events about an object are allowed.
#[derive(Debug)]
struct Allowance {
    left: u32,
    /// When the allowance was last added to.
    at: Instant,
}

/// Who is said to have reported an Event.
const CONTROLLER: &str = "rheostat.dev/scaler";

/// Notices that may wait to be written. More come only where thousands of workloads change at once; what is
/// dropped then is counted, and their statuses tell the same.
pub(crate) const MOST_WAITING: usize = 256;

/// Events about one object that may come at once, and the time in which one more is allowed: a count that flaps
/// must not fill etcd. Kubernetes' own recorder allows 25 and one in five minutes.
const BURST: u32 = 10;
const ONE_MORE: Duration = Duration::from_secs(30);

/// The same notice within this time is one more of a series. Kubernetes forgets Events after an hour.
const SERIES: Duration = Duration::from_secs(600);

/// Least time between two Events of all.
const BETWEEN: Duration = Duration::from_millis(50);

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        while self.left < BURST && now.saturating_duration_since(self.at) >= ONE_MORE {
            self.left += 1;
            self.at += ONE_MORE;
        }
        if self.left == BURST {
            self.at = now;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

impl Recorder {
    pub(crate) fn new(
        client: kube::Client,
        instance: Arc<str>,
        clock: Clock,
        patience: Duration,
        stats: Arc<Stats>,
    ) -> Self {
        Self {
            client,
            instance,
            clock,
            stats,
            patience,
            written: BTreeMap::new(),
            allowances: BTreeMap::new(),
            failing: false,
        }
    }

    /// Until nobody sends notices any more.
    pub(crate) async fn run(mut self, mut notices: mpsc::Receiver<Notice>) {
        while let Some(notice) = notices.recv().await {
            let now = Instant::now();
            if !self.allow(&notice.about, now) {
                self.stats.events_dropped.inc();
                continue;
            }
            let written = tokio::time::timeout(self.patience, self.write(notice, now)).await;
            let problem = match written {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(crate::chain(&error)),
                Err(_) => Some(format!("no answer within {:?}", self.patience)),
            };
            let failed = problem.is_some();
            match problem {
                Some(problem) if !self.failing => tracing::warn!(problem, "Events cannot be written"),
                None if self.failing => tracing::info!("Events can be written again"),
                _ => {}
            }
            self.failing = failed;
            match failed {
                true => self.stats.event_failures.inc(),
                false => self.stats.events.inc(),
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }

    fn allow(&mut self, about: &Subject, now: Instant) -> bool {
        // Whoever was silent for so long has a full allowance again.
        self.allowances
            .retain(|_, allowance| now.saturating_duration_since(allowance.at) < ONE_MORE * BURST);
        let full = || Allowance { left: BURST, at: now };
        self.allowances
            .entry(about.clone())
            .or_insert_with(full)
            .take(now)
    }

    async fn write(&mut self, notice: Notice, now: Instant) -> Result<(), kube::Error> {
        self.written
            .retain(|_, written| now.saturating_duration_since(written.at) < SERIES);
        let api = Api::<Event>::namespaced(self.client.clone(), &notice.about.namespace);
        let time = MicroTime(wall_time(self.clock.now()));
        if let Some(written) = self.written.get_mut(&notice) {
            let count = written.count.saturating_add(1);
            let patch = json!({"series": {"count": count, "lastObservedTime": time}});
            match api
                .patch(&written.name, &PatchParams::default(), &Patch::Merge(patch))
                .await
            {
                Ok(_) => {
                    (written.count, written.at) = (count, now);
                    return Ok(());
                }
                // Somebody deleted it.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let event = self.event(&notice, time);
        let name = event.metadata.name.clone().unwrap_or_default();
        api.create(&PostParams::default(), &event).await?;
        let written = Written {
            name,
            count: 1,
            at: now,
        };
        self.written.insert(notice, written);
        Ok(())
    }

    fn event(&self, notice: &Notice, time: MicroTime) -> Event {
        let about = &notice.about;
        let moment = self.clock.now().unix_nanos();
        Event {
            metadata: ObjectMeta {
                // Of objects with long names only the beginning; the moment tells them apart.
                name: Some(format!("{}.{moment:x}", bounded_name(&about.name))),
                namespace: Some(about.namespace.clone()),
                ..ObjectMeta::default()
            },
            event_time: Some(time),
            type_: Some(if notice.warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(notice.reason.to_owned()),
            action: Some("Decide".to_owned()),
            note: Some(notice.note.clone()),
            regarding: Some(ObjectReference {
                api_version: Some(about.api_version.clone()),
                kind: Some(about.kind.to_owned()),
                namespace: Some(about.namespace.clone()),
                name: Some(about.name.clone()),
                uid: Some(about.uid.clone()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(bounded(&self.instance, LONGEST_INSTANCE)),
            ..Event::default()
        }
    }
}

/// Longest name of an instance that Kubernetes takes.
const LONGEST_INSTANCE: usize = 128;

/// Longest part of an Event's name that comes from its object: the whole may have 253 characters.
const LONGEST_NAME: usize = 200;

fn bounded_name(name: &str) -> &str {
    let name = name.get(..LONGEST_NAME).unwrap_or(name);
    name.trim_end_matches(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_used_up_and_grows_again() {
        let start = Instant::now();
        let mut allowance = Allowance {
            left: BURST,
            at: start,
        };
        let taken = (0..20).filter(|_| allowance.take(start)).count();
        assert_eq!(taken, 10);
        assert!(!allowance.take(start + Duration::from_secs(29)));
        assert!(allowance.take(start + Duration::from_secs(30)));
        assert!(!allowance.take(start + Duration::from_secs(31)));
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..20).filter(|_| allowance.take(later)).count(), 10);
    }

    #[test]
    fn names_stay_names() {
        assert_eq!(bounded_name("chat"), "chat");
        let long = format!("{}-x", "a".repeat(LONGEST_NAME - 1));
        assert_eq!(bounded_name(&long), "a".repeat(LONGEST_NAME - 1));
    }
}
