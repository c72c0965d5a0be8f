//! Finds the built shared library and puts it where a client loads it.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::scenario::{Scenario, ScenarioError};

/// The name under which NVML clients load the library.
const SONAME: &str = "libnvidia-ml.so.1";
/// The name under which cargo builds it.
const BUILT: &str = "libnvidia_ml.so";
/// Names the built library, where it is not near the executable.
const LIBRARY_VARIABLE: &str = "RHEOSTAT_FAKE_NVML";

/// Why the library cannot be installed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// There is no built library near the executable.
    #[error(
        "no {BUILT} near the executable; build it with `cargo build -p rheostat-fake-nvml`, or set {LIBRARY_VARIABLE}"
    )]
    NotBuilt,
    /// The directory or the library cannot be written.
    #[error("{}: {source}", path.display())]
    File {
        /// What could not be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The scenario cannot be used.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
}

/// The built shared library: what `RHEOSTAT_FAKE_NVML` names, else the newest one beside the current
/// executable, in `deps` there, or in the directories above with their `deps`, as cargo lays them out for
/// binaries, tests and examples.
#[must_use]
pub fn library_path() -> Option<PathBuf> {
    if let Some(named) = env::var_os(LIBRARY_VARIABLE) {
        return Some(PathBuf::from(named)).filter(|path| path.is_file());
    }
    let executable = env::current_exe().ok()?;
    let places = executable
        .ancestors()
        .skip(1)
        .take(3)
        .flat_map(|place| [place.join(BUILT), place.join("deps").join(BUILT)]);
    let built = places.filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)));
    built.max().map(|(_, path)| path)
}

/// Puts a copy of the library into `directory` as `libnvidia-ml.so.1` with `scenario` as `scenario.json`
/// beside it, and gives the copy's path. A copy has a state of its own: several may be loaded
/// into one process, each with its own scenario.
///
/// # Errors
/// Where the library is not built, or the directory or the scenario cannot be written.
pub fn install(directory: &Path, scenario: &Scenario) -> Result<PathBuf, InstallError> {
    let built = library_path().ok_or(InstallError::NotBuilt)?;
    fs::create_dir_all(directory).map_err(|source| InstallError::File {
        path: directory.to_owned(),
        source,
    })?;
    scenario.write_to(&directory.join("scenario.json"))?;
    let copy = directory.join(SONAME);
    let fresh = directory.join(format!(".{SONAME}.{}", std::process::id()));
    // A copy that is in use must not be written over: rename puts a new file in its place.
    fs::copy(&built, &fresh)
        .and_then(|_| fs::rename(&fresh, &copy))
        .map_err(|source| InstallError::File {
            path: copy.clone(),
            source,
        })?;
    Ok(copy)
}
