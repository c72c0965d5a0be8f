/// Whether an XID tells of a mistake of the application rather than of sick hardware: the device
/// stays usable. These are the ones that NVIDIA's device plugin does not count against a device's
/// health by default (graphics exceptions, MMU faults, stopped and preempted channels, video).
///
/// <https://docs.nvidia.com/deploy/xid-errors/>
#[must_use]
pub const fn is_application_xid(xid: u64) -> bool {
    matches!(xid, 13 | 31 | 43 | 45 | 68 | 109)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fallen_gpu_is_no_application_error() {
        assert!(is_application_xid(31));
        for hardware in [48, 63, 74, 79, 94, 95, 119] {
            assert!(!is_application_xid(hardware), "{hardware}");
        }
    }
}
