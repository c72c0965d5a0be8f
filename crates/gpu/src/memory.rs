use std::time::Duration;

use rheostat_reading::{Absent, Quality, Quantity, Timestamp};

use crate::nvml::{MemoryInfo, NvmlError};
use crate::sheet::Sheet;

/// Puts the memory of a device, or why it could not be read.
pub(crate) fn read(sheet: &mut Sheet, memory: Result<MemoryInfo, NvmlError>, at: Timestamp) {
    let memory = sheet.seen(memory);
    let bytes = |pick: fn(&MemoryInfo) -> Option<u64>| match &memory {
        Ok(memory) => pick(memory).ok_or(Absent::NotSupported),
        Err(reason) => Err(reason.clone()),
    };
    for (quantity, value) in [
        (Quantity::MemoryUsedBytes, bytes(|memory| Some(allocated(memory)))),
        (Quantity::MemoryFreeBytes, bytes(|memory| Some(memory.free))),
        (Quantity::MemoryReservedBytes, bytes(|memory| memory.reserved)),
        (Quantity::MemoryTotalBytes, bytes(|memory| Some(memory.total))),
    ] {
        match value {
            Ok(value) => sheet
                .readings
                .put(quantity, value as f64, at, Duration::ZERO, Quality::Measured),
            Err(reason) => sheet.absent(quantity, reason),
        }
    }
    match &memory {
        Ok(memory) if memory.total > 0 => {
            let part = allocated(memory) as f64 / memory.total as f64;
            sheet.readings.put(
                Quantity::MemoryUsedPercent,
                part.min(1.0),
                at,
                Duration::ZERO,
                Quality::Derived,
            );
        }
        Ok(_) => {
            sheet.absent(
                Quantity::MemoryUsedPercent,
                Absent::Failed("NVML reported a total of 0 bytes".into()),
            );
        }
        Err(reason) => sheet.absent(Quantity::MemoryUsedPercent, reason.clone()),
    }
}

/// Memory allocated by processes, without what the driver keeps for itself.
///
/// `nvml.h` says that `used` includes `reserved`, drivers have been seen to leave it out, and
/// `nvidia-smi` shows it without: whichever adds up to the total tells which driver this is.
fn allocated(memory: &MemoryInfo) -> u64 {
    let Some(reserved) = memory.reserved else {
        return memory.used;
    };
    let with = memory.used.saturating_add(memory.free);
    let off_with = with.abs_diff(memory.total);
    let off_without = with.saturating_add(reserved).abs_diff(memory.total);
    if off_with < off_without {
        memory.used.saturating_sub(reserved)
    } else {
        memory.used
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_reservation_is_not_used_memory_whichever_way_the_driver_counts() {
        let reserved = Some(GIB / 2);
        let apart = MemoryInfo {
            total: 80 * GIB,
            free: 70 * GIB - GIB / 2,
            used: 10 * GIB,
            reserved,
        };
        let within = MemoryInfo {
            used: 10 * GIB + GIB / 2,
            ..apart
        };
        assert_eq!(allocated(&apart), 10 * GIB);
        assert_eq!(allocated(&within), 10 * GIB);
        let old = MemoryInfo {
            used: 11 * GIB,
            reserved: None,
            ..apart
        };
        assert_eq!(allocated(&old), 11 * GIB);
    }

    #[test]
    fn no_memory_at_all_is_no_ratio() {
        let mut sheet = Sheet::new();
        let nothing = MemoryInfo {
            total: 0,
            free: 0,
            used: 0,
            reserved: Some(0),
        };
        read(&mut sheet, Ok(nothing), Timestamp::default());
        assert!(matches!(
            sheet.readings.get(Quantity::MemoryUsedPercent),
            Err(Absent::Failed(_))
        ));
    }

    proptest! {
        #[test]
        fn used_is_never_more_than_reported(total: u64, free: u64, used: u64, reserved: Option<u64>) {
            let memory = MemoryInfo { total, free, used, reserved };
            prop_assert!(allocated(&memory) <= used);
        }
    }
}
