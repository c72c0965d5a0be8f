//! The world that the real parts see: nodes, pods, requests. Pure and deterministic: the same seed
//! and the same replica counts at the same seconds give the same world.

mod demand;
mod node;
mod pod;
mod queue;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

pub(crate) use demand::{Arrivals, Demand, Rate, uniform};
pub(crate) use node::{Gpu, GpuIndex, Node};
pub(crate) use pod::{Batch, Pod, Stage};
use queue::Queue;

/// Nodes, workloads and the requests that they serve.
#[derive(Clone, Debug)]
pub(crate) struct World {
    now: f64,
    nodes: Vec<Node>,
    workloads: Vec<Workload>,
    events: Vec<WorldEvent>,
    random: ChaCha8Rng,
}

/// A workload: a Deployment whose pods take one GPU each.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    namespace: String,
    name: String,
    demand: Demand,
    replicas: u32,
    pods: Vec<Pod>,
    queue: Queue,
    /// Requests for engines that nobody has taken yet: when each came.
    outside: Vec<f64>,
    /// What arrived per second, smoothed over [`SMOOTHING`]: GPUs' worth of work, or requests where
    /// engines serve them.
    load: f64,
    /// How busy the ready pods are, smoothed likewise.
    utilization: f64,
    gpu_seconds: f64,
    created: u64,
}

/// Something that happened to pods, other than by a change of the replica count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WorldEvent {
    /// Second of the world.
    pub(crate) at: f64,
    /// Position of the workload.
    pub(crate) workload: usize,
    /// The pod.
    pub(crate) pod: String,
    /// What happened.
    pub(crate) what: Happening,
}

/// What happened to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// No GPU is free for it.
    Unschedulable,
    /// It got a GPU after it had waited.
    Scheduled,
    /// Its GPU fell off the bus.
    GpuLost,
    /// It failed its readiness probe.
    Unready,
    /// It was replaced.
    Replaced,
}

/// When a request came that has lost its engine and is asked again: too long ago to be in time.
pub(crate) const AGAIN: f64 = f64::NEG_INFINITY;

/// GPUs are busy for some seconds with each request, so that their utilisation does not follow
/// each arrival.
const SMOOTHING: f64 = 6.0;

/// A pod pulls a 10 GB image and loads its weights: seconds from binding to ready, drawn between.
const COLD_START: (f64, f64) = (60.0, 80.0);

/// A pod that is asked to stop finishes what it has begun.
const GRACE: f64 = 10.0;

/// A pod whose GPU is lost fails its probe after this time…
const UNREADY_AFTER: f64 = 30.0;

/// …and is replaced after this one.
const REPLACED_AFTER: f64 = 60.0;

