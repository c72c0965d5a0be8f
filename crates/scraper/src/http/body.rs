use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::error::Failure;
use super::room::{SMALL, Taken};

/// A body that is being received, decompressed where it is compressed, and never larger than it
/// may be: a bomb ends at the limit, not in memory.
pub(super) enum Body {
    Plain(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
}

/// Takes up to `limit` bytes.
pub(super) struct Bounded {
    page: Vec<u8>,
    limit: usize,
    taken: Taken,
    overrun: Option<Overrun>,
}

#[derive(Clone, Copy)]
enum Overrun {
    Limit,
    Room,
}

impl Body {
    /// `expected` bytes are to come, or more, as far as the server says.
    pub(super) fn begin(
        headers: &HeaderMap,
        expected: u64,
        limit: usize,
        taken: Taken,
    ) -> Result<Self, Failure> {
        let mut bounded = Bounded {
            page: Vec::new(),
            limit,
            taken,
            overrun: None,
        };
        let coding = headers
            .get(CONTENT_ENCODING)
            .map_or(b"".as_slice(), |coding| coding.as_bytes())
            .trim_ascii()
            .to_ascii_lowercase();
        match coding.as_slice() {
            b"" | b"identity" => {
                // A page that need not grow is not copied. Where it does not come after all, the system
                // has promised the memory, but not given it.
                let expected = usize::try_from(expected).unwrap_or(limit);
                bounded.page.reserve_exact(expected.min(limit).min(SMALL));
                Ok(Self::Plain(bounded))
            }
            b"gzip" | b"x-gzip" => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(bounded)))),
            other => Err(Failure::Encoding(readable(other, 32))),
        }
    }

    pub(super) fn take(&mut self, chunk: &Bytes) -> Result<(), Failure> {
        match self {
            Self::Plain(bounded) => bounded
                .write_all(chunk)
                .map_err(|_| bounded.failure().unwrap_or(Failure::NoRoom)),
            Self::Gzip(decoder) => decoder
                .write_all(chunk)
                .map_err(|error| decoder.get_ref().failure().unwrap_or(Failure::Gzip(error))),
        }
    }

    /// Whether it bears its own mark of where it ends.
    pub(super) fn is_compressed(&self) -> bool {
        matches!(self, Self::Gzip(_))
    }

    /// The page, once all has come.
    pub(super) fn finish(self) -> Result<(Vec<u8>, Taken), Failure> {
        let bounded = match self {
            Self::Plain(bounded) => bounded,
            Self::Gzip(mut decoder) => {
                if let Err(error) = decoder.try_finish() {
                    return Err(decoder.get_ref().failure().unwrap_or(Failure::Gzip(error)));
                }
                decoder.finish().map_err(Failure::Gzip)?
            }
        };
        Ok((bounded.page, bounded.taken))
    }

    /// What there is so far, whole or not.
    pub(super) fn so_far(&mut self) -> &[u8] {
        match self {
            Self::Plain(bounded) => &bounded.page,
            Self::Gzip(decoder) => {
                // It holds back what it has decompressed; what goes wrong with the rest does not matter.
                let _ = decoder.flush();
                &decoder.get_ref().page
            }
        }
    }
}

impl Bounded {
    fn failure(&self) -> Option<Failure> {
        self.overrun.map(|overrun| match overrun {
            Overrun::Limit => Failure::TooLarge { limit: self.limit },
            Overrun::Room => Failure::NoRoom,
        })
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What is too much is refused, but an error shows how it begins.
        let fitting = bytes.len().min(self.limit - self.page.len());
        if !self.taken.cover(self.page.len() + fitting) {
            self.overrun = Some(Overrun::Room);
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.page.extend_from_slice(&bytes[..fitting]);
        if fitting < bytes.len() {
            self.overrun = Some(Overrun::Limit);
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The beginning of `bytes` as one line of at most `limit` characters.
pub(super) fn readable(bytes: &[u8], limit: usize) -> String {
    let start = &bytes[..bytes.len().min(limit * 4)];
    let text = String::from_utf8_lossy(start);
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_comes_becomes_one_short_line() {
        assert_eq!(
            readable(b"  <html>\r\n\t<h1>No\x1b[31m</h1>\xff", 99),
            "<html> <h1>No [31m</h1>\u{fffd}"
        );
        assert_eq!(readable("äöü".as_bytes(), 2), "äö");
        assert_eq!(readable(b"", 9), "");
    }
}
