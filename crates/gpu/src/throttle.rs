use nvml_wrapper_sys::bindings as sys;

/// NVML's names for why clocks are lower than they could be (`nvmlClocksEventReason…`).
const REASONS: [(u32, &str); 9] = [
    (sys::nvmlClocksEventReasonGpuIdle, "GpuIdle"),
    (
        sys::nvmlClocksEventReasonApplicationsClocksSetting,
        "ApplicationsClocksSetting",
    ),
    (sys::nvmlClocksEventReasonSwPowerCap, "SwPowerCap"),
    (sys::nvmlClocksThrottleReasonHwSlowdown, "HwSlowdown"),
    (sys::nvmlClocksEventReasonSyncBoost, "SyncBoost"),
    (sys::nvmlClocksEventReasonSwThermalSlowdown, "SwThermalSlowdown"),
    (
        sys::nvmlClocksThrottleReasonHwThermalSlowdown,
        "HwThermalSlowdown",
    ),
    (
        sys::nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
        "HwPowerBrakeSlowdown",
    ),
    (
        sys::nvmlClocksEventReasonDisplayClockSetting,
        "DisplayClockSetting",
    ),
];

/// The names of the reasons in `bits`. A bit that NVML 13 does not name is told as `Unknown`.
pub(crate) fn throttle_reasons(bits: u64) -> Vec<&'static str> {
    let mut rest = bits;
    let mut names = Vec::new();
    for (bit, name) in REASONS {
        if rest & u64::from(bit) != 0 {
            rest &= !u64::from(bit);
            names.push(name);
        }
    }
    if rest != 0 {
        names.push("Unknown");
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_named() {
        assert!(throttle_reasons(0).is_empty());
        assert_eq!(throttle_reasons(1), ["GpuIdle"]);
        assert_eq!(throttle_reasons(0x4 | 0x40), ["SwPowerCap", "HwThermalSlowdown"]);
        assert_eq!(throttle_reasons(0x1000), ["Unknown"]);
        assert_eq!(throttle_reasons(0x1ff).len(), 9);
    }
}
