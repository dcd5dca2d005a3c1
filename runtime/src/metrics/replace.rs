//! Files that are there as a whole or not at all.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::NamedTempFile;

/// Gives the file these bytes. Whoever reads it finds the old ones or the new ones, whatever
/// happens in between: they are on the disk before they get their name.
///
/// # Errors
/// If the folder cannot be written to, or the disk is full; the file is then as it was.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let told = || format!("cannot write {}: the file is as it was", path.display());
    let folder = folder_of(path);
    let mut file = temporary(folder).with_context(told)?;
    file.write_all(bytes).with_context(told)?;
    file.as_file().sync_all().with_context(told)?;
    file.persist(path).with_context(told)?;
    // The new name, too, should be there after a power failure. Not every system can say so of a
    // folder, and the file itself is whole either way.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// The folder that a file is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
fn temporary(folder: &Path) -> std::io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    // As any new file: what the user's mask leaves of it.
    let anybody = std::fs::Permissions::from_mode(0o666);
    tempfile::Builder::new().permissions(anybody).tempfile_in(folder)
}

#[cfg(not(unix))]
fn temporary(folder: &Path) -> std::io::Result<NamedTempFile> {
    NamedTempFile::new_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("page");
        replace(&path, b"a longer text").expect("written");
        replace(&path, b"short").expect("written again");
        assert_eq!(std::fs::read(&path).expect("it is there"), b"short");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
        let nowhere = folder.path().join("none/page");
        let error = format!("{:#}", replace(&nowhere, b"").expect_err("no such folder"));
        assert!(error.contains("none") && error.contains("cannot write"), "{error}");
    }
}
