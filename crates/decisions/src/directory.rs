use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::LogError;

/// The files of a log: numbered, written one after the other, the oldest deleted when they take too much.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Held while this process writes here.
    _lock: File,
    /// Bytes of all files together, at most.
    size: u64,
    /// Older files and their sizes, the oldest first.
    older: Vec<(u64, u64)>,
    number: u64,
    file: File,
    length: u64,
    /// What is in the file beyond [`Self::length`] could not be taken back.
    spoiled: bool,
}

/// The least size: some hundred decisions in each of [`FILES`] files.
pub(crate) const LEAST_SIZE: u64 = 1024 * 1024;

/// A log is divided into so many files. Fewer would lose much of it at once, more would repeat states often.
const FILES: u64 = 8;

/// What the end of a file is searched in for the end of the last whole line, at a time.
const BLOCK: u64 = 64 * 1024;

impl Directory {
    /// Goes on where an earlier process stopped, without the line that it may have left half written.
    pub(crate) fn open(path: &Path, size: u64) -> Result<Self, LogError> {
        if size < LEAST_SIZE {
            return Err(LogError::TooSmall {
                given: size,
                least: LEAST_SIZE,
            });
        }
        fs::create_dir_all(path).map_err(LogError::io(path))?;
        let lock_path = path.join("lock");
        let lock = File::create(&lock_path).map_err(LogError::io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LogError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(LogError::io(lock_path)(error)),
        }
        let mut older = Vec::new();
        for (number, file) in files(path)? {
            let length = fs::metadata(&file).map_err(LogError::io(&file))?.len();
            older.push((number, length));
        }
        let number = older.pop().map_or(1, |(number, _)| number);
        let (file, length) = continued(&name(path, number))?;
        let mut directory = Self {
            path: path.to_owned(),
            _lock: lock,
            size,
            older,
            number,
            file,
            length,
            spoiled: false,
        };
        directory.delete()?;
        Ok(directory)
    }

    /// Bytes of one file, at most.
    const fn file_size(&self) -> u64 {
        self.size / FILES
    }

    /// Whether `bytes` more begin a new file. Asked before they are written, since a file's first line of
    /// each workload is written with its state.
    pub(crate) fn is_full(&self, bytes: usize) -> bool {
        self.spoiled || (self.length > 0 && self.length + bytes as u64 > self.file_size())
    }

    /// Whether a line can be kept at all.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        bytes as u64 <= self.file_size()
    }

    /// Begins a new file.
    pub(crate) fn rotate(&mut self) -> Result<(), LogError> {
        let number = self.number + 1;
        let path = name(&self.path, number);
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)
            .map_err(LogError::io(path))?;
        self.older.push((self.number, self.length));
        (self.number, self.file, self.length, self.spoiled) = (number, file, 0, false);
        self.delete()
    }

    /// Writes a whole line or nothing.
    pub(crate) fn append(&mut self, line: &[u8]) -> Result<(), LogError> {
        if let Err(error) = self.file.write_all(line) {
            // Half a line would spoil the next one.
            self.spoiled = self.file.set_len(self.length).is_err();
            return Err(LogError::io(name(&self.path, self.number))(error));
        }
        self.length += line.len() as u64;
        Ok(())
    }

    /// Deletes the oldest files until a full one more still fits.
    fn delete(&mut self) -> Result<(), LogError> {
        let current = self.file_size().max(self.length);
        while !self.older.is_empty()
            && self.older.iter().map(|(_, length)| length).sum::<u64>() + current > self.size
        {
            let (number, _) = self.older.remove(0);
            let path = name(&self.path, number);
            fs::remove_file(&path).map_err(LogError::io(path))?;
        }
        Ok(())
    }
}

fn name(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("decisions-{number:08}.jsonl"))
}

/// The files of the log in `directory`, the oldest first.
pub(crate) fn files(directory: &Path) -> Result<Vec<(u64, PathBuf)>, LogError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(LogError::io(directory))? {
        let path = entry.map_err(LogError::io(directory))?.path();
        let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| {
            name.strip_prefix("decisions-")?
                .strip_suffix(".jsonl")?
                .parse()
                .ok()
        });
        if let Some(number) = number {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files)
}

/// Opens a file to append to it, cut after its last whole line.
fn continued(path: &Path) -> Result<(File, u64), LogError> {
    let fail = |error| LogError::io(path)(error);
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(path)
        .map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    let mut end = length;
    let whole = loop {
        if end == 0 {
            break 0;
        }
        let from = end.saturating_sub(BLOCK);
        let mut block = Vec::new();
        file.seek(SeekFrom::Start(from)).map_err(fail)?;
        (&mut file)
            .take(end - from)
            .read_to_end(&mut block)
            .map_err(fail)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            break from + at as u64 + 1;
        }
        end = from;
    };
    if whole < length {
        file.set_len(whole).map_err(fail)?;
    }
    Ok((file, whole))
}
