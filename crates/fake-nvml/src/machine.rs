//! The machine that a scenario describes, ready to answer at any moment.

mod flow;
mod gauge;
mod identity;

use std::sync::Arc;

pub(crate) use flow::{Flows, Meter};
pub(crate) use gauge::{Gauges, Sampled};

use crate::clock;
use crate::scenario::{
    EventKind, Gpu as GpuScenario, Layout, MigInstance, Model, Process, Profile, Scenario, ScenarioError,
    pci_address,
};

/// How long what a GPU reported before a change of the scenario stays in its sample buffers.
const HISTORY_SECONDS: f64 = 60.0;
/// The most changes that the sample buffers remember.
const MOST_HISTORY: usize = 256;
/// The most events of the driver's own that are remembered.
const MOST_NOTICES: usize = 256;

/// A machine with GPUs.
pub(crate) struct Machine {
    pub(crate) scenario: Scenario,
    /// Time zero of the scenario, in Unix seconds.
    pub(crate) zero: f64,
    pub(crate) gpus: Vec<Gpu>,
    /// Events that no scenario named: changes of MIG layouts.
    notices: Vec<Happening>,
}

/// A GPU.
pub(crate) struct Gpu {
    pub(crate) index: usize,
    pub(crate) scenario: GpuScenario,
    pub(crate) model: &'static Model,
    pub(crate) uuid: String,
    pub(crate) serial: String,
    pub(crate) minor: u32,
    /// Domain, bus, device and function.
    pub(crate) pci: (u32, u32, u32, u32),
    pub(crate) numa_node: u32,
    pub(crate) memory_total: u64,
    pub(crate) power_limit: f64,
    pub(crate) nvlinks: u32,
    pub(crate) mig_enabled: bool,
    pub(crate) instances: Vec<Instance>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) flows: Flows,
    /// What it reported before the scenario changed, oldest first, with the time of the change.
    past: Vec<(f64, Arc<Gauges>)>,
}

/// A GPU instance.
pub(crate) struct Instance {
    pub(crate) id: u32,
    pub(crate) profile: Profile,
    pub(crate) placement_start: u32,
    pub(crate) scenario: MigInstance,
    pub(crate) flows: Flows,
    pub(crate) partitions: Vec<Partition>,
}

/// A compute instance: a MIG device.
#[derive(Clone)]
pub(crate) struct Partition {
    pub(crate) id: u32,
    /// Index among the MIG devices of the GPU.
    pub(crate) index: usize,
    pub(crate) uuid: String,
    pub(crate) start: u32,
    pub(crate) slices: u32,
    pub(crate) processes: Vec<Process>,
}

/// An event at a moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Happening {
    pub(crate) gpu: usize,
    pub(crate) uuid: String,
    /// Unix seconds.
    pub(crate) at: f64,
    pub(crate) kind: EventKind,
    pub(crate) data: u64,
    pub(crate) gpu_instance: Option<u32>,
    pub(crate) compute_instance: Option<u32>,
}

/// A process with the partition that it runs on.
pub(crate) struct Running<'a> {
    pub(crate) process: &'a Process,
    pub(crate) place: Option<(u32, u32)>,
}

impl Machine {
    /// The machine of `scenario`, whose file was modified at `modified` (Unix seconds). Where it
    /// takes the place of `before`, counters go on from where they are at `now`.
    pub(crate) fn new(
        scenario: Scenario,
        modified: f64,
        now: f64,
        before: Option<&Self>,
    ) -> Result<Self, ScenarioError> {
        let zero = scenario.started_at_unix_seconds.unwrap_or(modified);
        let mut gpus = Vec::with_capacity(scenario.gpus.len());
        let mut notices = before.map(|machine| machine.notices.clone()).unwrap_or_default();
        for (index, description) in scenario.gpus.iter().enumerate() {
            let mut gpu = Gpu::new(&scenario.node, index, scenario.gpus.len(), description, zero)?;
            if let Some(old) = before.and_then(|machine| machine.gpus.iter().find(|old| old.uuid == gpu.uuid))
            {
                gpu.continue_from(old, now);
                if gpu.layout() != old.layout() {
                    notices.push(Happening {
                        gpu: index,
                        uuid: gpu.uuid.clone(),
                        at: now,
                        kind: EventKind::MigConfigChange,
                        data: 0,
                        gpu_instance: None,
                        compute_instance: None,
                    });
                }
            }
            gpus.push(gpu);
        }
        let surplus = notices.len().saturating_sub(MOST_NOTICES);
        notices.drain(..surplus);
        Ok(Self {
            scenario,
            zero,
            gpus,
            notices,
        })
    }

