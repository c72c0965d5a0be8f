use std::sync::Arc;
use std::time::Duration;

use rheostat_proto::{
    LONGEST_TARGET_ID, MalformedReading, ReceivedReport, agent, engine_report_from_proto, reading_from_proto,
};
use rheostat_reading::{Readings, Timestamp};

use crate::view::{ClaimView, DeviceView, EngineView, NodeView, SourceState};

/// The longest reason that is kept, in bytes.
const LONGEST_REASON: usize = 256;

/// How much of a snapshot is believed. An agent is trusted, but not with our memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) devices: usize,
    pub(crate) claims: usize,
    /// Further engines are left out: somebody else then reads them.
    pub(crate) engines: usize,
}

/// A snapshot that is refused as a whole: part of it would be taken for all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the snapshot names no node")]
    NoNode,
    #[error("the snapshot speaks for node {claimed}, but the endpoint is on node {expected}")]
    WrongNode { claimed: String, expected: String },
    #[error("the snapshot has {found} {what}; at most {limit} are accepted")]
    TooMany {
        what: &'static str,
        found: usize,
        limit: usize,
    },
}

/// A decoded snapshot.
pub(crate) struct Decoded {
    pub(crate) view: NodeView,
    /// Readings, devices and claims that made no sense and were left out. A quantity that we do
    /// not know is none of them: the agent is newer.
    pub(crate) malformed: u64,
}

/// Turns `snapshot`, received at `now`, into a view. Texts that have not changed since `previous`
/// are shared with it.
pub(crate) fn decode(
    snapshot: &agent::Snapshot,
    now: Timestamp,
    limits: Limits,
    previous: Option<&NodeView>,
) -> Result<Decoded, Refused> {
    if snapshot.node.is_empty() {
        return Err(Refused::NoNode);
    }
    within("devices", snapshot.devices.len(), limits.devices)?;
    within("claims", snapshot.claims.len(), limits.claims)?;
    let mut malformed = 0;
    let mut devices: Vec<DeviceView> = Vec::with_capacity(snapshot.devices.len());
    for (place, device) in snapshot.devices.iter().enumerate() {
        if device.id.is_empty() || devices.iter().any(|known| *known.id == *device.id) {
            malformed += 1;
            continue;
        }
        let before = previous.and_then(|view| view.devices.get(place));
        devices.push(decode_device(device, now, before, &mut malformed));
    }
    let mut claims: Vec<ClaimView> = Vec::with_capacity(snapshot.claims.len());
    for claim in &snapshot.claims {
        if claim.namespace.is_empty() || claim.pod.is_empty() {
            malformed += 1;
            continue;
        }
        claims.push(decode_claim(claim, now, &devices, &mut malformed));
    }
    claims.sort_by(|a, b| a.key().cmp(&b.key()));
    let engines = decode_engines(&snapshot.engines, now, limits.engines, &mut malformed);
    let view = NodeView {
        node: shared(previous.map(|view| &view.node), &snapshot.node),
        received_at: now,
        heard_since: now,
        agent_version: snapshot.version.clone(),
        sequence: snapshot.sequence,
        gpus: source(snapshot.gpus.as_ref(), now),
        attribution: source(snapshot.attribution.as_ref(), now),
        devices,
        claims,
        scrapes_engines: snapshot.scrapes_engines,
        engines,
    };
    Ok(Decoded { view, malformed })
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), Refused> {
    if found > limit {
        Err(Refused::TooMany { what, found, limit })
    } else {
        Ok(())
    }
}

fn decode_device(
    device: &agent::Device,
    now: Timestamp,
    before: Option<&DeviceView>,
    malformed: &mut u64,
) -> DeviceView {
    DeviceView {
        id: shared(before.map(|device| &device.id), &device.id),
        parent: optional(before.and_then(|device| device.parent.as_ref()), &device.parent),
        index: device.index,
        model: shared(before.map(|device| &device.model), &device.model),
        profile: optional(before.and_then(|device| device.profile.as_ref()), &device.profile),
        partitioned: device.partitioned,
        fault: non_empty(&device.fault),
        readings: decode_readings(&device.readings, now, malformed),
        throttle_reasons: device.throttle_reasons.clone(),
    }
}

fn decode_claim(
    claim: &agent::Claim,
    now: Timestamp,
    devices: &[DeviceView],
    malformed: &mut u64,
) -> ClaimView {
    let known = devices.iter().find(|device| *device.id == *claim.device);
    let device = known
        .map(|device| Arc::clone(&device.id))
        .or_else(|| optional(None, &claim.device));
    let unresolved = match &device {
        Some(_) => None,
        None => Some(non_empty(&claim.unresolved).unwrap_or_else(|| "the agent does not say why".into())),
    };
    ClaimView {
        namespace: claim.namespace.clone(),
        pod: claim.pod.clone(),
        container: claim.container.clone(),
        resource: claim.resource.clone(),
        kubelet_id: claim.kubelet_id.clone(),
        device,
        unresolved,
        // Whoever says something that we do not know does not say "exclusive".
        shared: claim.sharing != i32::from(agent::Sharing::Exclusive),
        share: decode_readings(&claim.share, now, malformed),
    }
}

