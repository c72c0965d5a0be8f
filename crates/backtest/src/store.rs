use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Results by what determines them, in memory and, where a directory is given, in a file that an
/// interrupted backtest is continued from.
///
/// The file has one result a line, and is one backtest's at a time. A line that was cut by an interruption is left
/// out, and taken away.
#[derive(Debug)]
pub struct Store<T> {
    results: Mutex<HashMap<String, T>>,
    file: Option<Mutex<File>>,
    resumed: usize,
}

/// A directory whose results cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another backtest writes there.
    #[error("{} is in use by another backtest; wait for its end, or give another directory", .0.display())]
    InUse(PathBuf),
    /// It holds something else.
    #[error(
        "{} line {line}: {problem}; give an empty directory, or one that an earlier backtest has written",
        path.display()
    )]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why it is no result.
        problem: String,
    },
    /// What determines a result, or the result, has no JSON form.
    #[error("a result cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The file's name in the directory.
const FILE: &str = "results.jsonl";
/// How each of our lines begins.
const BEGINNING: &[u8] = b"{\"hash\":\"";
/// A longer line is no result of ours: at most [`MOST_BYTES`] are read of one.
const MOST_BYTES: u64 = 64 << 20;
/// More results than that are not kept in memory.
const MOST_RESULTS: usize = 1_000_000;

impl<T: Clone + Serialize + DeserializeOwned> Store<T> {
    /// One that only remembers.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            results: Mutex::new(HashMap::new()),
            file: None,
            resumed: 0,
        }
    }

    /// One that goes on where an earlier backtest with the same `directory` stopped.
    ///
    /// # Errors
    ///
    /// The directory cannot be made, read or written, is in use, or holds something else.
    pub fn resume(directory: &Path) -> Result<Self, StoreError> {
        let path = results_in(directory);
        let failed = |source| StoreError::File {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(failed)?;
        // The file itself is what is locked: it is held for as long as it is written.
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(path)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let (results, whole) = read(&path, &file)?;
        // What follows the last whole line is the rest of one that was cut.
        if whole < file.metadata().map_err(failed)?.len() {
            file.set_len(whole).map_err(failed)?;
        }
        Ok(Self {
            resumed: results.len(),
            results: Mutex::new(results),
            file: Some(Mutex::new(file)),
        })
    }

    /// How many results were there at the beginning.
    #[must_use]
    pub fn resumed(&self) -> usize {
        self.resumed
    }

    /// The result of `key`, from before or from `make`.
    ///
    /// # Errors
    ///
    /// Those of `make`, and those of writing.
    pub fn get_or_make<K: Serialize, E: From<StoreError>>(
        &self,
        key: &K,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let key = serde_json::to_value(key).map_err(StoreError::from)?;
        let text = key.to_string();
        if let Some(result) = self.results.lock().get(&text) {
            return Ok(result.clone());
        }
        let result = make()?;
        self.put(key, text, &result)?;
        Ok(result)
    }

    fn put(&self, key: Value, text: String, result: &T) -> Result<(), StoreError> {
        let mut results = self.results.lock();
        if results.len() >= MOST_RESULTS {
            return Ok(());
        }
        if results.insert(text, result.clone()).is_none()
            && let Some(file) = &self.file
        {
            let line = Line {
                hash: hash(&key),
                key,
                result: serde_json::to_value(result)?,
            };
            let mut bytes = serde_json::to_vec(&line)?;
            bytes.push(b'\n');
            file.lock().write_all(&bytes).map_err(|source| StoreError::File {
                path: PathBuf::from(FILE),
                source,
            })?;
        }
        Ok(())
    }
}