    /// Every event from `since` to `until` (Unix seconds), in order of time.
    pub(crate) fn happenings(&self, since: f64, until: f64) -> Vec<Happening> {
        let planned = self.gpus.iter().flat_map(|gpu| {
            gpu.scenario.events.iter().map(|event| Happening {
                gpu: gpu.index,
                uuid: gpu.uuid.clone(),
                at: self.zero + event.at_seconds,
                kind: event.kind,
                data: event.data,
                gpu_instance: event.gpu_instance,
                compute_instance: event.compute_instance,
            })
        });
        let mut all: Vec<_> = planned
            .chain(self.notices.iter().cloned())
            .filter(|event| event.at >= since && event.at <= until)
            .collect();
        all.sort_by(|a, b| a.at.total_cmp(&b.at));
        all
    }

    /// The GPU, instance and partition of the MIG device `uuid`.
    pub(crate) fn partition(&self, uuid: &str) -> Option<(&Gpu, &Instance, &Partition)> {
        self.gpus.iter().find_map(|gpu| {
            gpu.partitions()
                .find(|(_, part)| part.uuid == uuid)
                .map(|(instance, part)| (gpu, instance, part))
        })
    }
}

impl Gpu {
    fn new(
        node: &str,
        index: usize,
        count: usize,
        scenario: &GpuScenario,
        zero: f64,
    ) -> Result<Self, ScenarioError> {
        let key = format!("gpus[{index}]");
        let model = scenario.figures().ok_or_else(|| ScenarioError::Value {
            key: format!("{key}.model"),
            problem: "is not a known model".to_owned(),
        })?;
        let uuid = scenario
            .uuid
            .clone()
            .unwrap_or_else(|| identity::gpu_uuid(node, index));
        let memory_total = scenario.memory_total_bytes.unwrap_or(model.memory_mib << 20);
        let power_limit = scenario.power_limit_watts.unwrap_or(model.power_limits.1);
        let mig_enabled = scenario.mig.as_ref().is_some_and(|mig| mig.enabled);
        let mut instances = Vec::new();
        if let Some(mig) = &scenario.mig {
            let layout = Layout::new(&format!("{key}.mig"), mig, model, memory_total >> 20)?;
            for (instance, (profile, id, start)) in mig.instances.iter().zip(layout.instances) {
                let first = instances
                    .iter()
                    .map(|instance: &Instance| instance.partitions.len())
                    .sum();
                instances.push(Instance {
                    partitions: partitions(&uuid, first, instance, &profile, id),
                    flows: Flows::of_instance(&instance.activity, zero),
                    scenario: instance.clone(),
                    id,
                    profile,
                    placement_start: start,
                });
            }
        }
        let gauges = Gauges::new(scenario, model, power_limit, &instances, zero);
        let pci = scenario.pci_bus_id.as_deref().and_then(pci_address);
        Ok(Self {
            index,
            serial: scenario
                .serial
                .clone()
                .unwrap_or_else(|| identity::serial(node, index)),
            minor: scenario.minor.unwrap_or(index as u32),
            pci: pci.unwrap_or_else(|| identity::pci_address(index)),
            numa_node: scenario
                .numa_node
                .unwrap_or_else(|| u32::from(index >= count.div_ceil(2))),
            memory_total,
            power_limit,
            nvlinks: scenario.nvlink_count.unwrap_or(model.nvlinks),
            mig_enabled,
            flows: Flows::of_gpu(scenario, &gauges, zero),
            gauges: Arc::new(gauges),
            instances,
            past: Vec::new(),
            scenario: scenario.clone(),
            model,
            uuid,
        })
    }

    /// Takes over counters and sample buffers of the same GPU in an older scenario.
    fn continue_from(&mut self, old: &Self, now: f64) {
        self.flows.continue_from(&old.flows, now);
        for instance in &mut self.instances {
            if let Some(before) = old.instances.iter().find(|before| before.same_as(instance)) {
                instance.flows.continue_from(&before.flows, now);
            }
        }
        self.past.clone_from(&old.past);
        self.past.push((now, Arc::clone(&old.gauges)));
        self.past.retain(|(until, _)| now - until < HISTORY_SECONDS);
        let surplus = self.past.len().saturating_sub(MOST_HISTORY);
        self.past.drain(..surplus);
    }

