//! Searching short texts, 8 or 16 bytes at a time: whole words, and plain loops that compilers turn into
//! vector instructions. `memchr` is faster only where the way is long.

/// Bytes that are looked at together.
const WIDTH: usize = 16;

/// A byte of one in each byte of a word; times a byte, that byte in each.
const ONES: u64 = u64::MAX / 0xff;

/// The first byte from `from` on which `stop` holds; where there is none, the end.
#[inline(always)]
pub(super) fn first(bytes: &[u8], from: usize, stop: impl Fn(u8) -> bool) -> usize {
    let mut at = from;
    while let Some(chunk) = chunk(bytes, at) {
        let mut stops = [0; WIDTH];
        for (stops, byte) in stops.iter_mut().zip(chunk) {
            *stops = if stop(*byte) { 0xff } else { 0 };
        }
        let found = u128::from_le_bytes(stops);
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += WIDTH;
    }
    while let Some(byte) = bytes.get(at) {
        if stop(*byte) {
            break;
        }
        at += 1;
    }
    at
}

/// The eight bytes from `at`, the first lowest.
#[inline(always)]
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

/// The first byte of `word` below `bound`, which is at most 0x80; 8 where there is none.
#[inline(always)]
pub(super) const fn first_below(word: u64, bound: u8) -> usize {
    (below(word, bound).trailing_zeros() / 8) as usize
}

/// The first byte of `word` that is one of three; 8 where there is none.
#[inline(always)]
pub(super) const fn first_of(word: u64, [one, two, three]: [u8; 3]) -> usize {
    let found = below(word ^ (ONES * one as u64), 1)
        | below(word ^ (ONES * two as u64), 1)
        | below(word ^ (ONES * three as u64), 1);
    (found.trailing_zeros() / 8) as usize
}

/// The highest bit of the first byte below `bound`, perhaps with bits of bytes after it: what these
/// borrow from each other can only make more of them.
#[inline(always)]
const fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * bound as u64) & !word & (ONES * 0x80)
}

/// Whether `byte` can be in the name of a label.
#[inline(always)]
pub(super) const fn in_label_name(byte: u8) -> bool {
    ((byte | 0x20).wrapping_sub(b'a') < 26) | (byte.wrapping_sub(b'0') < 10) | (byte == b'_')
}

/// Whether `byte` can be in the name of a metric.
#[inline(always)]
pub(super) const fn in_metric_name(byte: u8) -> bool {
    in_label_name(byte) | (byte == b':')
}

/// How many bytes `one` and `other` have in common at their beginning.
#[inline(always)]
pub(super) fn common(one: &[u8], other: &[u8]) -> usize {
    let mut at = 0;
    while let (Some(left), Some(right)) = (chunk(one, at), chunk(other, at)) {
        let differs = u128::from_le_bytes(*left) ^ u128::from_le_bytes(*right);
        if differs != 0 {
            return at + (differs.trailing_zeros() / 8) as usize;
        }
        at += WIDTH;
    }
    // The last chunk, of which some is known to be the same already.
    if let Some(last) = one.len().min(other.len()).checked_sub(WIDTH)
        && let (Some(left), Some(right)) = (chunk(one, last), chunk(other, last))
    {
        let differs = u128::from_le_bytes(*left) ^ u128::from_le_bytes(*right);
        return last + (differs.trailing_zeros() / 8) as usize;
    }
    while one.get(at).is_some_and(|byte| other.get(at) == Some(byte)) {
        at += 1;
    }
    at
}

#[inline(always)]
fn chunk(bytes: &[u8], at: usize) -> Option<&[u8; WIDTH]> {
    bytes.get(at..).and_then(<[u8]>::first_chunk)
}
