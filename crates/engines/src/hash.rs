/// FNV-1a of 64 bits: fixed for all time, and quick for the short texts of labels.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// `a` then `b`, in this order, in one number.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    // The finaliser of SplitMix64 (Steele, Lea, Flood, 2014), so that sums of mixed numbers do not
    // cancel out.
    let mut mixed = a.rotate_left(25).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_content_count() {
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
        assert_ne!(mix(1, 2), mix(2, 1));
        assert_ne!(
            mix(1, 2).wrapping_add(mix(3, 4)),
            mix(1, 4).wrapping_add(mix(3, 2))
        );
    }
}
