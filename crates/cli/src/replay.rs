use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use rheostat_crd::{KIND, Policy, Surroundings};
use rheostat_decisions::{LogError, Reader, Record, Supposed, replay, what_if};
use serde_json::Value;

/// The longest policy that is read. Kubernetes takes no larger objects.
const LONGEST_POLICY: u64 = 1024 * 1024;

/// KEDA's `cooldownPeriod` where a ScaledObject has none. The log does not say what its ScaledObject has.
const COOLDOWN: Duration = Duration::from_secs(300);

/// Makes the decisions of `log` again and prints whether they are the same; `workload` alone where one is
/// named.
pub(crate) fn again(log: &Path, workload: Option<&str>, json: bool) -> anyhow::Result<()> {
    let mut reader = Reader::open(log)?;
    let found = replay(only(&mut reader, workload))?;
    if json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print!("{found}");
    }
    left_out(&reader);
    if !found.is_equal() {
        bail!("{} does not replay to the same decisions", log.display());
    }
    Ok(())
}

/// Makes the decisions of `log` again under the policy in the file `policy`, and prints what differs.
pub(crate) fn under(log: &Path, policy: &Path, workload: Option<&str>, json: bool) -> anyhow::Result<()> {
    let policy = Other::read(policy)?;
    let mut reader = Reader::open(log)?;
    let found = what_if(only(&mut reader, workload), |record| policy.suppose(record))?;
    if json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print!("{found}");
    }
    left_out(&reader);
    if found.workloads.is_empty() {
        bail!("nothing in {} could be decided again", log.display());
    }
    Ok(())
}

fn only<'a>(
    reader: &'a mut Reader,
    workload: Option<&'a str>,
) -> impl Iterator<Item = Result<Record, LogError>> + 'a {
    reader.filter(move |record| match (record, workload) {
        (Ok(record), Some(workload)) => *record.workload == *workload,
        _ => true,
    })
}

fn left_out(reader: &Reader) {
    let skipped = reader.skipped();
    if let Some(first) = &skipped.first {
        eprintln!("{} lines are no records, the first: {first}", skipped.unreadable);
    }
    if skipped.torn > 0 {
        eprintln!("{} files end in the middle of a line", skipped.torn);
    }
}

/// The policy of `--what-if`.
struct Other {
    policy: Policy,
    /// Whether it says how many replicas there may be; otherwise what the log has stays.
    has_min: bool,
    has_max: bool,
}

impl Other {
    /// Reads a manifest of a ScalingPolicy, or its `spec` alone.
    fn read(path: &Path) -> anyhow::Result<Self> {
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(LONGEST_POLICY + 1).read_to_string(&mut text))
            .with_context(|| format!("cannot read {}", path.display()))?;
        if text.len() as u64 > LONGEST_POLICY {
            bail!("{} is longer than {LONGEST_POLICY} bytes", path.display());
        }
        Self::parse(&text).with_context(|| format!("{} is no ScalingPolicy", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let value: Value = serde_saphyr::from_str(text)?;
        let spec = match (value.get("kind"), value.get("spec")) {
            (None, None) => &value,
            (Some(kind), Some(spec)) if kind == KIND => spec,
            (Some(kind), Some(_)) => bail!("kind is {kind}; allowed is {KIND}"),
            _ => bail!("a manifest has both `kind: {KIND}` and `spec`"),
        };
        let has = |key: &str| {
            spec.get("replicas")
                .is_some_and(|replicas| replicas.get(key).is_some())
        };
        Ok(Self {
            policy: Policy::read(spec)?,
            has_min: has("min"),
            has_max: has("max"),
        })
    }

    fn suppose(&self, record: &Record) -> Supposed {
        let logged = &record.intent;
        Supposed {
            intent: self.policy.intent(&Surroundings {
                min_replicas: if self.has_min { 0 } else { logged.min_replicas },
                max_replicas: if self.has_max {
                    u32::MAX
                } else {
                    logged.max_replicas
                },
                cooldown_period: COOLDOWN,
                gpus_per_pod: Some(logged.replica.gpus),
            }),
            schedule: self.policy.schedule_at(record.observation.now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rheostat_decisions::DecisionLog;
    use rheostat_reading::Timestamp;
    use rheostat_sizing::{Observation, QueuedOutside, Schedule, Sizer};

    use super::*;

    const MANIFEST: &str = "apiVersion: rheostat.dev/v1alpha1\nkind: ScalingPolicy\nmetadata: {name: chat}\n\
                            spec: {concurrency: 8, replicas: {max: 50}}\n";

    fn log(directory: &Path) {
        let log = DecisionLog::on_disk(directory, 16 * 1024 * 1024).unwrap();
        for workload in ["team-a/chat", "team-b/chat"] {
            let intent = Other::parse("{concurrency: 8, replicas: {min: 2, max: 9}}")
                .unwrap()
                .policy
                .intent(&Surroundings {
                    min_replicas: 0,
                    max_replicas: 100,
                    cooldown_period: COOLDOWN,
                    gpus_per_pod: None,
                });
            let (mut sizer, intent) = (Sizer::new(), intent.into());
            for step in 0..20 {
                let observation = Observation {
                    now: Timestamp::from_unix_nanos(1_780_000_000_000_000_000 + 5_000_000_000 * step),
                    replicas: 3,
                    pods: Vec::new(),
                    queued_outside: QueuedOutside::Untold,
                    schedule: Schedule::default(),
                    pool: None,
                    partner: None,
                };
                log.decide(workload, &mut sizer, &intent, observation);
            }
        }
    }

    #[test]
    fn a_log_is_replayed_and_a_changed_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        log(directory.path());
        again(directory.path(), None, false).unwrap();
        again(directory.path(), Some("team-a/chat"), true).unwrap();
        assert!(again(directory.path(), Some("team-c/chat"), false).is_err());
        let file = directory.path().join("decisions-00000001.jsonl");
        let text = fs::read_to_string(&file).unwrap();
        let (before, last) = text.trim_end().rsplit_once('\n').unwrap();
        let last = last.replace("\"active\":true", "\"active\":false");
        fs::write(&file, format!("{before}\n{last}\n")).unwrap();
        let error = again(&file, None, false).unwrap_err().to_string();
        assert!(error.contains("does not replay to the same decisions"), "{error}");
    }

    #[test]
    fn a_policy_says_what_it_says_and_the_log_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        log(directory.path());
        let records: Vec<Record> = Reader::open(directory.path())
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let intent = Other::parse(MANIFEST).unwrap().suppose(&records[0]).intent;
        assert_eq!((intent.min_replicas, intent.max_replicas), (2, 50));
        let intent = Other::parse("{utilization: 70%, replicas: {min: 1}}")
            .unwrap()
            .suppose(&records[0])
            .intent;
        assert_eq!((intent.min_replicas, intent.max_replicas), (1, 9));

        let policy = directory.path().join("policy.yaml");
        fs::write(&policy, MANIFEST).unwrap();
        under(directory.path(), &policy, Some("team-b/chat"), false).unwrap();
        fs::write(&policy, "kind: ScaledObject\nspec: {}\n").unwrap();
        let error = under(directory.path(), &policy, None, false).unwrap_err();
        assert!(
            format!("{error:#}").contains("allowed is ScalingPolicy"),
            "{error:#}"
        );
    }
}
