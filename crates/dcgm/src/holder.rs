use rheostat_promtext::Labels;

/// A container as a row names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) container: String,
    pub(crate) replica: Option<String>,
}

/// How a page names pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodLabels {
    /// Under the exporter's own labels, present or past.
    Own,
    /// Under `exported_…`, as a Prometheus re-exposes them; `pod` is then the exporter's own pod, also on
    /// rows that nobody holds.
    Exported,
}

/// Namespace, pod and container in the exporter's ways of naming them: since 2.0, before with
/// `--use-old-namespace`, and in the days of `kubernetes_` relabelings.
const OWN: [[&str; 3]; 3] = [
    ["namespace", "pod", "container"],
    ["pod_namespace", "pod_name", "container_name"],
    [
        "kubernetes_namespace",
        "kubernetes_pod_name",
        "kubernetes_container_name",
    ],
];
const EXPORTED: [&str; 3] = ["exported_namespace", "exported_pod", "exported_container"];

impl PodLabels {
    /// Whether a row shows that the page's labels are those of a re-exposed page.
    pub(crate) fn are_exported(labels: &Labels<'_>) -> bool {
        labels.get(EXPORTED[1]).is_some()
    }
}

impl Holder {
    /// Who holds the device of a row; `None` where nobody is named.
    pub(crate) fn of(labels: &Labels<'_>, named: PodLabels) -> Option<Self> {
        let ways = match named {
            PodLabels::Own => &OWN[..],
            PodLabels::Exported => &[EXPORTED][..],
        };
        let value = |label| labels.get(label).filter(|value| !value.is_empty());
        ways.iter().find_map(|[namespace, pod, container]| {
            Some(Self {
                namespace: value(namespace)?.into_owned(),
                pod: value(pod)?.into_owned(),
                container: value(container).unwrap_or_default().into_owned(),
                replica: value("vgpu").map(std::borrow::Cow::into_owned),
            })
        })
    }
}
