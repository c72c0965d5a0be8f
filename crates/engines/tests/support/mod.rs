//! What several test files need.
#![allow(dead_code, reason = "each test file uses a part of it")]

use rheostat_reading::Timestamp;

/// `seconds` after some moment.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_nanos((2_000 + seconds) * 1_000_000_000)
}

/// `page` as it was when nothing had been counted: all values are 0, but for the process's start.
pub(crate) fn without_counts(page: &[u8]) -> Vec<u8> {
    let page = String::from_utf8(page.to_vec()).unwrap();
    let mut zero = String::new();
    for line in page.lines() {
        match line.rsplit_once(' ') {
            Some((series, _)) if !line.starts_with('#') && !line.starts_with("process_start") => {
                zero.push_str(series);
                zero.push_str(" 0");
            }
            _ => zero.push_str(line),
        }
        zero.push('\n');
    }
    zero.into_bytes()
}
