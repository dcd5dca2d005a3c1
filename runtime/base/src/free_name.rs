//! Names that are not taken yet: what is there already is never written over.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::whole_file::rename;

/// Tries names, counted from 0, until something can be made under one of them. `make` has to fail
/// with [`ErrorKind::AlreadyExists`] where the name is taken.
///
/// # Errors
/// If it fails in another way.
pub fn first_free<T>(
    name: impl Fn(u64) -> PathBuf,
    mut make: impl FnMut(&Path) -> io::Result<T>,
) -> io::Result<(PathBuf, T)> {
    let mut number = 0;
    loop {
        let path = name(number);
        match make(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            made => return made.map(|made| (path, made)),
        }
    }
}

/// `a.jsonl` for 0, then `a.1.jsonl`, `a.2.jsonl` and so on.
pub fn numbered(path: &Path, number: u64) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Moves a file into a folder, which is made if it is not there, under its own name or, if that is
/// taken, a [numbered] one. Gives where it is now.
///
/// # Errors
/// If it cannot be moved: it is where it was then.
pub fn move_aside(path: &Path, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let to = folder.join(path.file_name().unwrap_or_default());
    // The name is taken first: a rename would replace what is there. The handle is closed before,
    // as some file systems do not rename onto a file that is open.
    let (to, ()) = first_free(|number| numbered(&to, number), |to| File::create_new(to).map(drop))
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    if let Err(error) = rename(path, &to) {
        // The name alone is of no use; the error that matters is the one above.
        let _ = fs::remove_file(&to);
        let told = format!("cannot move {} to {}", path.display(), to.display());
        return Err(error).context(told);
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_before_the_extension() {
        let name = |path: &str, number| numbered(Path::new(path), number);
        assert_eq!(name("x/a.jsonl", 0), Path::new("x/a.jsonl"));
        assert_eq!(name("x/a.jsonl", 2), Path::new("x/a.2.jsonl"));
        assert_eq!(name("step-1.safetensors", 1), Path::new("step-1.1.safetensors"));
        assert_eq!(name("lock", 1), Path::new("lock.1"));
    }

    #[test]
    fn what_is_moved_replaces_nothing() {
        let root = tempfile::tempdir().expect("a folder");
        let (path, aside) = (root.path().join("a.txt"), root.path().join("deep/aside"));
        for text in ["one", "two", "three"] {
            fs::write(&path, text).expect("written");
            move_aside(&path, &aside).expect("it is moved");
            assert!(!path.exists());
        }
        let read = |name: &str| fs::read_to_string(aside.join(name)).expect("it is there");
        assert_eq!(["a.txt", "a.1.txt", "a.2.txt"].map(read), ["one", "two", "three"]);
        let error = move_aside(&path, &aside).expect_err("there is none").to_string();
        assert!(error.starts_with("cannot move"), "{error}");
        assert_eq!(fs::read_dir(&aside).expect("a folder").count(), 3, "no empty file is left");
    }

    #[test]
    fn another_failure_ends_the_search() {
        let tried = first_free(
            |number| PathBuf::from(number.to_string()),
            |path| match path.to_str() {
                Some("2") => Err::<(), _>(io::Error::from(ErrorKind::PermissionDenied)),
                _ => Err(ErrorKind::AlreadyExists.into()),
            },
        );
        assert_eq!(tried.expect_err("refused").kind(), ErrorKind::PermissionDenied);
    }
}
