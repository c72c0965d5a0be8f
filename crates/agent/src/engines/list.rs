use std::collections::HashSet;
use std::sync::Arc;

use rheostat_engines::{Target, TargetId};
use rheostat_proto::{LONGEST_TARGET_ID, agent, engine_target_from_proto};

/// A subscriber's list with what is wrong in it found out.
#[derive(Debug, Default)]
pub(crate) struct CheckedList {
    /// In the order of the list.
    pub(crate) named: Vec<Named>,
}

/// One entry of a list.
#[derive(Debug)]
pub(crate) struct Named {
    /// The subscriber's own name of the target. Others may have the same for another, so that it
    /// serves for nothing but to answer.
    pub(crate) name: String,
    /// The target with our own name, or why it cannot be scraped.
    pub(crate) target: Result<(TargetId, Arc<Target>), String>,
}

impl CheckedList {
    /// Reads `most` targets of the list; as many more are refused by name, the rest is not looked at.
    /// Neither is what has no name, or one that is taken or too long: no report could refer to it.
    pub(crate) fn new(list: &agent::EngineList, most: usize) -> Self {
        let mut names = HashSet::new();
        let mut named: Vec<Named> = Vec::new();
        for target in list.targets.iter().take(most.saturating_mul(2)) {
            let name = &target.id;
            if name.is_empty() || name.len() > LONGEST_TARGET_ID || !names.insert(name) {
                tracing::debug!("an engine target without a name of its own is left out");
                continue;
            }
            let checked = if named.len() < most {
                engine_target_from_proto(target)
                    .map(|target| (target.id(), Arc::new(target)))
                    .map_err(|malformed| malformed.to_string())
            } else {
                Err(format!("the list is too long: {most} targets are accepted"))
            };
            named.push(Named {
                name: name.clone(),
                target: checked,
            });
        }
        Self { named }
    }

    /// The targets that can be scraped.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &(TargetId, Arc<Target>)> {
        self.named.iter().filter_map(|named| named.target.as_ref().ok())
    }

    /// The names of the others, with the reasons.
    pub(crate) fn malformed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.named
            .iter()
            .filter_map(|named| Some((named.name.as_str(), named.target.as_ref().err()?.as_str())))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::engines) fn wire(name: &str, port: u32) -> agent::EngineTarget {
        agent::EngineTarget {
            id: name.into(),
            namespace: "team-a".into(),
            pod: "llm-0".into(),
            address: "10.0.0.7".into(),
            port,
            window_millis: 60_000,
            period_millis: 2_000,
            ..Default::default()
        }
    }

    pub(in crate::engines) fn list(
        targets: impl IntoIterator<Item = agent::EngineTarget>,
    ) -> agent::EngineList {
        agent::EngineList {
            targets: targets.into_iter().collect(),
        }
    }

    #[test]
    fn one_bad_target_spoils_no_other() {
        let checked = CheckedList::new(&list([wire("a", 0), wire("b", 8000)]), 10);
        assert_eq!(checked.targets().count(), 1);
        let malformed: Vec<_> = checked.malformed().collect();
        assert_eq!(malformed, [("a", "port \"0\" is not accepted: 1 to 65535")]);
    }

    #[test]
    fn what_cannot_be_answered_is_left_out() {
        let long = "x".repeat(LONGEST_TARGET_ID + 1);
        let targets = [wire("", 1), wire(&long, 2), wire("a", 3), wire("a", 4)];
        let checked = CheckedList::new(&list(targets), 10);
        assert_eq!(checked.named.len(), 1);
    }

    #[test]
    fn a_list_that_is_too_long_is_cut_and_says_so() {
        let targets = (1..100).map(|port| wire(&port.to_string(), port));
        let checked = CheckedList::new(&list(targets), 3);
        assert_eq!((checked.targets().count(), checked.named.len()), (3, 6));
        assert_eq!(
            checked.malformed().next(),
            Some(("4", "the list is too long: 3 targets are accepted"))
        );
    }
}