/// The file that [`Store::resume`] keeps results in.
#[must_use]
pub fn results_in(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// One line of the file. The hash shows at a glance which results belong together; equality is that of the
/// whole key, so that no collision can mix them up.
#[derive(Serialize, serde::Deserialize)]
struct Line {
    hash: String,
    key: Value,
    result: Value,
}

/// FNV-1a over the key's JSON text, 64 bits, as hexadecimal digits.
fn hash(key: &Value) -> String {
    let bytes = key.to_string();
    let hash = bytes.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// All results of the file, and the length of its whole lines.
fn read<T: DeserializeOwned>(path: &Path, file: &File) -> Result<(HashMap<String, T>, u64), StoreError> {
    let failed = |source| StoreError::File {
        path: path.to_owned(),
        source,
    };
    let mut results = HashMap::new();
    let mut reader = BufReader::new(file);
    let (mut whole, mut number) = (0, 0);
    loop {
        let mut bytes = Vec::new();
        let read = io::Read::take(&mut reader, MOST_BYTES)
            .read_until(b'\n', &mut bytes)
            .map_err(failed)?;
        number += 1;
        let wrong = |problem: String| StoreError::Line {
            path: path.to_owned(),
            line: number,
            problem,
        };
        if bytes.last() != Some(&b'\n') {
            if read as u64 == MOST_BYTES {
                return Err(wrong(format!("longer than {MOST_BYTES} bytes")));
            }
            // What was cut begins as a line does, unless it was cut there.
            if !bytes.starts_with(BEGINNING) && !BEGINNING.starts_with(&bytes) {
                return Err(wrong("its last line is no part of a result".to_owned()));
            }
            return Ok((results, whole));
        }
        let line: Line = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if line.hash != hash(&line.key) {
            return Err(wrong("the hash is not that of the key".to_owned()));
        }
        let result = serde_json::from_value(line.result).map_err(|error| wrong(error.to_string()))?;
        if results.len() >= MOST_RESULTS {
            return Err(wrong(format!("more than {MOST_RESULTS} results")));
        }
        results.insert(line.key.to_string(), result);
        whole += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(store: &Store<f64>, key: &str, made: &mut u32) -> f64 {
        let result = store.get_or_make(&key, || {
            *made += 1;
            Ok::<_, StoreError>(f64::from(*made) * 0.1)
        });
        result.unwrap()
    }

    #[test]
    fn an_interrupted_backtest_goes_on_where_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let mut made = 0;
        let store = Store::resume(directory.path()).unwrap();
        let first = [get(&store, "a", &mut made), get(&store, "b", &mut made)];
        assert_eq!((store.resumed(), made), (0, 2));
        drop(store);
        // It was killed in the midst of a line.
        let path = directory.path().join(FILE);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"hash\":\"12");
        std::fs::write(&path, &text).unwrap();

        let store = Store::resume(directory.path()).unwrap();
        assert_eq!(store.resumed(), 2);
        let again = [get(&store, "a", &mut made), get(&store, "b", &mut made)];
        assert_eq!((again, made), (first, 2), "nothing was made anew");
        get(&store, "c", &mut made);
        drop(store);
        let store = Store::<f64>::resume(directory.path()).unwrap();
        assert_eq!((store.resumed(), made), (3, 3), "the cut line is gone");
    }

    #[test]
    fn one_backtest_writes_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::resume(directory.path()).unwrap();
        let mut made = 0;
        get(&store, "a", &mut made);
        let error = Store::<f64>::resume(directory.path()).unwrap_err().to_string();
        assert!(
            error.contains("results.jsonl is in use by another backtest"),
            "{error}"
        );
        get(&store, "b", &mut made);
        drop(store);
        let store = Store::<f64>::resume(directory.path()).unwrap();
        assert_eq!(store.resumed(), 2);
    }

    #[test]
    fn a_line_is_taken_away_wherever_it_was_cut() {
        let directory = tempfile::tempdir().unwrap();
        let mut made = 0;
        get(&Store::resume(directory.path()).unwrap(), "a", &mut made);
        let path = directory.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..whole.len() {
            std::fs::write(&path, [&whole, &whole[..cut]].concat()).unwrap();
            assert_eq!(Store::<f64>::resume(directory.path()).unwrap().resumed(), 1);
            assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for other in ["hello\n", "a list without an end of line", "{\"mine\": 1}"] {
            std::fs::write(directory.path().join(FILE), other).unwrap();
            let error = Store::<f64>::resume(directory.path()).unwrap_err().to_string();
            assert!(error.contains("results.jsonl line 1:"), "{error}");
            let left = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
            assert_eq!(left, other, "it is left as it was");
        }
        std::fs::write(
            directory.path().join(FILE),
            "{\"hash\":\"0000000000000000\",\"key\":1,\"result\":1.0}\n",
        )
        .unwrap();
        let error = Store::<f64>::resume(directory.path()).unwrap_err().to_string();
        assert!(error.contains("the hash is not that of the key"), "{error}");
    }

    #[test]
    fn errors_are_not_remembered() {
        let store = Store::<f64>::in_memory();
        let failed = store.get_or_make(&1, || {
            Err(StoreError::Line {
                path: PathBuf::new(),
                line: 1,
                problem: "no".to_owned(),
            })
        });
        assert!(failed.is_err());
        let made = store.get_or_make(&1, || Ok::<_, StoreError>(1.5));
        assert!(made.is_ok_and(|made| made.to_bits() == 1.5_f64.to_bits()));
    }
}
