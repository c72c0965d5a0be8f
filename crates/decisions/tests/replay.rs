//! What was decided is decided again, bit for bit, and what is different is found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;

use proptest::prelude::*;
use rheostat_decisions::{DecisionLog, LogError, Reader, Record, Supposed, replay, what_if};
use rheostat_sizing::Sizer;
use support::{Moment, intent, observation, wave};

fn logged(moments: &[Moment]) -> Vec<Arc<Record>> {
    let log = DecisionLog::in_memory();
    let (mut sizer, intent) = (Sizer::new(), intent(50));
    for (step, moment) in moments.iter().enumerate() {
        log.decide("team-a/chat", &mut sizer, &intent, observation(step, *moment));
    }
    log.recent("team-a/chat")
}

/// As a file has them: through their lines.
fn lines(records: &[Arc<Record>]) -> Vec<Result<Record, LogError>> {
    records
        .iter()
        .map(|record| Ok(serde_json::from_slice(&record.to_line().unwrap()).unwrap()))
        .collect()
}

#[test]
fn a_record_is_the_same_after_it_was_written_and_read() {
    for record in logged(&wave(150)) {
        let line = record.to_line().unwrap();
        assert_eq!(serde_json::from_slice::<Record>(&line).unwrap(), *record);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    }
}

#[test]
fn what_is_in_memory_is_bounded_and_can_be_replayed() {
    let records = logged(&wave(1000));
    assert!(records.len() <= 360, "{}", records.len());
    assert!(records.len() >= 240, "{}", records.len());
    assert!(records[0].before.is_some());
    assert_eq!(records.last().unwrap().sequence, 999);
    let found = replay(lines(&records)).unwrap();
    assert!(found.is_equal(), "{found}");
    assert_eq!((found.decisions, found.left_out), (records.len() as u64, 0));
    assert!(found.states >= 3, "{found}");

    let large = logged(&vec![(300, 20, true); 40]);
    let pods: usize = large.iter().map(|record| record.observation.pods.len()).sum();
    assert!(pods <= 4000, "{pods}");
    assert!(large[0].before.is_some());
    assert!(replay(lines(&large)).unwrap().is_equal());
}

#[test]
fn many_workloads_have_less_each_and_can_still_be_replayed() {
    let log = DecisionLog::in_memory();
    let intent = intent(50);
    let mut sizers: Vec<_> = (0..200)
        .map(|place| (format!("team-a/{place}"), Sizer::new()))
        .collect();
    for (step, moment) in wave(100).iter().enumerate() {
        for (name, sizer) in &mut sizers {
            log.decide(name, sizer, &intent, observation(step, *moment));
        }
    }
    for (name, _) in &sizers {
        let records = log.recent(name);
        assert!((12..=36).contains(&records.len()), "{}", records.len());
        assert!(records[0].before.is_some());
        let states = records.iter().filter(|record| record.before.is_some()).count();
        assert!(states <= 3, "{states}");
        assert_eq!(records.last().unwrap().sequence, 99);
    }
    let found = replay(lines(&log.recent("team-a/7"))).unwrap();
    assert!(found.is_equal() && found.left_out == 0, "{found}");
}

#[test]
fn the_first_difference_is_shown_with_both_sides() {
    let mut records = lines(&logged(&wave(200)));
    let Ok(changed) = &mut records[150] else {
        unreachable!()
    };
    changed.decision.replicas += 1;
    let found = replay(records).unwrap();
    assert!(!found.is_equal());
    assert_eq!(
        (found.decisions, found.different, found.states_different),
        (200, 1, 0)
    );
    let first = found.first.as_ref().unwrap();
    assert_eq!(first.sequence, 150);
    assert_eq!(first.logged.replicas, first.replayed.replicas + 1);
    let text = found.to_string();
    assert!(text.contains("1 came out differently"), "{text}");
    assert!(text.contains("team-a/chat, decision 150, at 2026-"), "{text}");
}

