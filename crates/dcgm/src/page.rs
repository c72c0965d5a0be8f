use rheostat_promtext::LineError;
use rheostat_reading::Readings;

/// What a dcgm-exporter says of its node.
#[derive(Clone, Debug, PartialEq)]
pub struct DcgmPage {
    /// GPUs by index, each followed by its MIG instances.
    pub devices: Vec<DcgmDevice>,
    /// Who holds what, ordered by namespace, pod, container and device.
    pub claims: Vec<DcgmClaim>,
    /// Whether `claims` say something.
    pub attribution: Attribution,
    /// The node or the exporter's pod, as the page has it in `Hostname`.
    pub hostname: Option<String>,
    /// Version of the GPUs' driver.
    pub driver_version: Option<String>,
    /// Lines that could not be read, and samples of a GPU that name none.
    pub malformed: usize,
}

/// A GPU, or a MIG instance of one.
#[derive(Clone, Debug, PartialEq)]
pub struct DcgmDevice {
    /// UUID of the GPU, for a MIG instance followed by `/gi` and the number of the GPU instance.
    pub id: String,
    /// Id of the GPU that an instance is part of; `None` for a GPU.
    pub parent: Option<String>,
    /// NVML index of the GPU, for an instance the number of the GPU instance.
    pub index: u32,
    /// Product name; empty where the page has none.
    pub model: String,
    /// PCI address of the GPU; empty where the page has none.
    pub pci_bus_id: String,
    /// MIG profile, such as `1g.10gb`; `None` for a GPU.
    pub profile: Option<String>,
    /// Whether MIG is on: the GPU is then used through its instances.
    pub partitioned: bool,
    /// The last XID error, however long ago it was; 0 is none.
    pub last_xid: Option<u64>,
    /// What the page shows of it, and why not of the rest.
    pub readings: Readings,
}

/// One container's hold on one device.
#[derive(Clone, Debug, PartialEq)]
pub struct DcgmClaim {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name; empty where the page has none.
    pub container: String,
    /// [`DcgmDevice::id`].
    pub device: String,
    /// The replica of a shared device, where the exporter tells it.
    pub replica: Option<String>,
    /// Whether the page shows other pods on the device too.
    pub shared: bool,
    /// The pod's own part of a shared device; empty where the exporter does not tell processes apart.
    pub share: Readings,
}

/// Whether a page tells who holds what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribution {
    /// It names pods.
    Known,
    /// It names none: nobody holds a GPU, or the exporter does not ask the kubelet, or cannot. The page
    /// does not tell which of the three.
    NoPods,
}

/// A page of which nothing can be used.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// It is no page of metrics, was cut, or passes a limit. A cut page is refused as a whole: what is
    /// missing may be who else holds a GPU.
    #[error("the page cannot be used: {0}")]
    Unreadable(#[source] LineError),
    /// It has no metric of DCGM's.
    #[error("the page has none of dcgm-exporter's metrics")]
    NotDcgm,
    /// It has more devices or claims than any node.
    #[error("the page has more than {most} {what}, which no node has")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// The most that are taken.
        most: usize,
    },
}
