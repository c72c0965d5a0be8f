use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rheostat_proto::kubelet::pod_resources_lister_server::{PodResourcesLister, PodResourcesListerServer};
use rheostat_proto::kubelet::{
    AllocatableResourcesRequest, AllocatableResourcesResponse, ClaimResource, ContainerDevices,
    ContainerResources, DynamicResource, GetPodResourcesRequest, GetPodResourcesResponse,
    ListPodResourcesRequest, ListPodResourcesResponse, PodResources,
};
use tokio::net::UnixListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Code, Request, Response, Status};

/// A kubelet's PodResources v1 server on a unix socket, with pods and faults to order.
///
/// It speaks the kubelet's own protobuf, so whatever reads it reads a real kubelet too. It must be
/// started within a tokio runtime and stops when it is dropped.
#[derive(Debug)]
pub struct FakeKubelet {
    socket: PathBuf,
    node: Arc<Node>,
    server: Mutex<Option<Server>>,
}

/// What the fake does instead of answering.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// It answers.
    #[default]
    None,
    /// Every call fails with this code and message.
    Error(Code, String),
    /// No call is answered until the fault is lifted or the kubelet stops.
    Hang,
}

/// How often each method was called since the fake was made, failed calls included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    /// Calls of `List`.
    pub list: u64,
    /// Calls of `GetAllocatableResources`.
    pub allocatable: u64,
    /// Calls of `Get`.
    pub get: u64,
}

/// A pod for [`FakeKubelet::set_pods`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FakePod(PodResources);

impl FakeKubelet {
    /// Serves on `socket`, whose directory must exist. A socket that an earlier process left there
    /// is replaced, as the kubelet does.
    ///
    /// # Errors
    ///
    /// The socket cannot be bound.
    pub fn start(socket: impl Into<PathBuf>) -> io::Result<Self> {
        let (fault, _) = watch::channel(Fault::None);
        let node = Arc::new(Node {
            pods: Mutex::default(),
            allocatable: Mutex::default(),
            fault,
            list: AtomicU64::new(0),
            allocatable_calls: AtomicU64::new(0),
            get: AtomicU64::new(0),
        });
        let socket = socket.into();
        let server = Server::start(&socket, Arc::clone(&node))?;
        Ok(Self {
            socket,
            node,
            server: Mutex::new(Some(server)),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Replaces all pods of the node.
    pub fn set_pods(&self, pods: impl IntoIterator<Item = FakePod>) {
        *self.node.pods.lock() = pods.into_iter().map(|pod| pod.0).collect();
    }

    /// Adds a pod, or replaces the one of the same namespace and name.
    pub fn put_pod(&self, pod: FakePod) {
        let mut pods = self.node.pods.lock();
        pods.retain(|old| (&old.namespace, &old.name) != (&pod.0.namespace, &pod.0.name));
        pods.push(pod.0);
    }

    /// Removes a pod; returns whether it was there.
    pub fn remove_pod(&self, namespace: &str, name: &str) -> bool {
        let mut pods = self.node.pods.lock();
        let before = pods.len();
        pods.retain(|pod| (pod.namespace.as_str(), pod.name.as_str()) != (namespace, name));
        pods.len() < before
    }

    /// Sets the allocatable device ids of the resource `name`; none removes the resource.
    pub fn set_allocatable<I: Into<String>>(&self, name: &str, ids: impl IntoIterator<Item = I>) {
        let mut allocatable = self.node.allocatable.lock();
        allocatable.retain(|devices| devices.resource_name != name);
        let devices = devices(name, ids);
        if !devices.device_ids.is_empty() {
            allocatable.push(devices);
        }
    }

    /// Makes every call from now on fail, hang or (with [`Fault::None`]) be answered.
    pub fn set_fault(&self, fault: Fault) {
        self.node.fault.send_replace(fault);
    }

    /// Calls counted so far.
    #[must_use]
    pub fn requests(&self) -> Requests {
        Requests {
            list: self.node.list.load(Ordering::Relaxed),
            allocatable: self.node.allocatable_calls.load(Ordering::Relaxed),
            get: self.node.get.load(Ordering::Relaxed),
        }
    }

    /// Goes down: closes every connection and removes the socket. Pods and counters stay.
    pub async fn stop(&self) {
        let server = self.server.lock().take();
        if let Some(server) = server {
            server.stop().await;
        }
        let _ = std::fs::remove_file(&self.socket);
    }

    /// Comes up again (after going down, if it was up) on a new socket at the same path.
    ///
    /// # Errors
    ///
    /// The socket cannot be bound.
    pub async fn restart(&self) -> io::Result<()> {
        self.stop().await;
        let server = Server::start(&self.socket, Arc::clone(&self.node))?;
        *self.server.lock() = Some(server);
        Ok(())
    }
}

impl Drop for FakeKubelet {
    fn drop(&mut self) {
        if self.server.lock().take().is_some() {
            let _ = std::fs::remove_file(&self.socket);
        }
    }
}

impl FakePod {
    /// A pod without devices.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(PodResources {
            name: name.into(),
            namespace: namespace.into(),
            containers: Vec::new(),
        })
    }

