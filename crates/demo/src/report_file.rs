//! Files that reports are written to: whole or not at all, and never over what is read.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tempfile::{Builder, NamedTempFile};

/// An option with the file that it names.
pub type Named<'a> = (&'a str, &'a Path);

/// Whether all `outputs` can be written, and none of them is another or one of `inputs`: better known before the
/// work than after it. Nothing is left behind.
///
/// # Errors
///
/// One of them cannot be written, or is read or written twice.
pub fn check(outputs: &[Named<'_>], inputs: &[Named<'_>]) -> anyhow::Result<()> {
    for (place, &(option, path)) in outputs.iter().enumerate() {
        if let Some(real) = regular(path) {
            let others = inputs.iter().chain(&outputs[..place]);
            for &(other, its) in others {
                if regular(its).as_ref() == Some(&real) {
                    bail!(
                        "{option} {} is the file of {other} too; give it another name",
                        path.display()
                    );
                }
            }
        }
        try_out(path).with_context(|| cannot(option, path))?;
    }
    Ok(())
}

/// Writes `content` to the file at `path`, which `option` names.
///
/// # Errors
///
/// It cannot be written; then what was there before still is.
pub fn write(option: &str, path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let write = || {
        if !is_replaced(path) {
            return fs::write(path, content);
        }
        let mut file = beside(path)?;
        file.write_all(content)?;
        file.persist(path).map_err(|error| error.error).map(drop)
    };
    write().with_context(|| cannot(option, path))
}

fn cannot(option: &str, path: &Path) -> String {
    format!("{option} {}: cannot be written", path.display())
}

fn try_out(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if is_replaced(path) {
        if path.exists() {
            OpenOptions::new().append(true).open(path)?;
        }
        beside(path)?;
    }
    Ok(())
}

/// Whether a new file takes the place of what is there. A link, a device or a pipe is written to instead:
/// whoever named it means what is behind it.
fn is_replaced(path: &Path) -> bool {
    fs::symlink_metadata(path).map_or(true, |found| found.is_file())
}

/// A new file in the same directory, with the permissions of the one that it replaces.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let usual = Permissions::from_mode(0o666);
    let permissions = fs::metadata(path).map_or(usual, |found| found.permissions());
    Builder::new()
        .prefix(".rheostat-")
        .permissions(permissions)
        .tempfile_in(directory(path))
}

/// Where the file lies, by all names the same; `None` for a device, a pipe or a directory.
fn regular(path: &Path) -> Option<PathBuf> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => None,
        Ok(_) => path.canonicalize().ok(),
        Err(_) => Some(directory(path).canonicalize().ok()?.join(path.file_name()?)),
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_read_or_written_already_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("trace.csv"), "requests").unwrap();
        fs::create_dir(path("sub")).unwrap();
        std::os::unix::fs::symlink(path("trace.csv"), path("link")).unwrap();
        let input = path("trace.csv");
        for name in ["trace.csv", "sub/../trace.csv", "link"] {
            let output = path(name);
            let error = check(&[("--json", &output)], &[("--trace", &input)]).unwrap_err();
            assert!(
                error.to_string().contains("is the file of --trace too"),
                "{error:#}"
            );
        }
        let (one, other) = (path("out"), path("sub/../out"));
        let error = check(&[("--json", &one), ("--html", &other)], &[]).unwrap_err();
        assert!(
            error.to_string().contains("is the file of --json too"),
            "{error:#}"
        );
        let null = Path::new("/dev/null");
        check(&[("--json", null), ("--html", null)], &[("--trace", null)]).unwrap();
    }

    #[test]
    fn a_check_leaves_nothing_behind_and_says_what_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.json");
        check(&[("--json", &path)], &[]).unwrap();
        assert!(names(directory.path()).is_empty());
        for wrong in [directory.path().to_owned(), path.join("below")] {
            let error = check(&[("--json", &wrong)], &[]).unwrap_err();
            assert!(error.to_string().starts_with("--json /"), "{error:#}");
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_what_is_behind_a_link_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("old"), "a longer text").unwrap();
        let mut reader = fs::File::open(path("old")).unwrap();
        write("--json", &path("old"), b"new").unwrap();
        assert_eq!(fs::read(path("old")).unwrap(), b"new");
        // Who reads the old one reads all of it.
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "a longer text");
        std::os::unix::fs::symlink(path("old"), path("link")).unwrap();
        write("--json", &path("link"), b"linked").unwrap();
        assert_eq!(fs::read(path("old")).unwrap(), b"linked");
        write("--json", &path("fresh"), b"fresh").unwrap();
        let mode = |name| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("fresh"), mode("old"), "as any other file");
        write("--json", Path::new("/dev/null"), b"nothing").unwrap();
        assert_eq!(names(directory.path()), ["fresh", "link", "old"]);
    }
}
