use std::fmt;
use std::io::Write;
use std::path::Path;

use anyhow::bail;
use rheostat_crd::Surroundings;
use rheostat_decisions::{LogError, Reader, Record, Supposed, replay, what_if};
use serde::Serialize;

use crate::output;
use crate::policy_file::{COOLDOWN, PolicyFile};

/// Makes the decisions of `log` again and writes to `out` whether they are the same; `workload` alone where one is
/// named.
pub(crate) fn again(
    log: &Path,
    workload: Option<&str>,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut reader = Reader::open(log)?;
    let found = replay(only(&mut reader, workload))?;
    output::write(out, &text(&found, json)?)?;
    left_out(&reader);
    if !found.is_equal() {
        bail!("{} does not replay to the same decisions", log.display());
    }
    Ok(())
}

/// Makes the decisions of `log` again under the policy in the file `policy`, and writes to `out` what differs.
pub(crate) fn under(
    log: &Path,
    policy: &Path,
    workload: Option<&str>,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let policy = PolicyFile::read(policy)?;
    let mut reader = Reader::open(log)?;
    let found = what_if(only(&mut reader, workload), |record| suppose(&policy, record))?;
    output::write(out, &text(&found, json)?)?;
    left_out(&reader);
    if found.workloads.is_empty() {
        bail!("nothing in {} could be decided again", log.display());
    }
    Ok(())
}

fn text<T: fmt::Display + Serialize>(found: &T, json: bool) -> anyhow::Result<String> {
    if json {
        Ok(serde_json::to_string_pretty(found)? + "\n")
    } else {
        Ok(found.to_string())
    }
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

/// What is supposed of `record` under `other`; of bounds that it does not have, those of the log stay.
fn suppose(other: &PolicyFile, record: &Record) -> Supposed {
    let logged = &record.intent;
    Supposed {
        intent: other.policy.intent(&Surroundings {
            min_replicas: if other.has_min { 0 } else { logged.min_replicas },
            max_replicas: if other.has_max {
                u32::MAX
            } else {
                logged.max_replicas
            },
            cooldown_period: COOLDOWN,
            gpus_per_pod: Some(logged.replica.gpus),
        }),
        schedule: other.policy.schedule_at(record.observation.now),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io};

    use rheostat_decisions::DecisionLog;
    use rheostat_reading::Timestamp;
    use rheostat_sizing::{Observation, QueuedOutside, Schedule, Sizer};

    use super::*;

    const MANIFEST: &str = "apiVersion: rheostat.dev/v1alpha1\nkind: ScalingPolicy\nmetadata: {name: chat}\n\
                            spec: {concurrency: 8, replicas: {max: 50}}\n";

    fn log(directory: &Path) {
        let log = DecisionLog::on_disk(directory, 16 * 1024 * 1024).unwrap();
        for workload in ["team-a/chat", "team-b/chat"] {
            let intent = PolicyFile::parse("{concurrency: 8, replicas: {min: 2, max: 9}}")
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
        again(directory.path(), None, false, &mut io::sink()).unwrap();
        again(directory.path(), Some("team-a/chat"), true, &mut io::sink()).unwrap();
        assert!(again(directory.path(), Some("team-c/chat"), false, &mut io::sink()).is_err());
        let file = directory.path().join("decisions-00000001.jsonl");
        let text = fs::read_to_string(&file).unwrap();
        let (before, last) = text.trim_end().rsplit_once('\n').unwrap();
        let last = last.replace("\"active\":true", "\"active\":false");
        fs::write(&file, format!("{before}\n{last}\n")).unwrap();
        let error = again(&file, None, false, &mut io::sink())
            .unwrap_err()
            .to_string();
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
        let intent = suppose(&PolicyFile::parse(MANIFEST).unwrap(), &records[0]).intent;
        assert_eq!((intent.min_replicas, intent.max_replicas), (2, 50));
        let other = PolicyFile::parse("{utilization: 70%, replicas: {min: 1}}").unwrap();
        let intent = suppose(&other, &records[0]).intent;
        assert_eq!((intent.min_replicas, intent.max_replicas), (1, 9));

        let policy = directory.path().join("policy.yaml");
        fs::write(&policy, MANIFEST).unwrap();
        under(
            directory.path(),
            &policy,
            Some("team-b/chat"),
            false,
            &mut io::sink(),
        )
        .unwrap();
        fs::write(&policy, "kind: ScaledObject\nspec: {}\n").unwrap();
        let error = under(directory.path(), &policy, None, false, &mut io::sink()).unwrap_err();
        assert!(
            format!("{error:#}").contains("allowed is ScalingPolicy"),
            "{error:#}"
        );
    }
}
