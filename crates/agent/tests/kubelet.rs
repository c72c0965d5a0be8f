//! Following the kubelet over its socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use rheostat_proto::agent::{Absent, Quantity, Sharing, Snapshot, source::State};
use rheostat_testkit::kubelet::{FakePod, Fault};
use support::{Node, PERIOD, busy_gpu, process, snapshot, until};
use tonic::Code;

/// `namespace/pod=device` of each claim.
fn held(snapshot: &Snapshot) -> Vec<String> {
    let one =
        |claim: &rheostat_proto::agent::Claim| format!("{}/{}={}", claim.namespace, claim.pod, claim.device);
    snapshot.claims.iter().map(one).collect()
}

fn attribution(snapshot: &Snapshot) -> (State, &str) {
    let source = snapshot.attribution.as_ref().unwrap();
    (source.state(), &source.reason)
}

fn llm(name: &str, device: &str) -> FakePod {
    FakePod::new("team-a", name).holding("server", "nvidia.com/gpu", [device])
}

#[tokio::test]
async fn churn_is_followed() {
    let node = Node::start().await;
    let mut stream = node.watch().await;
    let empty = until(&mut stream, |snapshot| attribution(snapshot).0 == State::Current).await;
    assert_eq!(held(&empty), Vec::<String>::new());

    node.kubelet.put_pod(llm("llm-0", "GPU-a"));
    until(&mut stream, |snapshot| held(snapshot) == ["team-a/llm-0=GPU-a"]).await;
    // The device changes hands: no snapshot shows it with neither or with both.
    node.kubelet.set_pods([llm("llm-1", "GPU-a")]);
    let next = until(&mut stream, |snapshot| held(snapshot) != ["team-a/llm-0=GPU-a"]).await;
    assert_eq!(held(&next), ["team-a/llm-1=GPU-a"]);
    assert_eq!(next.claims[0].sharing(), Sharing::Exclusive);
    assert_eq!(
        (
            next.claims[0].container.as_str(),
            next.claims[0].resource.as_str()
        ),
        ("server", "nvidia.com/gpu")
    );
}

#[tokio::test]
async fn a_change_arrives_within_one_period() {
    let period = Duration::from_secs(1);
    let node = Node::start_with(rheostat_reading::Clock::system(), |options| {
        options.period = period;
        options.kubelet.period = period;
    })
    .await;
    let mut stream = node.watch().await;
    until(&mut stream, |snapshot| attribution(snapshot).0 == State::Current).await;
    let (lists, changed_at) = (node.kubelet.requests().list, node.clock.now());
    node.kubelet.put_pod(llm("llm-0", "GPU-a"));
    until(&mut stream, |snapshot| held(snapshot) == ["team-a/llm-0=GPU-a"]).await;
    // By the clock it is within a period; by calls, which a busy machine does not delay, the first
    // `List` after the change brought it.
    assert!(
        node.kubelet.requests().list <= lists + 2,
        "it took more than one List"
    );
    assert!(node.clock.now().since(changed_at) < 5 * period);
}

#[tokio::test]
async fn a_kubelet_that_is_down_leaves_the_last_claims() {
    let node = Node::start().await;
    node.kubelet.set_pods([llm("llm-0", "GPU-a")]);
    let mut stream = node.watch().await;
    until(&mut stream, |snapshot| held(snapshot) == ["team-a/llm-0=GPU-a"]).await;

    node.kubelet.stop().await;
    let mut ages = Vec::new();
    for _ in 0..5 {
        let stale = until(&mut stream, |snapshot| attribution(snapshot).0 == State::Stale).await;
        assert_eq!(held(&stale), ["team-a/llm-0=GPU-a"]);
        assert!(
            attribution(&stale).1.contains("kubelet.sock"),
            "{:?}",
            stale.attribution
        );
        assert_eq!(stale.gpus.unwrap().state(), State::Current);
        ages.push(stale.attribution.unwrap().age_millis);
    }
    assert!(ages.is_sorted() && ages[4] > ages[0], "{ages:?}");

    node.kubelet.set_pods([llm("llm-1", "GPU-a")]);
    node.kubelet.restart().await.unwrap();
    let back = until(&mut stream, |snapshot| attribution(snapshot).0 == State::Current).await;
    assert_eq!(held(&back), ["team-a/llm-1=GPU-a"]);
}

#[tokio::test]
async fn a_kubelet_that_fails_or_hangs_is_stale_with_the_reason() {
    let node = Node::start_with(rheostat_reading::Clock::system(), |options| {
        options.kubelet.timeout = Duration::from_millis(100);
    })
    .await;
    node.kubelet.set_pods([llm("llm-0", "GPU-a")]);
    let mut stream = node.watch().await;
    until(&mut stream, |snapshot| !snapshot.claims.is_empty()).await;
    for (fault, reason) in [
        (
            Fault::Error(Code::ResourceExhausted, "rejected by rate limit".into()),
            "rejected by rate limit",
        ),
        (Fault::Hang, "no answer within 100ms"),
    ] {
        node.kubelet.set_fault(fault);
        let stale = until(&mut stream, |snapshot| attribution(snapshot).1.contains(reason)).await;
        assert_eq!(attribution(&stale).0, State::Stale);
        assert_eq!(held(&stale), ["team-a/llm-0=GPU-a"]);
        node.kubelet.set_fault(Fault::None);
        until(&mut stream, |snapshot| attribution(snapshot).0 == State::Current).await;
    }
}