fn decode_engines(
    reports: &[agent::EngineReport],
    now: Timestamp,
    most: usize,
    malformed: &mut u64,
) -> Vec<EngineView> {
    let mut engines: Vec<_> = reports
        .iter()
        .take(most)
        .filter(|report| report.target.len() <= LONGEST_TARGET_ID)
        .map(|report| {
            let ReceivedReport {
                target,
                report,
                refused,
                malformed: unread,
            } = engine_report_from_proto(report, now);
            *malformed += unread;
            EngineView {
                target,
                report: Arc::new(report),
                refused,
                received_at: now,
            }
        })
        .collect();
    engines.sort_by(|a, b| a.target.cmp(&b.target));
    engines.dedup_by(|next, kept| next.target == kept.target);
    *malformed += (reports.len() - engines.len()) as u64;
    engines
}

fn decode_readings(readings: &[agent::Reading], now: Timestamp, malformed: &mut u64) -> Readings {
    let mut found = Readings::new();
    for reading in readings {
        match reading_from_proto(reading, now) {
            Ok((quantity, observed)) => found.set(quantity, observed),
            Err(MalformedReading::UnknownQuantity(_)) => {}
            Err(MalformedReading::NotFinite(_)) => *malformed += 1,
        }
    }
    found
}

fn source(source: Option<&agent::Source>, now: Timestamp) -> SourceState {
    use agent::source::State;
    let unknown = |reason: &str| SourceState::Unknown {
        reason: reason.to_owned(),
    };
    let Some(source) = source else {
        return unknown("the agent does not report it");
    };
    let reason = non_empty(&source.reason).unwrap_or_else(|| "the agent does not say why".into());
    match State::try_from(source.state) {
        Ok(State::Current) => SourceState::Current,
        Ok(State::Stale) => SourceState::Stale {
            last_read: now.minus(Duration::from_millis(source.age_millis)),
            reason,
        },
        Ok(State::Unknown) => SourceState::Unknown { reason },
        Ok(State::Unspecified) | Err(_) => unknown("the agent reports a state that is not known here"),
    }
}

fn shared(before: Option<&Arc<str>>, text: &str) -> Arc<str> {
    before
        .filter(|before| ***before == *text)
        .map_or_else(|| text.into(), Arc::clone)
}

fn optional(before: Option<&Arc<str>>, text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| shared(before, text))
}

