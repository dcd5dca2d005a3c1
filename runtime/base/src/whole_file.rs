//! Files that appear under their name only when they are whole: they are written beside it under
//! another one first.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::{NamedTempFile, PersistError};

/// What begins the names of files that are not whole yet.
pub const PARTIAL: &str = ".partial-";

/// Writes a file so that it is either the old one or the new one, whatever happens: beside it
/// first, onto the disk, then in its place.
///
/// # Errors
/// If the disk is full or the folder cannot be written to; the old file is still there then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole_if(path, bytes, || Ok(()))
}

/// The same, unless this fails, which is asked last: nothing is in its place then.
///
/// # Errors
/// As above, and what that fails with.
pub fn write_whole_if(path: &Path, bytes: &[u8], may: impl FnOnce() -> Result<()>) -> Result<()> {
    let folder = folder_of(path);
    let write = || -> io::Result<NamedTempFile> {
        let mut file = partial(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    let failed = || format!("cannot write {}", path.display());
    let file = write().with_context(failed)?;
    may()?;
    replace(file, path).with_context(failed)?;
    sync_folder(folder);
    Ok(())
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A file that is removed again unless it gets another name.
pub fn partial(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PARTIAL);
    // As any new file: what the user's mask leaves of it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// Gives a file its name, under which there may be an older one.
fn replace(mut file: NamedTempFile, path: &Path) -> io::Result<()> {
    let mut attempts = ATTEMPTS;
    loop {
        match file.persist(path) {
            Ok(_) => return Ok(()),
            Err(PersistError { error, .. }) if !is_passing(&error, &mut attempts) => {
                return Err(error);
            }
            Err(failed) => file = failed.file,
        }
    }
}

/// Renames a file over another one, if there is one.
///
/// # Errors
/// If that is refused, for a while on Windows: see [`ATTEMPTS`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let mut attempts = ATTEMPTS;
    loop {
        match fs::rename(from, to) {
            Err(error) if is_passing(&error, &mut attempts) => {}
            done => return done,
        }
    }
}

/// Gives a file its name, under which there must be none yet.
///
/// # Errors
/// Of the kind [`ErrorKind::AlreadyExists`] if there is one, and others.
pub fn persist_new(file: NamedTempFile, path: &Path) -> io::Result<()> {
    let (error, file) = match file.persist_noclobber(path) {
        Ok(_) => {
            sync_folder(folder_of(path));
            return Ok(());
        }
        Err(failed) => (failed.error, failed.file),
    };
    if !is_without_links(&error) {
        return Err(error);
    }
    // A file system with neither hard links nor renaming without replacing: the name is taken
    // first, and what is replaced is the empty file made here.
    claim_and_rename(file, path)
}

fn claim_and_rename(file: NamedTempFile, path: &Path) -> io::Result<()> {
    drop(File::create_new(path)?);
    replace(file, path).inspect_err(|_| {
        // It is empty; the error that matters is the one above.
        let _ = fs::remove_file(path);
    })
}

/// Whether a file system refused a hard link as it knows none.
fn is_without_links(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied)
}

/// How often a file is renamed over another. On Windows this is refused as long as a viewer or a
/// virus scanner has the old one open, which is over after a moment.
const ATTEMPTS: u32 = if cfg!(windows) { 20 } else { 1 };

/// Whether another attempt may do better; waits before it.
fn is_passing(error: &io::Error, attempts: &mut u32) -> bool {
    *attempts -= 1;
    let again = *attempts > 0 && error.kind() == ErrorKind::PermissionDenied;
    if again {
        thread::sleep(Duration::from_millis(25));
    }
    again
}

/// Has new names in a folder be there after a power failure. Not every system can say so of a
/// folder, and the files themselves are whole either way.
pub(crate) fn sync_folder(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let base = tempfile::tempdir().expect("a folder");
        let path = base.path().join("file");
        write_whole(&path, b"one").expect("it is written");
        write_whole(&path, b"two").expect("it is written");
        assert_eq!(fs::read(&path).expect("it is there"), b"two");
        assert_eq!(fs::read_dir(base.path()).expect("the folder").count(), 1);
        assert!(write_whole(&base.path().join("absent/file"), b"x").is_err());
        let refused = write_whole_if(&path, b"three", || anyhow::bail!("it may not"));
        assert_eq!(refused.expect_err("refused").to_string(), "it may not");
        assert_eq!(fs::read(&path).expect("it is there"), b"two");
        assert_eq!(fs::read_dir(base.path()).expect("the folder").count(), 1);
    }

    #[test]
    fn a_new_file_replaces_nothing_with_links_or_without() {
        for persist in [persist_new, claim_and_rename] {
            let base = tempfile::tempdir().expect("a folder");
            let path = base.path().join("file");
            let file = |text: &[u8]| {
                let mut file = partial(base.path()).expect("it is made");
                file.write_all(text).expect("it is written");
                file
            };
            persist(file(b"one"), &path).expect("it is new");
            let error = persist(file(b"two"), &path).expect_err("it is there");
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&path).expect("it is there"), b"one");
            assert_eq!(fs::read_dir(base.path()).expect("the folder").count(), 1);
        }
    }

    #[test]
    fn only_a_refusal_is_tried_again_and_not_for_ever() {
        let refused = io::Error::from(ErrorKind::PermissionDenied);
        let mut attempts = 3;
        let tried = (0..9).take_while(|_| is_passing(&refused, &mut attempts)).count();
        assert_eq!(tried, 2);
        assert!(!is_passing(&ErrorKind::StorageFull.into(), &mut 3));
    }
}
