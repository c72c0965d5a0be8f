/// A node with GPUs.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Its name.
    pub(crate) name: String,
    /// Its GPUs in NVML's order.
    pub(crate) gpus: Vec<Gpu>,
}

/// A GPU, and who holds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Gpu {
    /// NVML UUID.
    pub(crate) uuid: String,
    /// Whether it has fallen off the bus.
    pub(crate) lost: bool,
    /// The pod that holds it, by workload and name.
    pub(crate) holder: Option<(usize, String)>,
}

/// One GPU of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GpuIndex {
    /// Position of its node.
    pub(crate) node: usize,
    /// NVML index on it.
    pub(crate) gpu: usize,
}

impl Node {
    /// Node number `number` with `gpus` GPUs.
    pub(crate) fn new(number: usize, gpus: usize) -> Self {
        let gpu = |index| Gpu {
            uuid: format!("GPU-{number:08x}-0000-4000-8000-{index:012x}"),
            ..Gpu::default()
        };
        Self {
            name: format!("gpu-node-{number}"),
            gpus: (0..gpus).map(gpu).collect(),
        }
    }

    /// GPUs that a new pod could have.
    pub(crate) fn free(&self) -> impl Iterator<Item = usize> {
        let free = |(index, gpu): (usize, &Gpu)| (gpu.holder.is_none() && !gpu.lost).then_some(index);
        self.gpus.iter().enumerate().filter_map(free)
    }
}

/// Where a new pod goes: to the node with most free GPUs, the first of equals, as the default
/// scheduler spreads.
pub(crate) fn place(nodes: &[Node]) -> Option<GpuIndex> {
    let roomy = |(index, node): (usize, &Node)| (node.free().count(), usize::MAX - index);
    let (node, found) = nodes
        .iter()
        .enumerate()
        .max_by_key(|(index, node)| roomy((*index, *node)))?;
    Some(GpuIndex {
        node,
        gpu: found.free().next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_spread_and_a_full_cluster_takes_none() {
        let mut nodes = vec![Node::new(1, 2), Node::new(2, 2)];
        let mut places = Vec::new();
        while let Some(GpuIndex { node, gpu }) = place(&nodes) {
            nodes[node].gpus[gpu].holder = Some((0, String::from("x")));
            places.push((node, gpu));
        }
        assert_eq!(places, [(0, 0), (1, 0), (0, 1), (1, 1)]);
        nodes[1].gpus[0].holder = None;
        nodes[1].gpus[0].lost = true;
        assert_eq!(place(&nodes), None, "a lost GPU is nobody's");
    }
}
