//! Names that the scenario leaves out: always the same for the same node and place.

/// The UUID of GPU number `index` of `node`.
pub(super) fn gpu_uuid(node: &str, index: usize) -> String {
    format!("GPU-{}", uuid(&format!("gpu/{node}/{index}")))
}

/// The UUID of a compute instance. Where it lies is no part of it: an instance keeps its UUID when another
/// one comes or goes and the places that the scenario leaves open are found anew.
pub(super) fn mig_uuid(gpu: &str, profile: &str, instance: u32, part: u32) -> String {
    format!("MIG-{}", uuid(&format!("mig/{gpu}/{profile}/{instance}/{part}")))
}

/// The serial number of the board with GPU number `index` of `node`: 13 digits.
pub(super) fn serial(node: &str, index: usize) -> String {
    format!(
        "165{:010}",
        hash(&format!("serial/{node}/{index}"), 0) % 10_000_000_000
    )
}

/// The PCI address of GPU number `index`: those of an eight-GPU HGX board, then others.
pub(super) fn pci_address(index: usize) -> (u32, u32, u32, u32) {
    const BUSES: [u32; 8] = [0x1B, 0x43, 0x52, 0x61, 0x9D, 0xC3, 0xD1, 0xDF];
    let bus = BUSES.get(index % BUSES.len()).copied().unwrap_or_default();
    ((index / BUSES.len()) as u32, bus, 0, 0)
}

/// A UUID (version 8: made by the application) from `text`.
fn uuid(text: &str) -> String {
    let (high, low) = (hash(text, 1), hash(text, 2));
    let version = (high & 0xFFF) | 0x8000;
    let variant = (low >> 48 & 0x3FFF) | 0x8000;
    format!(
        "{:08x}-{:04x}-{version:04x}-{variant:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xFFFF,
        low & 0xFFFF_FFFF_FFFF
    )
}

/// FNV-1a over `text`, then the finaliser of `SplitMix64`, so that near texts have far hashes.
fn hash(text: &str, salt: u64) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325 ^ salt;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn identities_are_stable_and_differ() {
        let all: BTreeSet<_> = ["", "a", "b"]
            .iter()
            .flat_map(|node| (0..64).map(move |index| gpu_uuid(node, index)))
            .collect();
        assert_eq!(all.len(), 192);
        assert!(all.iter().all(|uuid| uuid.len() == 40), "{all:?}");
        assert_eq!(gpu_uuid("a", 1), gpu_uuid("a", 1));
        assert_eq!(serial("a", 0).len(), 13);
    }
}
