use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::directory::files;
use crate::error::LogError;
use crate::record::Record;

/// Reads a log: a file, or all files of a directory, the oldest first. In memory there is one line.
#[derive(Debug)]
pub struct Reader {
    /// Files that are not begun yet, the next one last.
    paths: Vec<PathBuf>,
    open: Option<(PathBuf, BufReader<File>, u64)>,
    skipped: Skipped,
}

/// What could not be read and was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Lines in the middle that are no records.
    pub unreadable: u64,
    /// Where the first of them is, and what is wrong with it.
    pub first: Option<String>,
    /// Files whose last line was not written to its end: the writer was killed.
    pub torn: u64,
}

/// The longest line: the state and the pods of the largest workload are far below it.
const LONGEST_LINE: u64 = 64 * 1024 * 1024;

impl Reader {
    /// Of the log at `path`.
    ///
    /// # Errors
    ///
    /// When there is none or it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let mut paths = if path.is_dir() {
            files(path)?.into_iter().map(|(_, path)| path).collect()
        } else if path.exists() {
            vec![path.to_owned()]
        } else {
            Vec::new()
        };
        if paths.is_empty() {
            return Err(LogError::NoLog(path.to_owned()));
        }
        paths.reverse();
        Ok(Self {
            paths,
            open: None,
            skipped: Skipped::default(),
        })
    }

    /// What was left out so far.
    #[must_use]
    pub const fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// The next whole line with its place, or `None` at the end of the file.
    fn line(&mut self) -> Result<Option<(String, Vec<u8>)>, LogError> {
        let Some((path, file, number)) = &mut self.open else {
            return Ok(None);
        };
        *number += 1;
        let mut line = Vec::new();
        file.take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .map_err(LogError::io(path.as_path()))?;
        let place = format!("{}:{number}", path.display());
        if line.last() == Some(&b'\n') {
            return Ok(Some((place, line)));
        }
        if line.len() as u64 == LONGEST_LINE {
            // The rest of it is read as lines of their own, which are no records either.
            return Ok(Some((place, line)));
        }
        if !line.is_empty() {
            self.skipped.torn += 1;
        }
        self.open = None;
        Ok(None)
    }
}

impl Iterator for Reader {
    type Item = Result<Record, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.open.is_none() {
                let path = self.paths.pop()?;
                match File::open(&path) {
                    Ok(file) => self.open = Some((path, BufReader::new(file), 0)),
                    Err(error) => return Some(Err(LogError::io(path)(error))),
                }
            }
            let (place, line) = match self.line() {
                Ok(Some(line)) => line,
                Ok(None) => continue,
                Err(error) => {
                    self.open = None;
                    return Some(Err(error));
                }
            };
            match serde_json::from_slice(&line) {
                Ok(record) => return Some(Ok(record)),
                Err(error) => {
                    self.skipped.unreadable += 1;
                    if self.skipped.first.is_none() {
                        self.skipped.first = Some(format!("{place}: {error}"));
                    }
                }
            }
        }
    }
}
