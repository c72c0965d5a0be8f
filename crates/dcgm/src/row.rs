use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use rheostat_promtext::{Labels, Sample};

use crate::field::{BY_NAME, FIELDS, Of, XID};
use crate::holder::{Holder, PodLabels};
use crate::page::PageError;

/// What the page shows of one device, as it is written.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) index: u32,
    pub(crate) model: String,
    pub(crate) pci_bus_id: String,
    pub(crate) profile: String,
    pub(crate) last_xid: Option<u64>,
    /// By place in [`FIELDS`]: who was named, and the value.
    pub(crate) values: BTreeMap<usize, BTreeMap<Option<Holder>, f64>>,
    /// Everybody who was named on any row.
    pub(crate) holders: BTreeSet<Holder>,
}

/// A GPU by UUID, or one of its instances.
pub(crate) type Key = (String, Option<u32>);

/// The rows of a page, by device.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) devices: BTreeMap<Key, Rows>,
    pub(crate) hostname: Option<String>,
    pub(crate) driver_version: Option<String>,
    pub(crate) malformed: usize,
    claims: usize,
}

/// As many as an agent may have: 16 GPUs of 7 instances and more, shared by dozens of pods.
const MAX_DEVICES: usize = 512;
const MAX_CLAIMS: usize = 8192;

impl Table {
    pub(crate) fn add(&mut self, sample: &Sample<'_>, named: PodLabels) -> Result<(), PageError> {
        let place = BY_NAME.get(&*sample.name).copied();
        if place.is_none() && !XID.contains(&&*sample.name) {
            return Ok(());
        }
        let Some((uuid, instance)) = device(&sample.labels) else {
            self.malformed += 1;
            return Ok(());
        };
        self.head(&sample.labels);
        let holder = Holder::of(&sample.labels, named);
        // The row of an instance speaks of its GPU where the quantity is the GPU's.
        let of = place
            .and_then(|place| FIELDS.get(place))
            .map_or(Of::Gpu, |field| field.of);
        let rows = self.device((uuid.clone(), instance), &sample.labels)?;
        let is_new = holder
            .as_ref()
            .is_some_and(|holder| rows.holders.insert(holder.clone()));
        self.claims += usize::from(is_new);
        if self.claims > MAX_CLAIMS {
            let what = "pods on its devices";
            return Err(PageError::TooMany {
                what,
                most: MAX_CLAIMS,
            });
        }
        let owner = match of {
            Of::Gpu => None,
            Of::Instance | Of::Undivided => instance,
        };
        let rows = self.device((uuid, owner), &sample.labels)?;
        // Who is named on the row of an instance holds that instance, not the GPU.
        let holder = if owner == instance { holder } else { None };
        match place {
            // A field that means nothing here.
            Some(_) if of == Of::Undivided && instance.is_some() => {}
            Some(place) => {
                // The first stands: two containers of one pod, or the instances of one GPU.
                rows.values
                    .entry(place)
                    .or_default()
                    .entry(holder)
                    .or_insert(sample.value);
            }
            None => rows.last_xid = rows.last_xid.max(xid(sample.value)),
        }
        Ok(())
    }

    fn device(&mut self, key: Key, labels: &Labels<'_>) -> Result<&mut Rows, PageError> {
        if self.devices.len() >= MAX_DEVICES && !self.devices.contains_key(&key) {
            let what = "devices";
            return Err(PageError::TooMany {
                what,
                most: MAX_DEVICES,
            });
        }
        let instance = key.1;
        Ok(self.devices.entry(key).or_insert_with(|| Rows {
            index: instance.unwrap_or_else(|| number(labels, "gpu").unwrap_or_default()),
            model: text(labels, &["modelName"]).unwrap_or_default(),
            pci_bus_id: text(labels, &["pci_bus_id"]).unwrap_or_default(),
            profile: text(labels, &["GPU_I_PROFILE"]).unwrap_or_default(),
            ..Rows::default()
        }))
    }

    fn head(&mut self, labels: &Labels<'_>) {
        if self.hostname.is_none() {
            self.hostname = text(labels, &["Hostname", "hostname"]);
        }
        if self.driver_version.is_none() {
            self.driver_version = text(labels, &["DCGM_FI_DRIVER_VERSION"]);
        }
    }
}

/// The device of a row: its GPU's UUID and its instance. `None` where it names no GPU, as the rows of
/// switches, links and CPUs do not.
fn device(labels: &Labels<'_>) -> Option<Key> {
    let uuid = text(labels, &["UUID", "uuid"])?;
    let instance = text(labels, &["GPU_I_ID"]).map(|id| id.parse());
    match instance {
        None => Some((uuid, None)),
        Some(Ok(instance)) => Some((uuid, Some(instance))),
        Some(Err(_)) => None,
    }
}

fn text(labels: &Labels<'_>, names: &[&str]) -> Option<String> {
    names
        .iter()
        .find_map(|name| labels.get(name).filter(|value| !value.is_empty()))
        .map(Cow::into_owned)
}

fn number(labels: &Labels<'_>, name: &str) -> Option<u32> {
    labels.get(name)?.parse().ok()
}

fn xid(value: f64) -> Option<u64> {
    // XIDs are small; DCGM's blank is not.
    (value.fract() == 0.0 && (0.0..65536.0).contains(&value)).then_some(value as u64)
}