impl World {
    /// `nodes` nodes of `gpus` GPUs each.
    pub(crate) fn new(nodes: usize, gpus: usize, seed: u64) -> Self {
        Self {
            now: 0.0,
            nodes: (1..=nodes).map(|number| Node::new(number, gpus)).collect(),
            workloads: Vec::new(),
            events: Vec::new(),
            random: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Adds a workload whose `replicas` are all ready from the start, as far as there are GPUs.
    pub(crate) fn add(&mut self, namespace: &str, name: &str, demand: Demand, replicas: u32) -> usize {
        self.workloads.push(Workload {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            demand,
            replicas,
            pods: Vec::new(),
            queue: Queue::default(),
            outside: Vec::new(),
            load: 0.0,
            utilization: 0.0,
            gpu_seconds: 0.0,
            created: 0,
        });
        let index = self.workloads.len() - 1;
        self.reconcile(index);
        self.schedule();
        for pod in self.workloads[index]
            .pods
            .iter_mut()
            .filter(|pod| pod.gpu.is_some())
        {
            pod.stage = Stage::Ready { since: 0.0 };
        }
        index
    }

    /// Asks for `replicas` replicas of a workload.
    pub(crate) fn set_replicas(&mut self, workload: usize, replicas: u32) {
        self.workloads[workload].replicas = replicas;
    }

    /// The GPU of one of the workload's ready pods, the oldest, falls off the bus: the youngest would be the first to go
    /// where the workload shrinks in that very moment, and nobody would see the loss.
    pub(crate) fn lose_gpu(&mut self, workload: usize) -> Option<GpuIndex> {
        let now = self.now;
        let ready = self.workloads[workload].pods.iter_mut().filter(|pod| pod.works());
        let pod = ready.min_by(|a, b| a.created_at.total_cmp(&b.created_at))?;
        let (gpu, Stage::Ready { since: ready_since }) = (pod.gpu?, pod.stage) else {
            return None;
        };
        pod.stage = Stage::Broken {
            since: now,
            ready: true,
            ready_since,
        };
        let name = pod.name.clone();
        self.nodes[gpu.node].gpus[gpu.gpu].lost = true;
        self.tell(workload, name, Happening::GpuLost);
        Some(gpu)
    }

    /// Takes the requests of a workload that are for its engines and that nobody has taken yet: when each came;
    /// [`AGAIN`] for one that had an engine before.
    pub(crate) fn take_requests(&mut self, workload: usize) -> Vec<f64> {
        std::mem::take(&mut self.workloads[workload].outside)
    }

    /// So many requests have lost their engine: their clients ask again.
    pub(crate) fn send_again(&mut self, workload: usize, requests: u64) {
        let outside = &mut self.workloads[workload].outside;
        outside.extend(std::iter::repeat_n(AGAIN, requests as usize));
    }

    /// The engine in `pod` has so much to do.
    pub(crate) fn observe(&mut self, workload: usize, pod: &str, batch: Batch) {
        let mut pods = self.workloads[workload].pods.iter_mut();
        if let Some(pod) = pods.find(|one| one.name == pod) {
            pod.batch = batch;
        }
    }

    /// One second goes by. Returns what happened in it.
    pub(crate) fn step(&mut self) -> Vec<WorldEvent> {
        self.now += 1.0;
        for index in 0..self.workloads.len() {
            self.age(index);
            self.reconcile(index);
        }
        self.schedule();
        for index in 0..self.workloads.len() {
            self.work(index);
        }
        std::mem::take(&mut self.events)
    }

    /// Seconds since the start.
    pub(crate) const fn now(&self) -> f64 {
        self.now
    }

    /// The nodes.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A GPU.
    pub(crate) fn gpu(&self, index: GpuIndex) -> &Gpu {
        &self.nodes[index.node].gpus[index.gpu]
    }

    /// The workloads, in the order in which they were added.
    pub(crate) fn workloads(&self) -> &[Workload] {
        &self.workloads
    }

    /// The pod that holds a GPU.
    pub(crate) fn holder(&self, index: GpuIndex) -> Option<(usize, &Pod)> {
        let (workload, name) = self.gpu(index).holder.as_ref()?;
        let pod = self.workloads[*workload]
            .pods
            .iter()
            .find(|pod| pod.name == *name)?;
        Some((*workload, pod))
    }

    /// What time does to pods.
    fn age(&mut self, index: usize) {
        let now = self.now;
        let mut events = Vec::new();
        for pod in &mut self.workloads[index].pods {
            match pod.stage {
                Stage::Starting { until } if now >= until => pod.stage = Stage::Ready { since: now },
                Stage::Broken { since, .. } if now - since >= REPLACED_AFTER => {
                    pod.stage = Stage::Terminating { until: now };
                    events.push((pod.name.clone(), Happening::Replaced));
                }
                Stage::Broken {
                    since,
                    ready: true,
                    ready_since,
                } if now - since >= UNREADY_AFTER => {
                    pod.stage = Stage::Broken {
                        since,
                        ready: false,
                        ready_since,
                    };
                    events.push((pod.name.clone(), Happening::Unready));
                }
                _ => {}
            }
        }
        let gone = |pod: &Pod| matches!(pod.stage, Stage::Terminating { until } if now >= until);
        for pod in self.workloads[index].pods.extract_if(.., |pod| gone(pod)) {
            if let Some(gpu) = pod.gpu {
                self.nodes[gpu.node].gpus[gpu.gpu].holder = None;
            }
        }
        for (pod, what) in events {
            self.tell(index, pod, what);
        }
    }

    /// What the Deployment's controller does: as many pods as are asked for.
    fn reconcile(&mut self, index: usize) {
        let now = self.now;
        let workload = &mut self.workloads[index];
        let alive = workload.pods.iter().filter(|pod| !pod.is_terminating()).count();
        let wanted = workload.replicas as usize;
        for _ in alive..wanted {
            workload.created += 1;
            workload.pods.push(Pod {
                name: format!("{}-{}", workload.name, workload.created),
                gpu: None,
                stage: Stage::Pending,
                created_at: now,
                utilization: 0.0,
                batch: Batch::default(),
            });
        }
        let mut surplus: Vec<&mut Pod> = workload
            .pods
            .iter_mut()
            .filter(|pod| !pod.is_terminating())
            .collect();
        surplus.sort_by(|a, b| {
            let (a, b) = (a.removal_order(), b.removal_order());
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        for pod in surplus.into_iter().take(alive.saturating_sub(wanted)) {
            let until = if pod.gpu.is_some() { now + GRACE } else { now };
            pod.stage = Stage::Terminating { until };
        }
        workload
            .pods
            .retain(|pod| pod.gpu.is_some() || !pod.is_terminating());
    }

    /// What the scheduler does: a GPU for each pod that waits, the oldest first.
    fn schedule(&mut self) {
        let mut waiting: Vec<(f64, usize, usize)> = Vec::new();
        for (index, workload) in self.workloads.iter().enumerate() {
            let pending = workload
                .pods
                .iter()
                .enumerate()
                .filter(|(_, pod)| pod.stage == Stage::Pending);
            waiting.extend(pending.map(|(place, pod)| (pod.created_at, index, place)));
        }
        waiting.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        for (created_at, workload, place) in waiting {
            let is_new = created_at >= self.now;
            let name = self.workloads[workload].pods[place].name.clone();
            match node::place(&self.nodes) {
                Some(gpu) => {
                    let (least, greatest) = COLD_START;
                    let until = self.now + least + (greatest - least) * uniform(&mut self.random);
                    let pod = &mut self.workloads[workload].pods[place];
                    pod.gpu = Some(gpu);
                    pod.stage = Stage::Starting { until };
                    self.nodes[gpu.node].gpus[gpu.gpu].holder = Some((workload, name.clone()));
                    if !is_new {
                        self.tell(workload, name, Happening::Scheduled);
                    }
                }
                None if is_new => self.tell(workload, name, Happening::Unschedulable),
                None => {}
            }
        }
    }

    /// Requests arrive and are served.
    fn work(&mut self, index: usize) {
        let now = self.now;
        let workload = &mut self.workloads[index];
        let serving = workload.pods.iter().filter(|pod| pod.works()).count() as f64;
        let smooth = |old: f64, new: f64| old + (new - old) / SMOOTHING;
        let busy = match &workload.demand {
            Demand::Steady(busy) => {
                workload.load = serving * busy;
                if serving > 0.0 { *busy } else { 0.0 }
            }
            Demand::Requests(arrivals) => {
                let arrived = arrivals.within(now - 1.0, &mut self.random);
                workload.queue.arrive(now, arrived);
                workload.load = smooth(workload.load, arrived.work);
                let used = workload.queue.serve(now, serving);
                if serving > 0.0 {
                    smooth(workload.utilization, used / serving)
                } else {
                    0.0
                }
            }
            Demand::Engines(rate) => {
                let came = rate.within(now - 1.0, &mut self.random);
                workload.outside.extend(std::iter::repeat_n(now, came as usize));
                workload.load = smooth(workload.load, came as f64);
                let working = workload.pods.iter().filter(|pod| pod.works());
                // An empty sum would be -0.
                working.fold(0.0, |sum, pod| sum + pod.utilization) / serving.max(1.0)
            }
        };
        workload.utilization = busy;
        let by_engines = matches!(workload.demand, Demand::Engines(_));
        workload.gpu_seconds += workload.pods.iter().filter(|pod| pod.gpu.is_some()).count() as f64;
        for pod in &mut workload.pods {
            // No balancer is perfect: each pod is a little more or less busy than the mean.
            let noise = (uniform(&mut self.random) - 0.5) * 0.04;
            pod.utilization = if !pod.works() {
                0.0
            } else if by_engines {
                smooth(pod.utilization, pod.engine_busy())
            } else {
                (busy * (1.0 + noise)).clamp(0.0, 1.0)
            };
        }
    }

    fn tell(&mut self, workload: usize, pod: String, what: Happening) {
        self.events.push(WorldEvent {
            at: self.now,
            workload,
            pod,
            what,
        });
    }
}

impl Workload {
    /// Its namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its pods.
    pub(crate) fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// Pods that Kubernetes takes for ready.
    pub(crate) fn ready(&self) -> usize {
        self.pods
            .iter()
            .filter(|pod| pod.is_ready() && !pod.is_terminating())
            .count()
    }

    /// Pods that no GPU is free for.
    pub(crate) fn pending(&self) -> usize {
        self.pods.iter().filter(|pod| pod.stage == Stage::Pending).count()
    }

    /// Pods that were not asked to stop.
    pub(crate) fn alive(&self) -> usize {
        self.pods.iter().filter(|pod| !pod.is_terminating()).count()
    }

    /// GPUs that its pods hold.
    pub(crate) fn gpus_held(&self) -> usize {
        self.pods.iter().filter(|pod| pod.gpu.is_some()).count()
    }

    /// Replicas asked for.
    pub(crate) const fn replicas(&self) -> u32 {
        self.replicas
    }

    /// What arrives: GPUs' worth of work, or requests per second where engines serve them.
    pub(crate) const fn load(&self) -> f64 {
        self.load
    }

    /// How busy its ready pods are on average, 0 to 1.
    pub(crate) const fn utilization(&self) -> f64 {
        self.utilization
    }

    /// GPU-seconds of work that wait.
    pub(crate) const fn backlog(&self) -> f64 {
        self.queue.backlog()
    }

    /// Requests that wait: in engines, or for one.
    pub(crate) fn waiting(&self) -> u64 {
        let in_engines = self.pods.iter().map(|pod| pod.batch.waiting as u64);
        self.outside.len() as u64 + in_engines.sum::<u64>()
    }

    /// Requests in the batches of engines.
    pub(crate) fn running(&self) -> u64 {
        self.pods.iter().map(|pod| pod.batch.running as u64).sum()
    }

    /// Requests served so far, and how many of them were late.
    pub(crate) const fn served(&self) -> (u64, u64) {
        (self.queue.served(), self.queue.late())
    }

    /// GPU-seconds that its pods have held so far.
    pub(crate) const fn gpu_seconds(&self) -> f64 {
        self.gpu_seconds
    }
}

#[cfg(test)]
mod tests;
