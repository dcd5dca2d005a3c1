//! A file that a verb was asked to write.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde::Serialize;

use super::output::Failure;

/// A file that was not there before. It is made before the work that fills it, which is not to be
/// lost because there is no room for the result; nothing that is there already is replaced. If the work
/// fails, it is taken away again.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    file: File,
    written: bool,
}

impl NewFile {
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create_new(path).map_err(|error| not_made(path, error))?;
        Ok(Self { path: path.to_owned(), file, written: false })
    }

    pub(super) fn write(self, text: &str) -> Result<(), Failure> {
        self.write_bytes(text.as_bytes())
    }

    pub(super) fn write_bytes(mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.written = true;
        self.file
            .write_all(bytes)
            .with_context(|| format!("could not write {}", self.path.display()))
            .map_err(Failure::Run)
    }

    pub(super) fn write_json(self, content: &impl Serialize) -> Result<(), Failure> {
        let text =
            serde_json::to_string_pretty(content).map_err(|error| Failure::Run(error.into()))?;
        self.write(&text)
    }
}

/// Says why there is no such new file or folder.
pub(super) fn not_made(path: &Path, error: io::Error) -> Failure {
    let why = match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow!("it is there already, and nothing is replaced; choose another name")
        }
        ErrorKind::NotFound => match path.parent() {
            Some(folder) => anyhow!("there is no folder {}", folder.display()),
            None => error.into(),
        },
        _ => error.into(),
    };
    Failure::Run(why.context(format!("could not make {}", path.display())))
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.written {
            // It is empty; whoever cannot remove it keeps an empty file.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        NewFile::create(&path).expect("it is new").write_json(&[1]).expect("there is room");
        let Err(Failure::Run(error)) = NewFile::create(&path) else { panic!("it was replaced") };
        assert!(format!("{error:#}").contains("it is there already"), "{error:#}");
        let nowhere = folder.path().join("no/file");
        let Err(Failure::Run(error)) = NewFile::create(&nowhere) else { panic!("it was made") };
        assert!(format!("{error:#}").contains("there is no folder"), "{error:#}");
        let other = folder.path().join("other");
        drop(NewFile::create(&other).expect("it is new"));
        assert!(!other.exists(), "nothing was written to it");
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "[\n  1\n]");
    }
}
