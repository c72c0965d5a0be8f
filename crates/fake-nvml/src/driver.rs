//! The state behind the C functions: the scenario that is loaded, and whether NVML is initialised.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock;
use crate::machine::Machine;
use crate::scenario::{ErrorCode, Scenario, ScenarioError};

/// Names the scenario file, before `scenario.json` beside the library.
const SCENARIO_VARIABLE: &str = "RHEOSTAT_NVML_SCENARIO";

/// How often the scenario file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(20);

static STATE: Mutex<State> = Mutex::new(State {
    users: 0,
    loaded: None,
    looked_at: None,
    complaint: None,
});

struct State {
    /// How many `nvmlInit` calls have no `nvmlShutdown` yet.
    users: u32,
    loaded: Option<Loaded>,
    looked_at: Option<Instant>,
    /// What was last said on stderr; the same is not said twice.
    complaint: Option<String>,
}

struct Loaded {
    machine: Arc<Machine>,
    path: PathBuf,
    stamp: Stamp,
    /// The stamp of a file that was not good.
    refused: Option<Stamp>,
}

/// By which a changed file is known.
#[derive(Clone, Copy, PartialEq)]
struct Stamp {
    modified: (i64, i64),
    size: u64,
    inode: u64,
}

/// The machine, if NVML is initialised: as the scenario file says now, or said when it was last good.
pub(crate) fn machine() -> Result<Arc<Machine>, ErrorCode> {
    let mut state = STATE.lock();
    if state.users == 0 {
        return Err(ErrorCode::Uninitialized);
    }
    state.refresh();
    let loaded = state.loaded.as_ref().ok_or(ErrorCode::Uninitialized)?;
    Ok(Arc::clone(&loaded.machine))
}

/// The machine, whether NVML is initialised or not.
pub(crate) fn load() -> Result<Arc<Machine>, ErrorCode> {
    let mut state = STATE.lock();
    if state.users > 0 {
        state.refresh();
    } else if let Err(problem) = state.open() {
        let code = match &problem {
            ScenarioError::File { .. } => ErrorCode::DriverNotLoaded,
            _ => ErrorCode::Unknown,
        };
        state.complain(&problem.to_string());
        return Err(code);
    }
    let loaded = state.loaded.as_ref().ok_or(ErrorCode::DriverNotLoaded)?;
    Ok(Arc::clone(&loaded.machine))
}

/// Counts one more user.
pub(crate) fn acquire() {
    let mut state = STATE.lock();
    state.users = state.users.saturating_add(1);
}

/// Counts one user less.
pub(crate) fn release() -> Result<(), ErrorCode> {
    let mut state = STATE.lock();
    state.users = state.users.checked_sub(1).ok_or(ErrorCode::Uninitialized)?;
    Ok(())
}

impl State {
    /// Loads the scenario, or looks whether it has changed.
    fn open(&mut self) -> Result<(), ScenarioError> {
        let path = scenario_path();
        if self.loaded.as_ref().is_some_and(|loaded| loaded.path == path) && path.exists() {
            self.looked_at = None;
            self.refresh();
            return Ok(());
        }
        let stamp = Stamp::of(&path)?;
        let machine = Machine::new(Scenario::read(&path)?, stamp.seconds(), clock::unix_now(), None)?;
        self.loaded = Some(Loaded {
            machine: Arc::new(machine),
            path,
            stamp,
            refused: None,
        });
        self.looked_at = Some(clock::monotonic_now());
        Ok(())
    }

    /// Follows a change of the file. One that cannot be read leaves the last good scenario in force.
    fn refresh(&mut self) {
        let now = clock::monotonic_now();
        if self
            .looked_at
            .is_some_and(|then| now.duration_since(then) < LOOK_EVERY)
        {
            return;
        }
        self.looked_at = Some(now);
        let Some(loaded) = &mut self.loaded else { return };
        let outcome = loaded.follow();
        if let Err(problem) = outcome {
            self.complain(&format!("{problem}; the last good scenario stays in force"));
        }
    }

    fn complain(&mut self, problem: &str) {
        if self.complaint.as_deref() != Some(problem) {
            eprintln!("NVML: {problem}");
            self.complaint = Some(problem.to_owned());
        }
    }
}

impl Loaded {
    fn follow(&mut self) -> Result<(), ScenarioError> {
        let stamp = Stamp::of(&self.path)?;
        if stamp == self.stamp || self.refused == Some(stamp) {
            return Ok(());
        }
        self.refused = Some(stamp);
        let scenario = Scenario::read(&self.path)?;
        let machine = Machine::new(scenario, stamp.seconds(), clock::unix_now(), Some(&self.machine))?;
        self.machine = Arc::new(machine);
        self.stamp = stamp;
        self.refused = None;
        Ok(())
    }
}

impl Stamp {
    fn of(path: &Path) -> Result<Self, ScenarioError> {
        let facts = fs::metadata(path).map_err(|source| ScenarioError::File {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            modified: (facts.mtime(), facts.mtime_nsec()),
            size: facts.size(),
            inode: facts.ino(),
        })
    }

    /// When the file was modified, in Unix seconds.
    fn seconds(self) -> f64 {
        self.modified.0 as f64 + self.modified.1 as f64 / 1e9
    }
}

fn scenario_path() -> PathBuf {
    match std::env::var_os(SCENARIO_VARIABLE) {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => own_path().unwrap_or_default().with_file_name("scenario.json"),
    }
}

/// `Dl_info` of `dlfcn.h`.
#[repr(C)]
struct ObjectInfo {
    file_name: *const c_char,
    base: *mut c_void,
    symbol_name: *const c_char,
    symbol: *mut c_void,
}

unsafe extern "C" {
    fn dladdr(address: *const c_void, info: *mut ObjectInfo) -> c_int;
}

/// The file from which this very copy of the library was loaded.
fn own_path() -> Option<PathBuf> {
    let mut info = ObjectInfo {
        file_name: std::ptr::null(),
        base: std::ptr::null_mut(),
        symbol_name: std::ptr::null(),
        symbol: std::ptr::null_mut(),
    };
    // SAFETY: the address is that of a static of this object, and `info` is writable.
    let found = unsafe { dladdr(std::ptr::from_ref(&STATE).cast(), &raw mut info) };
    if found == 0 || info.file_name.is_null() {
        return None;
    }
    // SAFETY: dladdr gives a string that lives as long as the object is loaded.
    let name = unsafe { CStr::from_ptr(info.file_name) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}
