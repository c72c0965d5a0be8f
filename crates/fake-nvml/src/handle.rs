//! Handles: what NVML gives out as pointers.
//!
//! A handle is the address of a byte of ours that stays reserved for ever, so that no client, not even
//! a garbage-collected one, mistakes it for something else; what it stands for is looked up here, so
//! that a wrong handle is refused instead of followed.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::scenario::ErrorCode;

/// The most handles that are given out; as many devices come and go before the driver is out of memory.
const MOST_HANDLES: usize = 1 << 20;

/// What a handle stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Handle {
    /// A GPU, by UUID.
    Gpu(String),
    /// A MIG device, by UUID.
    Partition(String),
    /// A GPU instance: the UUID of its GPU, its id and what distinguishes it from a later one with
    /// the same id: the UUIDs of its MIG devices.
    GpuInstance(String, u32, Vec<String>),
    /// A compute instance, by the UUID of its MIG device.
    ComputeInstance(String),
}

static HANDLES: Mutex<Handles> = Mutex::new(Handles {
    given: BTreeMap::new(),
    meanings: BTreeMap::new(),
});

struct Handles {
    given: BTreeMap<Handle, usize>,
    meanings: BTreeMap<usize, Handle>,
}

/// The handle for `meaning`: always the same.
pub(crate) fn give<T>(meaning: Handle) -> Result<*mut T, ErrorCode> {
    let mut handles = HANDLES.lock();
    if let Some(address) = handles.given.get(&meaning) {
        return Ok(std::ptr::without_provenance_mut(*address));
    }
    if handles.given.len() >= MOST_HANDLES {
        return Err(ErrorCode::InsufficientResources);
    }
    let address = reserve();
    handles.given.insert(meaning.clone(), address);
    handles.meanings.insert(address, meaning);
    Ok(std::ptr::without_provenance_mut(address))
}

/// What `handle` stands for.
pub(crate) fn meaning<T>(handle: *mut T) -> Result<Handle, ErrorCode> {
    HANDLES
        .lock()
        .meanings
        .get(&handle.addr())
        .cloned()
        .ok_or(ErrorCode::InvalidArgument)
}

/// Things that clients create and free, such as event sets.
pub(crate) struct Store<V> {
    things: BTreeMap<usize, V>,
}

impl<V> Store<V> {
    pub(crate) const fn new() -> Self {
        Self {
            things: BTreeMap::new(),
        }
    }

    /// Keeps `thing` and gives its handle.
    pub(crate) fn add<T>(&mut self, thing: V) -> Result<*mut T, ErrorCode> {
        if self.things.len() >= MOST_HANDLES {
            return Err(ErrorCode::InsufficientResources);
        }
        let address = reserve();
        self.things.insert(address, thing);
        Ok(std::ptr::without_provenance_mut(address))
    }

    pub(crate) fn get<T>(&self, handle: *mut T) -> Result<&V, ErrorCode> {
        self.things.get(&handle.addr()).ok_or(ErrorCode::InvalidArgument)
    }

    pub(crate) fn get_mut<T>(&mut self, handle: *mut T) -> Result<&mut V, ErrorCode> {
        self.things
            .get_mut(&handle.addr())
            .ok_or(ErrorCode::InvalidArgument)
    }

    pub(crate) fn remove<T>(&mut self, handle: *mut T) -> Result<V, ErrorCode> {
        let thing = self
            .things
            .remove(&handle.addr())
            .ok_or(ErrorCode::InvalidArgument)?;
        // SAFETY: `add` leaked this box, and it left the map just now: nobody else frees it.
        drop(unsafe { Box::from_raw(std::ptr::with_exposed_provenance_mut::<u64>(handle.addr())) });
        Ok(thing)
    }
}

/// An address of our own.
fn reserve() -> usize {
    Box::into_raw(Box::new(0_u64)).expose_provenance()
}