    /// Its container `container` holds devices of an extended resource, by the kubelet's ids.
    #[must_use]
    pub fn holding<I: Into<String>>(
        mut self,
        container: &str,
        resource: &str,
        ids: impl IntoIterator<Item = I>,
    ) -> Self {
        let devices = devices(resource, ids);
        self.container(container).devices.push(devices);
        self
    }

    /// Its container `container` uses a claim (DRA) to which `driver` allocated `device` of `pool`.
    #[must_use]
    pub fn claiming(mut self, container: &str, claim: &str, driver: &str, pool: &str, device: &str) -> Self {
        let claim = DynamicResource {
            claim_name: claim.into(),
            claim_namespace: self.0.namespace.clone(),
            claim_resources: vec![ClaimResource {
                cdi_devices: Vec::new(),
                driver_name: driver.into(),
                pool_name: pool.into(),
                device_name: device.into(),
                share_id: None,
            }],
        };
        self.container(container).dynamic_resources.push(claim);
        self
    }

    fn container(&mut self, name: &str) -> &mut ContainerResources {
        let containers = &mut self.0.containers;
        let place = containers
            .iter()
            .position(|container| container.name == name)
            .unwrap_or_else(|| {
                containers.push(ContainerResources {
                    name: name.into(),
                    ..ContainerResources::default()
                });
                containers.len() - 1
            });
        &mut containers[place]
    }
}

impl From<FakePod> for PodResources {
    fn from(pod: FakePod) -> Self {
        pod.0
    }
}

fn devices<I: Into<String>>(resource: &str, ids: impl IntoIterator<Item = I>) -> ContainerDevices {
    ContainerDevices {
        resource_name: resource.into(),
        device_ids: ids.into_iter().map(Into::into).collect(),
        topology: None,
    }
}

/// One run of the server, from the socket's making to its end.
#[derive(Debug)]
struct Server {
    /// Dropping it ends the server too.
    stop: oneshot::Sender<()>,
    /// Tells hanging calls that nobody will answer them any more.
    gone: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    fn start(socket: &Path, node: Arc<Node>) -> io::Result<Self> {
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let incoming = UnixListenerStream::new(UnixListener::bind(socket)?);
        let (stop, stopped) = oneshot::channel::<()>();
        let (gone, is_gone) = watch::channel(false);
        let service = PodResourcesListerServer::new(Service { node, gone: is_gone });
        let task = tokio::spawn(async move {
            let serve = tonic::transport::Server::builder().add_service(service);
            let until = async {
                let _ = stopped.await;
            };
            // Its only error is that of the listener, which ends with the fake.
            let _ = serve.serve_with_incoming_shutdown(incoming, until).await;
        });
        Ok(Self { stop, gone, task })
    }

    async fn stop(self) {
        self.gone.send_replace(true);
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

#[derive(Debug)]
struct Node {
    pods: Mutex<Vec<PodResources>>,
    allocatable: Mutex<Vec<ContainerDevices>>,
    fault: watch::Sender<Fault>,
    list: AtomicU64,
    allocatable_calls: AtomicU64,
    get: AtomicU64,
}

struct Service {
    node: Arc<Node>,
    gone: watch::Receiver<bool>,
}

impl Service {
    async fn admit(&self, counter: &AtomicU64) -> Result<(), Status> {
        counter.fetch_add(1, Ordering::Relaxed);
        let mut fault = self.node.fault.subscribe();
        let mut gone = self.gone.clone();
        tokio::select! {
            now = fault.wait_for(|fault| *fault != Fault::Hang) => match now.as_deref() {
                Ok(Fault::Error(code, message)) => Err(Status::new(*code, message.clone())),
                _ => Ok(()),
            },
            _ = gone.wait_for(|gone| *gone) => Err(Status::unavailable("the kubelet is going down")),
        }
    }
}

#[tonic::async_trait]
impl PodResourcesLister for Service {
    async fn list(
        &self,
        _: Request<ListPodResourcesRequest>,
    ) -> Result<Response<ListPodResourcesResponse>, Status> {
        self.admit(&self.node.list).await?;
        let pod_resources = self.node.pods.lock().clone();
        Ok(Response::new(ListPodResourcesResponse { pod_resources }))
    }

    async fn get_allocatable_resources(
        &self,
        _: Request<AllocatableResourcesRequest>,
    ) -> Result<Response<AllocatableResourcesResponse>, Status> {
        self.admit(&self.node.allocatable_calls).await?;
        let devices = self.node.allocatable.lock().clone();
        Ok(Response::new(AllocatableResourcesResponse {
            devices,
            cpu_ids: Vec::new(),
        }))
    }

    async fn get(
        &self,
        request: Request<GetPodResourcesRequest>,
    ) -> Result<Response<GetPodResourcesResponse>, Status> {
        self.admit(&self.node.get).await?;
        let wanted = request.into_inner();
        let found = self
            .node
            .pods
            .lock()
            .iter()
            .find(|pod| (&pod.namespace, &pod.name) == (&wanted.pod_namespace, &wanted.pod_name))
            .cloned();
        match found {
            Some(pod) => Ok(Response::new(GetPodResourcesResponse {
                pod_resources: Some(pod),
            })),
            None => Err(Status::not_found(format!(
                "pod {} in namespace {} not found",
                wanted.pod_name, wanted.pod_namespace
            ))),
        }
    }
}