fn non_empty(text: &str) -> Option<String> {
    let mut end = text.len().min(LONGEST_REASON);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (!text.is_empty()).then(|| text[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use rheostat_engines::TargetId;
    use rheostat_reading::{Absent, Quantity};

    use super::*;

    const LIMITS: Limits = Limits {
        devices: 3,
        claims: 3,
        engines: 3,
    };
    const SECOND: Duration = Duration::from_secs(1);

    fn now() -> Timestamp {
        Timestamp::from_unix_nanos(100_000_000_000)
    }

    fn reading(quantity: agent::Quantity, value: f64) -> agent::Reading {
        agent::Reading {
            quantity: quantity.into(),
            value,
            age_millis: 250,
            window_millis: 1000,
            ..Default::default()
        }
    }

    fn device(id: &str, readings: Vec<agent::Reading>) -> agent::Device {
        agent::Device {
            id: id.into(),
            model: "H100".into(),
            readings,
            ..Default::default()
        }
    }

    fn snapshot(devices: Vec<agent::Device>, claims: Vec<agent::Claim>) -> agent::Snapshot {
        let current = agent::Source {
            state: agent::source::State::Current.into(),
            ..Default::default()
        };
        agent::Snapshot {
            node: "node-1".into(),
            version: "1".into(),
            gpus: Some(current.clone()),
            attribution: Some(current),
            devices,
            claims,
            ..Default::default()
        }
    }

    fn claim(namespace: &str, pod: &str, device: &str) -> agent::Claim {
        agent::Claim {
            namespace: namespace.into(),
            pod: pod.into(),
            device: device.into(),
            ..Default::default()
        }
    }

    fn view(snapshot: &agent::Snapshot) -> NodeView {
        decode(snapshot, now(), LIMITS, None)
            .unwrap_or_else(|refused| panic!("{refused}"))
            .view
    }

    #[test]
    fn ages_are_counted_back_from_our_clock() {
        let found = view(&snapshot(
            vec![device("GPU-1", vec![reading(agent::Quantity::Power, 300.0)])],
            vec![],
        ));
        let power = found
            .device("GPU-1")
            .unwrap()
            .readings
            .get(Quantity::Power)
            .unwrap();
        assert_eq!(power.age(now()), Duration::from_millis(250));
        assert_eq!(found.age(now().plus(SECOND)), SECOND);
    }

    #[test]
    fn nonsense_is_left_out_and_counted_and_never_becomes_a_number() {
        let devices = vec![
            device(
                "GPU-1",
                vec![
                    reading(agent::Quantity::Power, f64::NAN),
                    reading(agent::Quantity::Utilization, 0.5),
                    agent::Reading {
                        quantity: 999,
                        ..Default::default()
                    },
                ],
            ),
            device("GPU-1", vec![reading(agent::Quantity::Utilization, 0.9)]),
            device("", vec![]),
        ];
        let decoded = decode(
            &snapshot(devices, vec![claim("", "x", "GPU-1")]),
            now(),
            LIMITS,
            None,
        );
        let decoded = decoded.unwrap_or_else(|refused| panic!("{refused}"));
        assert_eq!(decoded.malformed, 4);
        assert_eq!(decoded.view.devices.len(), 1);
        let readings = &decoded.view.devices[0].readings;
        assert_eq!(readings.value(Quantity::Utilization), Some(0.5));
        assert_eq!(readings.get(Quantity::Power), Err(&Absent::NotYet));
        assert!(decoded.view.claims().is_empty());
    }

    #[test]
    fn claims_are_found_by_their_pod() {
        let claims = vec![
            claim("b", "x", "GPU-1"),
            claim("a", "y", "GPU-2"),
            claim("a", "x", "GPU-1"),
        ];
        let found = view(&snapshot(vec![device("GPU-1", vec![])], claims));
        assert_eq!(found.claims_of("a", "x").len(), 1);
        assert_eq!(
            found.claims_of("a", "y")[0].device.as_deref(),
            Some("GPU-2"),
            "a lost device is still held"
        );
        assert_eq!(found.claims_of("b", "x")[0].namespace, "b");
        assert!(found.claims_of("a", "z").is_empty());
        assert!(found.claims_of("", "").is_empty());
    }

    #[test]
    fn an_unresolved_claim_says_why() {
        let unresolved = agent::Claim {
            unresolved: "no such device".into(),
            ..claim("a", "x", "")
        };
        let found = view(&snapshot(vec![], vec![unresolved, claim("a", "y", "")]));
        assert_eq!(
            found.claims_of("a", "x")[0].unresolved.as_deref(),
            Some("no such device")
        );
        assert!(found.claims_of("a", "y")[0].unresolved.is_some());
    }

    #[test]
    fn sources_are_as_old_as_they_say() {
        let stale = agent::Source {
            state: agent::source::State::Stale.into(),
            age_millis: 3000,
            reason: "kubelet gone".into(),
        };
        let mut sent = snapshot(vec![], vec![]);
        sent.attribution = Some(stale);
        sent.gpus = None;
        let found = view(&sent);
        let last_read = now().minus(3 * SECOND);
        assert_eq!(
            found.attribution,
            SourceState::Stale {
                last_read,
                reason: "kubelet gone".into()
            }
        );
        assert!(
            matches!(found.gpus, SourceState::Unknown { .. }),
            "what is not said is not current"
        );
    }

    #[test]
    fn too_much_is_refused_as_a_whole() {
        let devices = (0..4).map(|number| device(&number.to_string(), vec![])).collect();
        let refused = decode(&snapshot(devices, vec![]), now(), LIMITS, None).err();
        assert_eq!(
            refused,
            Some(Refused::TooMany {
                what: "devices",
                found: 4,
                limit: 3
            })
        );
        let refused = decode(&agent::Snapshot::default(), now(), LIMITS, None).err();
        assert_eq!(refused, Some(Refused::NoNode));
    }

    #[test]
    fn engines_are_found_by_their_target() {
        let named = |target: &str| rheostat_proto::engine_refusal_to_proto(target, "no");
        let mut sent = snapshot(vec![], vec![]);
        assert!(!view(&sent).scrapes_engines, "who does not say so does not");
        sent.scrapes_engines = true;
        sent.engines = vec![named("b"), named("a"), named("b"), named("c")];
        let decoded = decode(&sent, now(), LIMITS, None).unwrap_or_else(|refused| panic!("{refused}"));
        assert_eq!(decoded.malformed, 2, "one twice and one too many");
        let engine = |target: &str| decoded.view.engine(&TargetId(target.into()));
        assert!(engine("a").is_some_and(|engine| engine.refused && !engine.was_asked()));
        assert!(engine("b").is_some() && engine("c").is_none());
        assert!(decoded.view.scrapes_engines);
    }

    #[test]
    fn texts_that_stay_are_shared() {
        let sent = snapshot(vec![device("GPU-1", vec![])], vec![]);
        let first = view(&sent);
        let second = decode(&sent, now(), LIMITS, Some(&first))
            .unwrap_or_else(|refused| panic!("{refused}"))
            .view;
        assert!(Arc::ptr_eq(&first.devices[0].id, &second.devices[0].id));
        assert!(Arc::ptr_eq(&first.node, &second.node));
    }
}
