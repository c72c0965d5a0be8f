use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use rheostat_sizing::Learned;
use serde_json::Value;

/// What was learned cannot be written down or read back.
#[derive(Debug, thiserror::Error)]
pub enum LearnedError {
    /// Written by another version, or not by us.
    #[error("begins with {found:?}; this version reads {HEADER:?}")]
    Version {
        /// How it begins.
        found: String,
    },
    /// More text than is read.
    #[error("has {length} characters; allowed: at most {LONGEST_TEXT}")]
    TooLong {
        /// How long it is.
        length: usize,
    },
    /// Not base64.
    #[error("is not base64")]
    Base64(#[from] base64::DecodeError),
    /// Does not unpack, or to more than is read.
    #[error("does not unpack to at most {MOST_BYTES} bytes")]
    Packed(#[source] std::io::Error),
    /// Unpacks to something else.
    #[error("is not what a sizer learns")]
    Content(#[from] serde_json::Error),
}

/// What a text of this version begins with. Whatever changes the meaning of what is learned needs another
/// one; a scaler that does not know it begins to learn anew.
const HEADER: &str = "v1:";

/// Longest text that is read or written: an API object holds 1 MiB, and a policy may have many workloads.
const LONGEST_TEXT: usize = 64 * 1024;

/// Most bytes that a text is unpacked to: a few times what a month of a workload with all kinds of hardware
/// takes. Without a bound, whoever may write a status could fill the scaler's memory.
const MOST_BYTES: u64 = 512 * 1024;

/// What consists of many weights and means that are good to a part in a hundred at best, and makes up most of
/// the text.
const COARSE: [&str; 3] = ["lateness", "residuals", "season"];

/// Digits that are kept of them: a simulated week of a workload takes 12 kB so.
const COARSE_DIGITS: usize = 4;

/// Digits that are kept of everything else: as many as tell one `f32` from the next.
const DIGITS: usize = 9;

/// What was learned as a text for the status of a policy: JSON of rounded numbers, compressed, in base64.
///
/// # Errors
///
/// It would be longer than what is read.
pub fn encode_learned(learned: &Learned) -> Result<String, LearnedError> {
    let mut value = serde_json::to_value(learned)?;
    for (key, part) in value.as_object_mut().into_iter().flatten() {
        // It is compared with what is to be kept, and no number that was learned.
        if key == "objective" {
            continue;
        }
        round(
            part,
            if COARSE.contains(&key.as_str()) {
                COARSE_DIGITS
            } else {
                DIGITS
            },
        );
    }
    let mut packer = DeflateEncoder::new(Vec::new(), Compression::best());
    packer
        .write_all(&serde_json::to_vec(&value)?)
        .map_err(LearnedError::Packed)?;
    let packed = packer.finish().map_err(LearnedError::Packed)?;
    let mut text = HEADER.to_owned();
    STANDARD.encode_string(packed, &mut text);
    match text.len() > LONGEST_TEXT {
        true => Err(LearnedError::TooLong { length: text.len() }),
        false => Ok(text),
    }
}

/// What [`encode_learned`] wrote.
///
/// # Errors
///
/// Another version's text, or none of ours; more than is read. The workload is then to be learned anew.
pub fn decode_learned(text: &str) -> Result<Learned, LearnedError> {
    if text.len() > LONGEST_TEXT {
        return Err(LearnedError::TooLong { length: text.len() });
    }
    let Some(packed) = text.strip_prefix(HEADER) else {
        return Err(LearnedError::Version {
            found: text.chars().take(HEADER.len()).collect(),
        });
    };
    let packed = STANDARD.decode(packed)?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells what is too long from what just fits.
    let mut unpacker = DeflateDecoder::new(packed.as_slice()).take(MOST_BYTES + 1);
    unpacker.read_to_end(&mut bytes).map_err(LearnedError::Packed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(LearnedError::Packed(std::io::ErrorKind::FileTooLarge.into()));
    }
    Ok(serde_json::from_slice(&bytes)?)
}

/// Leaves so many digits of each number that is not whole.
fn round(value: &mut Value, digits: usize) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| round(item, digits)),
        Value::Object(fields) => fields.values_mut().for_each(|field| round(field, digits)),
        Value::Number(number) if number.is_f64() => {
            let rounded = number
                .as_f64()
                .and_then(|exact| format!("{exact:.*e}", digits - 1).parse().ok());
            if let Some(rounded) = rounded.and_then(serde_json::Number::from_f64) {
                *number = rounded;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(content: &[u8]) -> String {
        let mut packer = DeflateEncoder::new(Vec::new(), Compression::best());
        packer.write_all(content).unwrap();
        format!("{HEADER}{}", STANDARD.encode(packer.finish().unwrap()))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let learned = Learned::default();
        let text = encode_learned(&learned).unwrap();
        assert_eq!(decode_learned(&text).unwrap(), learned);
    }

    #[test]
    fn what_is_not_ours_is_refused_with_the_reason() {
        let refused = |text: &str| decode_learned(text).unwrap_err().to_string();
        assert_eq!(
            refused("v9:AAAA"),
            r#"begins with "v9:"; this version reads "v1:""#
        );
        assert_eq!(refused(""), r#"begins with ""; this version reads "v1:""#);
        assert_eq!(refused("v1:%"), "is not base64");
        assert!(refused("v1:AAAA").starts_with("does not unpack"));
        assert_eq!(refused(&packed(b"[]]")), "is not what a sizer learns");
        assert_eq!(
            refused(&packed(br#"{"season": 3}"#)),
            "is not what a sizer learns"
        );
        let long = "x".repeat(LONGEST_TEXT + 1);
        assert_eq!(refused(&long), "has 65537 characters; allowed: at most 65536");
    }

    #[test]
    fn a_bomb_is_unpacked_no_further_than_allowed() {
        let bomb = packed(&vec![b' '; 20 * 1024 * 1024]);
        assert!(bomb.len() < LONGEST_TEXT, "{}", bomb.len());
        let refused = decode_learned(&bomb).unwrap_err().to_string();
        assert_eq!(refused, "does not unpack to at most 524288 bytes");
    }
}