    /// What a sampler in the driver would have seen at `unix`.
    pub(crate) fn sampled(&self, what: Sampled, unix: f64) -> f64 {
        let then = self
            .past
            .iter()
            .find(|(until, _)| unix < *until)
            .map_or(&self.gauges, |(_, gauges)| gauges);
        then.value(what, unix)
    }

    /// The MIG devices, each with its GPU instance, in order of their index.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (&Instance, &Partition)> {
        self.instances
            .iter()
            .flat_map(|instance| instance.partitions.iter().map(move |part| (instance, part)))
    }

    /// The GPU instance with this id.
    pub(crate) fn instance(&self, id: u32) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.id == id)
    }

    /// Every process on the GPU.
    pub(crate) fn running(&self) -> Vec<Running<'_>> {
        let whole = self
            .scenario
            .processes
            .iter()
            .map(|process| Running { process, place: None });
        let partitioned = self.partitions().flat_map(|(instance, part)| {
            part.processes.iter().map(|process| Running {
                process,
                place: Some((instance.id, part.id)),
            })
        });
        whole.chain(partitioned).collect()
    }

    /// `domain:bus:device.function` with a domain of `digits` digits.
    pub(crate) fn bus_id(&self, digits: usize) -> String {
        let (domain, bus, device, function) = self.pci;
        format!("{domain:0digits$X}:{bus:02X}:{device:02X}.{function:X}")
    }

    pub(crate) fn ecc_enabled(&self) -> bool {
        self.model.ecc && self.scenario.ecc.enabled.unwrap_or(true)
    }

    /// Memory that processes and instances may have.
    pub(crate) fn memory_reserved(&self) -> u64 {
        self.model.reserved_mib << 20
    }

    /// Allocated memory at `unix`, without what is reserved.
    pub(crate) fn memory_used(&self, unix: f64) -> u64 {
        let used = match &self.scenario.readings.memory_used_bytes {
            Some(curve) => curve.at(unix - self.gauges.zero) as u64,
            None if self.mig_enabled => self
                .instances
                .iter()
                .map(|instance| instance.memory_used(unix - self.gauges.zero))
                .sum(),
            None => self
                .scenario
                .processes
                .iter()
                .filter_map(|process| process.memory_bytes)
                .sum(),
        };
        used.min(self.memory_total - self.memory_reserved())
    }

    /// Seconds since the scenario's time zero.
    pub(crate) fn seconds(&self, unix: f64) -> f64 {
        unix - self.gauges.zero
    }

    fn layout(&self) -> (bool, Vec<(u32, u32, &str, &str)>) {
        let parts = self.partitions();
        let parts = parts.map(|(i, part)| {
            (
                i.id,
                i.placement_start,
                i.profile.name.as_str(),
                part.uuid.as_str(),
            )
        });
        (self.mig_enabled, parts.collect())
    }
}

impl Instance {
    fn same_as(&self, other: &Self) -> bool {
        self.id == other.id
            && self
                .partitions
                .iter()
                .map(|part| &part.uuid)
                .eq(other.partitions.iter().map(|part| &part.uuid))
    }

    pub(crate) fn memory_total(&self) -> u64 {
        self.profile.memory_mib << 20
    }

    /// Allocated memory at `t` seconds of the scenario.
    pub(crate) fn memory_used(&self, t: f64) -> u64 {
        let used = match &self.scenario.memory_used_bytes {
            Some(curve) => curve.at(t) as u64,
            None => {
                let processes = self.partitions.iter().flat_map(|part| &part.processes);
                processes.filter_map(|process| process.memory_bytes).sum()
            }
        };
        used.min(self.memory_total())
    }
}

fn partitions(gpu: &str, first: usize, instance: &MigInstance, profile: &Profile, id: u32) -> Vec<Partition> {
    let uuid = |part: u32| identity::mig_uuid(gpu, &profile.name, id, part);
    if instance.compute_instances.is_empty() {
        return vec![Partition {
            id: 0,
            index: first,
            uuid: instance.uuid.clone().unwrap_or_else(|| uuid(0)),
            start: 0,
            slices: profile.slices,
            processes: instance.processes.clone(),
        }];
    }
    let mut start = 0;
    let parts = instance.compute_instances.iter().zip(0..).map(|(part, id)| {
        let partition = Partition {
            id,
            index: first + id as usize,
            uuid: part.uuid.clone().unwrap_or_else(|| uuid(id)),
            start,
            slices: part.slices,
            processes: part.processes.clone(),
        };
        start += part.slices;
        partition
    });
    parts.collect()
}

/// The driver's clock, for one answer.
pub(crate) fn now() -> f64 {
    clock::unix_now()
}