#[test]
fn a_state_that_the_decisions_do_not_lead_to_is_found() {
    let mut records = lines(&logged(&wave(200)));
    // Somebody was there that the log knows nothing of. The last state: others would follow from it.
    let at = records
        .iter()
        .rposition(|record| record.as_ref().is_ok_and(|record| record.before.is_some()))
        .unwrap();
    assert!(at > 0);
    let Ok(record) = &mut records[at] else {
        unreachable!()
    };
    record.before.as_mut().unwrap().sizer = Sizer::new();
    let found = replay(records).unwrap();
    assert_eq!(found.states_different, 1, "{found}");
    assert_eq!(found.first_state.as_ref().unwrap().1, at as u64);
    assert!(!found.is_equal());
}

#[test]
fn what_was_taken_over_from_another_replica_is_replayed_too() {
    let log = DecisionLog::in_memory();
    let (mut one, mut two, intent) = (Sizer::new(), Sizer::new(), intent(50));
    for (step, moment) in wave(120).into_iter().enumerate() {
        two.decide(&intent, &observation(step, moment));
    }
    for (step, moment) in wave(200).into_iter().enumerate() {
        if step == 130 {
            log.adopt("team-a/chat", &mut one, two.learned());
        }
        log.decide("team-a/chat", &mut one, &intent, observation(step, moment));
    }
    let found = replay(lines(&log.recent("team-a/chat"))).unwrap();
    assert!(found.is_equal(), "{found}");
    assert_eq!(found.decisions, 200);
}

#[test]
fn after_a_gap_a_replay_goes_on_at_the_next_state() {
    let mut records = lines(&logged(&wave(200)));
    records.remove(20).unwrap();
    let found = replay(records).unwrap();
    assert!(found.is_equal(), "{found}");
    assert!(found.left_out > 0 && found.left_out < 60, "{found}");
    assert_eq!(found.decisions + found.left_out, 199);
}

#[test]
fn the_same_intent_makes_no_difference_and_a_stricter_one_asks_for_more() {
    let records = logged(&wave(300));
    let same = what_if(lines(&records), |record| Supposed {
        intent: record.intent.as_ref().clone(),
        schedule: record.observation.schedule,
    })
    .unwrap();
    let chat = &same.workloads["team-a/chat"];
    assert_eq!((chat.decisions, chat.different), (300, 0));
    assert!((chat.logged_hours - chat.supposed_hours).abs() < 1e-12);
    assert!(chat.logged_hours > 0.0 && chat.first.is_none());

    let floor = what_if(lines(&records), |record| Supposed {
        intent: rheostat_sizing::Intent {
            min_replicas: 20,
            ..record.intent.as_ref().clone()
        },
        schedule: record.observation.schedule,
    })
    .unwrap();
    let chat = &floor.workloads["team-a/chat"];
    assert_eq!(chat.different, 300);
    // 299 pauses of five seconds at 20 replicas.
    assert!(
        (chat.supposed_hours - 20.0 * 299.0 * 5.0 / 3600.0).abs() < 1e-9,
        "{floor}"
    );
    assert_eq!(chat.supposed_most, 20);
    let (logged, supposed) = chat.furthest.as_ref().unwrap();
    assert_eq!(supposed.replicas, 20);
    assert!(
        records
            .iter()
            .all(|record| record.decision.replicas >= logged.replicas)
    );
    assert!(floor.to_string().contains("300 of 300 decisions"), "{floor}");
}

#[test]
fn nothing_is_not_equal() {
    assert!(!replay([]).unwrap().is_equal());
    let missing = Reader::open(std::path::Path::new("does/not/exist")).unwrap_err();
    assert!(missing.to_string().contains("does/not/exist"), "{missing}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever happens to a workload, the log of it leads to the same decisions and states.
    #[test]
    fn every_history_is_replayed_bit_for_bit(
        moments in prop::collection::vec((0_u32..12, 0_u16..200, prop::bool::weighted(0.9)), 1..250),
        from in 0_usize..250,
    ) {
        let records = logged(&moments);
        let found = replay(lines(&records)).unwrap();
        prop_assert!(found.is_equal(), "{}", found);
        prop_assert_eq!(found.left_out, 0);
        // From the middle on as well.
        let rest = lines(&records[from.min(records.len())..]);
        let found = replay(rest).unwrap();
        prop_assert_eq!((found.different, found.states_different), (0, 0));
    }
}