#[tokio::test]
async fn snapshots_go_on_while_the_kubelet_hangs() {
    let node = Node::start_with(rheostat_reading::Clock::system(), |options| {
        options.kubelet.timeout = Duration::from_secs(300);
        options.stale_after = 5 * PERIOD;
    })
    .await;
    node.kubelet.set_pods([llm("llm-0", "GPU-a")]);
    let mut stream = node.watch().await;
    until(&mut stream, |snapshot| !snapshot.claims.is_empty()).await;
    node.kubelet.set_fault(Fault::Hang);
    let stale = until(&mut stream, |snapshot| attribution(snapshot).0 == State::Stale).await;
    assert_eq!(attribution(&stale).1, "not read within 100ms");
    assert_eq!(held(&stale), ["team-a/llm-0=GPU-a"]);
}

#[tokio::test]
async fn a_restarted_kubelet_that_lists_nothing_yet_is_not_believed() {
    let node = Node::start_with(rheostat_reading::Clock::system(), |options| {
        options.kubelet.settling = Duration::from_millis(400);
    })
    .await;
    node.kubelet.set_pods([llm("llm-0", "GPU-a")]);
    let mut stream = node.watch().await;
    until(&mut stream, |snapshot| !snapshot.claims.is_empty()).await;
    node.kubelet.set_pods([FakePod::new("kube-system", "static-pod")]);
    node.kubelet.restart().await.unwrap();
    let settling = until(&mut stream, |snapshot| {
        attribution(snapshot).1.contains("has restarted")
    })
    .await;
    assert_eq!(attribution(&settling).0, State::Stale);
    assert_eq!(held(&settling), ["team-a/llm-0=GPU-a"]);
    // In the end it may well be so.
    let settled = until(&mut stream, |snapshot| attribution(snapshot).0 == State::Current).await;
    assert_eq!(held(&settled), Vec::<String>::new());
    // Without a restart it is believed at once.
    node.kubelet.put_pod(llm("llm-0", "GPU-a"));
    until(&mut stream, |snapshot| !snapshot.claims.is_empty()).await;
    node.kubelet.set_pods([]);
    let gone = until(&mut stream, |snapshot| snapshot.claims.is_empty()).await;
    assert_eq!(attribution(&gone).0, State::Current);
}

#[tokio::test]
async fn a_kubelet_that_was_never_there_is_unknown() {
    let node = Node::start_with(rheostat_reading::Clock::system(), |options| {
        options.kubelet.socket = "/nowhere/kubelet.sock".into();
    })
    .await;
    let mut stream = node.watch().await;
    let unknown = until(&mut stream, |snapshot| {
        attribution(snapshot).1.contains("/nowhere/kubelet.sock")
    })
    .await;
    assert_eq!(attribution(&unknown).0, State::Unknown);
    assert!(
        attribution(&unknown).1.contains("No such file"),
        "{:?}",
        unknown.attribution
    );
    assert_eq!(unknown.devices.len(), 2);
}

#[tokio::test]
async fn shared_devices_are_split_by_what_the_host_shows() {
    let uids = [
        "11111111-1111-4111-8111-111111111111",
        "22222222-2222-4222-8222-222222222222",
    ];
    let host = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = host.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("proc/2/comm", "kthreadd\n");
    for (pid, uid) in [("101", uids[0]), ("102", uids[1])] {
        write(
            &format!("proc/{pid}/cgroup"),
            &format!("0::/kubepods/besteffort/pod{uid}/abc\n"),
        );
    }
    for (name, uid) in [("llm-0", uids[0]), ("llm-1", uids[1])] {
        std::fs::create_dir_all(host.path().join(format!("logs/team-a_{name}_{uid}"))).unwrap();
    }
    let node = Node::start_with(rheostat_reading::Clock::system(), |options| {
        options.proc_dir = host.path().join("proc");
        options.pod_logs_dir = Some(host.path().join("logs"));
    })
    .await;
    let mut device = busy_gpu(0, "GPU-a", 0.8, node.clock.now());
    device.processes = vec![process(101, 0.6, 10 << 30), process(102, 0.2, 20 << 30)];
    node.gpus.store(snapshot(node.clock.now(), [device]).into());
    let replica =
        |name: &str, id: &str| FakePod::new("team-a", name).holding("server", "nvidia.com/gpu.shared", [id]);
    node.kubelet
        .set_pods([replica("llm-0", "GPU-a::0"), replica("llm-1", "GPU-a::1")]);

    let mut stream = node.watch().await;
    let split = until(&mut stream, |snapshot| snapshot.claims.len() == 2).await;
    let part = |snapshot: &Snapshot, pod: usize, quantity: Quantity| {
        let share = &snapshot.claims[pod].share;
        let reading = share
            .iter()
            .find(|reading| reading.quantity() == quantity)
            .unwrap();
        (reading.absent(), reading.value)
    };
    assert!(
        split
            .claims
            .iter()
            .all(|claim| claim.sharing() == Sharing::Shared)
    );
    let (absent, value) = part(&split, 0, Quantity::Utilization);
    assert_eq!(absent, Absent::No);
    assert!((value - 0.6).abs() < 1e-9, "{value}");
    assert_eq!(
        part(&split, 1, Quantity::MemoryUsedBytes),
        (Absent::No, f64::from(20u32 << 20) * 1024.0)
    );

    // The host's processes are hidden from now on: no part is 0, each says why it is absent.
    write("proc/2/comm", "agent\n");
    let hidden = until(&mut stream, |snapshot| {
        part(snapshot, 0, Quantity::Utilization).0 != Absent::No
    })
    .await;
    for pod in 0..2 {
        assert_eq!(
            part(&hidden, pod, Quantity::Utilization).0,
            Absent::Unattributable
        );
        assert_eq!(
            part(&hidden, pod, Quantity::MemoryUsedBytes).0,
            Absent::Unattributable
        );
    }
}
