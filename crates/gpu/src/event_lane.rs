use std::sync::Arc;
use std::time::Duration;

use crate::nvml::{Event, EventSet, NvmlError};
use crate::sampler::{Control, Live, Shared, Xid};
use crate::xid::is_application_xid;

/// Waits for what devices report by themselves: critical errors, and that their partitions changed.
pub(crate) fn run(shared: &Shared) {
    let mut pause = Duration::ZERO;
    while shared.park(shared.options.of_real(pause), |_| false) {
        let Some(live) = shared.live() else {
            pause = Duration::ZERO;
            if !shared.park(IDLE, |control| control.live.is_some()) {
                return;
            }
            continue;
        };
        match follow(shared, live) {
            // Other GPUs, or none: begin anew with what there is now.
            Ok(()) => pause = Duration::ZERO,
            Err(error) => {
                tracing::debug!(%error, "GPU events cannot be followed");
                pause = RETRY;
            }
        }
    }
}

/// Without a driver the lane only waits to be woken.
const IDLE: Duration = Duration::from_secs(3600);

/// Real time between two looks at the events that are waiting. The lane sleeps here and not in the
/// driver, so that it ends at once when it should and holds no session that must be shut down.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Most events that are taken at one look: a storm of them must not keep the lane from its end.
const MOST_EVENTS: usize = 64;

/// After a failure: events are not supported, or may not be had.
const RETRY: Duration = Duration::from_secs(30);

/// Follows the events of the GPUs of `live` until other GPUs take their place.
fn follow(shared: &Shared, live: Arc<Live>) -> Result<(), NvmlError> {
    let set = EventSet::new(Arc::clone(&live.session))?;
    let mut registered = Err(NvmlError::NOT_SUPPORTED);
    for gpu in &live.gpus {
        let result = set.register(gpu.handle);
        if registered.is_err() {
            registered = result;
        }
    }
    if live.gpus.is_empty() {
        // Nothing to wait for but GPUs; the session must not be held meanwhile.
        drop((set, live));
        shared.park(RETRY, |control| {
            control.live.as_ref().is_none_or(|live| !live.gpus.is_empty())
        });
        return Ok(());
    }
    registered?;
    let period = shared.options.of_real(LOOK_EVERY);
    let others = |control: &Control| !control.live.as_ref().is_some_and(|now| same_gpus(now, &live));
    while shared.park(period, others) && shared.live().is_some_and(|now| same_gpus(&now, &live)) {
        for _ in 0..MOST_EVENTS {
            let Some(event) = set.wait(Duration::ZERO)? else {
                break;
            };
            tell(shared, &live, event);
        }
    }
    Ok(())
}

fn tell(shared: &Shared, live: &Live, event: Event) {
    let (device, gpu_instance, xid) = match event {
        Event::Changed => return shared.request_enumeration(),
        Event::Xid {
            device,
            gpu_instance,
            xid,
        } => (device, gpu_instance, xid),
    };
    if let Some(gpu) = live.gpus.iter().find(|gpu| gpu.handle == device) {
        let application = is_application_xid(xid);
        tracing::warn!(device = %gpu.id, xid, application, "the GPU reports a critical error");
        record(
            shared,
            Xid {
                gpu: gpu.id.clone(),
                gpu_instance,
                number: xid,
                at: shared.clock.now(),
            },
        );
    }
}

fn same_gpus(one: &Arc<Live>, other: &Arc<Live>) -> bool {
    Arc::ptr_eq(&one.session, &other.session)
        && one.gpus.len() == other.gpus.len()
        && one
            .gpus
            .iter()
            .zip(&other.gpus)
            .all(|(one, other)| one.handle == other.handle && one.id == other.id)
}

/// Most XIDs that are kept, of GPUs and their instances; the oldest are forgotten first.
const MOST_XIDS: usize = 256;

fn record(shared: &Shared, xid: Xid) {
    let mut xids = shared.xids.lock();
    xids.retain(|known| known.gpu != xid.gpu || known.gpu_instance != xid.gpu_instance);
    if xids.len() >= MOST_XIDS {
        xids.remove(0);
    }
    xids.push(xid);
}
