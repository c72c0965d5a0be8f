use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use crate::error::TraceError;

/// A trace's text, unpacked where it was compressed, and bounded.
pub(crate) struct Input<'a> {
    reader: Box<dyn BufRead + 'a>,
    line: u64,
    buffer: Vec<u8>,
    left: u64,
}

/// The longest text that is read, in bytes, unpacked: a week of the largest public trace (27 million
/// requests) takes 1.2 GB. Without it a small compressed file could fill the memory.
const LARGEST: u64 = 2 << 30;
/// The longest line. Rows are below 200 bytes; a Mooncake line carries up to some thousand block hashes.
const LONGEST_LINE: u64 = 1 << 20;
/// So much is looked at to tell the format.
const HEAD: u64 = 64 << 10;

impl<'a> Input<'a> {
    /// Reads from `source`, which may be compressed with gzip. Also gives how the text begins.
    pub(crate) fn new(source: impl Read + 'a) -> Result<(Self, String), TraceError> {
        let mut source = BufReader::new(source);
        let packed = source.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
        let mut unpacked: Box<dyn Read + 'a> = if packed {
            Box::new(MultiGzDecoder::new(source))
        } else {
            Box::new(source)
        };
        let mut head = Vec::new();
        unpacked
            .by_ref()
            .take(HEAD)
            .read_to_end(&mut head)
            .map_err(failed)?;
        let text = String::from_utf8_lossy(&head).into_owned();
        let input = Self {
            reader: Box::new(BufReader::with_capacity(
                256 << 10,
                Cursor::new(head).chain(unpacked),
            )),
            line: 0,
            buffer: Vec::new(),
            left: LARGEST,
        };
        Ok((input, text))
    }

    /// The next line that is not empty, with its number, without the blanks around it.
    pub(crate) fn line(&mut self) -> Result<Option<(u64, &str)>, TraceError> {
        loop {
            self.buffer.clear();
            let limit = u64::min(self.left, LONGEST_LINE) + 1;
            let read = self
                .reader
                .by_ref()
                .take(limit)
                .read_until(b'\n', &mut self.buffer)
                .map_err(failed)? as u64;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            self.left = self.left.checked_sub(read).ok_or(TOO_LARGE)?;
            if read > LONGEST_LINE {
                return Err(TraceError::TooLarge {
                    what: "bytes in a line",
                    most: LONGEST_LINE,
                });
            }
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        let text = std::str::from_utf8(self.buffer.trim_ascii()).map_err(|_| TraceError::Field {
            line: self.line,
            column: "1".to_owned(),
            found: String::from_utf8_lossy(&self.buffer).chars().take(60).collect(),
            wanted: "UTF-8 text",
        })?;
        let text = if self.line == 1 {
            text.trim_start_matches('\u{feff}')
        } else {
            text
        };
        Ok(Some((self.line, text)))
    }

    /// All of it, at most `most` bytes.
    pub(crate) fn all(self, most: u64) -> Result<Vec<u8>, TraceError> {
        let mut text = Vec::new();
        self.reader
            .take(most + 1)
            .read_to_end(&mut text)
            .map_err(failed)?;
        if text.len() as u64 > most {
            return Err(TraceError::TooLarge {
                what: "bytes of JSON",
                most,
            });
        }
        Ok(text)
    }
}

const TOO_LARGE: TraceError = TraceError::TooLarge {
    what: "bytes of text",
    most: LARGEST,
};

fn failed(source: io::Error) -> TraceError {
    TraceError::Read { source }
}
