use rheostat_sizing::{Decision, Outcome, Step, StepKind};

/// Why a decision came to its count, in a line.
#[must_use]
pub fn deciding_reason(decision: &Decision) -> String {
    let text = match (&decision.outcome, deciding_step(decision)) {
        (Outcome::Unknown { reason }, _) => format!("not known: {reason}"),
        (_, Some(step)) => step.why.clone(),
        (Outcome::AtZero, None) => "nothing asks for a replica".to_owned(),
        (Outcome::Known, None) => "nothing speaks for another count".to_owned(),
    };
    bounded(&text, LONGEST_REASON)
}

/// The limit that kept a decision from more replicas, where one did.
pub(crate) fn limit(decision: &Decision) -> Option<&Step> {
    let binds = |kind| matches!(kind, StepKind::Limit | StepKind::Pool | StepKind::Schedule);
    let pairs = decision.steps.iter().zip(decision.steps.iter().skip(1));
    pairs
        .filter(|(before, step)| binds(step.kind) && step.replicas < before.replicas)
        .map(|(_, step)| step)
        .next_back()
}

/// The step that set the count for good: the last one that changed it. Before any has changed it, what there
/// is to do says more than the count that was found.
fn deciding_step(decision: &Decision) -> Option<&Step> {
    let steps = &decision.steps;
    let sized = |step: &&Step| step.kind == StepKind::Size;
    let changed = (1..steps.len())
        .rev()
        .find(|at| steps[*at].replicas != steps[*at - 1].replicas);
    match changed {
        Some(at) => steps.get(at),
        None => steps.iter().find(sized).or_else(|| steps.last()),
    }
}

/// Longest reason: it stands in a column of `kubectl get`.
const LONGEST_REASON: usize = 256;

/// `text` without its end, where it is longer than `most` bytes.
pub(crate) fn bounded(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most.saturating_sub('…'.len_utf8()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    format!("{}…", &text[..end.unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use rheostat_reading::Timestamp;
    use rheostat_sizing::Figures;

    use super::*;

    fn decision(outcome: Outcome, steps: &[(StepKind, u32, &str)]) -> Decision {
        Decision {
            at: Timestamp::default(),
            replicas: steps.last().map_or(0, |step| step.1),
            active: true,
            outcome,
            steps: steps
                .iter()
                .map(|(kind, replicas, why)| Step {
                    kind: *kind,
                    replicas: *replicas,
                    why: (*why).to_owned(),
                })
                .collect(),
            figures: Figures::default(),
        }
    }

    #[test]
    fn the_last_step_that_changed_the_count_is_the_reason() {
        let steps = [
            (StepKind::Demand, 2, "work for 9"),
            (StepKind::Size, 9, "nine are needed"),
            (StepKind::Limit, 4, "never more than 4"),
            (StepKind::Limit, 4, "a budget warns"),
        ];
        let limited = decision(Outcome::Known, &steps);
        assert_eq!(deciding_reason(&limited), "never more than 4");
        assert_eq!(limit(&limited).unwrap().why, "never more than 4");
        let free = decision(Outcome::Known, &steps[..2]);
        assert_eq!(deciding_reason(&free), "nine are needed");
        assert_eq!(limit(&free), None);
    }

    #[test]
    fn a_count_that_stays_is_explained_by_its_size() {
        let steps = [
            (StepKind::Demand, 2, "work for 1.8"),
            (StepKind::Size, 2, "two by the rules"),
            (StepKind::Zero, 2, "not idle for long enough"),
        ];
        assert_eq!(
            deciding_reason(&decision(Outcome::Known, &steps)),
            "two by the rules"
        );
        assert_eq!(
            deciding_reason(&decision(Outcome::AtZero, &[])),
            "nothing asks for a replica"
        );
    }

    #[test]
    fn what_is_not_known_is_the_reason_whatever_the_steps_say() {
        let outcome = Outcome::Unknown {
            reason: "only 1 of 3 ready pods are known".into(),
        };
        let found = decision(outcome, &[(StepKind::Evidence, 3, "takes nothing away")]);
        assert_eq!(
            deciding_reason(&found),
            "not known: only 1 of 3 ready pods are known"
        );
    }

    #[test]
    fn a_limit_that_adds_keeps_nobody_from_replicas() {
        let steps = [
            (StepKind::Size, 1, "one"),
            (StepKind::Limit, 2, "never fewer than 2"),
        ];
        assert_eq!(limit(&decision(Outcome::Known, &steps)), None);
    }

    #[test]
    fn long_text_ends_at_a_character() {
        assert_eq!(bounded("short", 5), "short");
        let cut = bounded(&"ü".repeat(40), 20);
        assert_eq!(cut, format!("{}…", "ü".repeat(8)));
        assert!(cut.len() <= 20);
    }
}
