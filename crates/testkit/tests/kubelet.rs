//! The fake kubelet, asked by a plain client over its socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rheostat_proto::kubelet::pod_resources_lister_client::PodResourcesListerClient;
use rheostat_proto::kubelet::{
    AllocatableResourcesRequest, GetPodResourcesRequest, ListPodResourcesRequest, PodResources,
};
use rheostat_testkit::kubelet::{FakeKubelet, FakePod, Fault, Requests};
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

fn client(socket: &Path) -> PodResourcesListerClient<Channel> {
    let socket = socket.to_owned();
    let connector = service_fn(move |_| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    PodResourcesListerClient::new(
        Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector),
    )
}

async fn list(client: &mut PodResourcesListerClient<Channel>) -> Result<Vec<PodResources>, Code> {
    let answer = client.list(ListPodResourcesRequest {}).await;
    answer
        .map(|answer| answer.into_inner().pod_resources)
        .map_err(|status| status.code())
}

#[tokio::test]
async fn what_is_ordered_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let kubelet = FakeKubelet::start(directory.path().join("kubelet.sock")).unwrap();
    let mut client = client(kubelet.socket());
    let pod = FakePod::new("team-a", "llm-0")
        .holding("server", "nvidia.com/gpu", ["GPU-1", "GPU-2"])
        .claiming("sidecar", "shared-gpu", "gpu.nvidia.com", "node-1", "gpu-3");
    kubelet.set_pods([pod.clone()]);
    kubelet.set_allocatable("nvidia.com/gpu", ["GPU-1", "GPU-2", "GPU-3"]);

    assert_eq!(list(&mut client).await, Ok(vec![pod.clone().into()]));
    let allocatable = client
        .get_allocatable_resources(AllocatableResourcesRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(allocatable.devices[0].device_ids, ["GPU-1", "GPU-2", "GPU-3"]);
    let get = |name: &str| GetPodResourcesRequest {
        pod_name: name.into(),
        pod_namespace: "team-a".into(),
    };
    let found = client.get(get("llm-0")).await.unwrap().into_inner();
    assert_eq!(found.pod_resources, Some(pod.into()));
    assert_eq!(client.get(get("llm-1")).await.unwrap_err().code(), Code::NotFound);

    kubelet.put_pod(FakePod::new("team-a", "llm-1"));
    assert!(kubelet.remove_pod("team-a", "llm-0"));
    assert!(!kubelet.remove_pod("team-a", "llm-0"));
    assert_eq!(list(&mut client).await.unwrap()[0].name, "llm-1");
    assert_eq!(
        kubelet.requests(),
        Requests {
            list: 2,
            allocatable: 1,
            get: 2
        }
    );
}

#[tokio::test]
async fn faults_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let kubelet = FakeKubelet::start(directory.path().join("kubelet.sock")).unwrap();
    let mut client = client(kubelet.socket());
    kubelet.set_fault(Fault::Error(
        Code::ResourceExhausted,
        "rejected by rate limit".into(),
    ));
    assert_eq!(list(&mut client).await, Err(Code::ResourceExhausted));

    kubelet.set_fault(Fault::Hang);
    let patience = Duration::from_millis(50);
    assert!(
        tokio::time::timeout(patience, list(&mut client)).await.is_err(),
        "it answered"
    );
    kubelet.set_fault(Fault::None);
    assert_eq!(list(&mut client).await, Ok(vec![]));
}

#[tokio::test]
async fn a_restart_is_a_new_socket() {
    let directory = tempfile::tempdir().unwrap();
    let kubelet = FakeKubelet::start(directory.path().join("kubelet.sock")).unwrap();
    let mut client = client(kubelet.socket());
    kubelet.set_pods([FakePod::new("team-a", "llm-0")]);
    assert_eq!(list(&mut client).await.unwrap().len(), 1);
    // A call that hangs does not keep the kubelet from going down.
    kubelet.set_fault(Fault::Hang);
    let mut other = client.clone();
    let hanging = tokio::spawn(async move { list(&mut other).await });
    while kubelet.requests().list < 2 {
        tokio::task::yield_now().await;
    }
    kubelet.stop().await;
    assert!(!kubelet.socket().exists());
    assert_eq!(hanging.await.unwrap(), Err(Code::Unavailable));
    assert_eq!(list(&mut client).await, Err(Code::Unavailable));
    kubelet.set_fault(Fault::None);
    kubelet.restart().await.unwrap();
    assert_eq!(list(&mut client).await.unwrap().len(), 1);
}
