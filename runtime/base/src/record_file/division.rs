//! Taking records out of a file, so that a run can go on from an earlier step.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::free_name::first_free;
use crate::whole_file::{folder_of, rename, sync_folder};

/// What a rewritten file is called until it takes the place of the old one: nothing that
/// TensorBoard would read.
const TEMPORARY: &str = "cut.partial";

/// Which bytes of a file stay and which go, each in the order of the file.
#[derive(Debug, Default)]
pub struct Division {
    kept: Vec<Range<u64>>,
    moved: Vec<Range<u64>>,
}

impl Division {
    /// Has these bytes, which follow those before, stay or go.
    pub fn add(&mut self, bytes: Range<u64>, stays: bool) {
        let ranges = if stays { &mut self.kept } else { &mut self.moved };
        match ranges.last_mut() {
            Some(last) if last.end == bytes.start => last.end = bytes.end,
            _ => ranges.push(bytes),
        }
    }

    /// Moves what goes out of a file into another one, whose name is the first of these that is not
    /// taken, and gives that. A file of which nothing goes is not touched.
    ///
    /// Kept and moved bytes together are those that were there. The file is replaced only once what
    /// it loses is on the disk: after a kill in between some records are there twice, but none is
    /// lost.
    ///
    /// # Errors
    /// If something cannot be read, written or replaced: the file is as it was then.
    pub fn apply(&self, path: &Path, aside: impl Fn(u64) -> PathBuf) -> Result<Option<PathBuf>> {
        if self.moved.is_empty() {
            return Ok(None);
        }
        let mut file =
            File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let first = aside(0);
        let folder = folder_of(&first);
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let (aside, to) = first_free(aside, |aside| File::create_new(aside))
            .with_context(|| format!("cannot write into {}", folder.display()))?;
        if let Err(error) = copy(&mut file, &self.moved, to) {
            // Half a copy is of no use; that it could not be finished is what is told.
            let _ = fs::remove_file(&aside);
            return Err(error).with_context(|| format!("cannot write {}", aside.display()));
        }
        sync_folder(folder);
        let temporary = path.with_file_name(TEMPORARY);
        let copied = File::create(&temporary).and_then(|to| copy(&mut file, &self.kept, to));
        // Some file systems do not rename onto a file that is open.
        drop(file);
        if let Err(error) = copied.and_then(|()| rename(&temporary, path)) {
            let _ = fs::remove_file(&temporary);
            return Err(error).with_context(|| format!("cannot write {}", temporary.display()));
        }
        sync_folder(folder_of(path));
        Ok(Some(aside))
    }
}

/// Copies parts of a file, through to the disk.
fn copy(from: &mut File, parts: &[Range<u64>], to: File) -> io::Result<()> {
    let mut to = BufWriter::new(to);
    for part in parts {
        from.seek(SeekFrom::Start(part.start))?;
        let length = part.end - part.start;
        if io::copy(&mut from.take(length), &mut to)? < length {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the file became shorter"));
        }
    }
    to.flush()?;
    to.get_ref().sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::free_name::numbered;

    #[test]
    fn what_stays_and_what_goes_is_everything_in_order() {
        let root = tempfile::tempdir().expect("a folder");
        let (path, aside) = (root.path().join("a.txt"), root.path().join("aside/a.txt"));
        let read = |path: &Path| fs::read_to_string(path).expect("it is there");
        for number in 0..2 {
            fs::write(&path, "aaBBccDD").expect("written");
            let mut division = Division::default();
            for (at, stays) in [(0, true), (2, false), (4, true), (6, false)] {
                division.add(at..at + 2, stays);
            }
            let moved = division.apply(&path, |number| numbered(&aside, number));
            let moved = moved.expect("it is cut").expect("something goes");
            assert_eq!(moved, numbered(&aside, number), "nothing is replaced");
            assert_eq!((read(&path), read(&moved)), ("aacc".to_owned(), "BBDD".to_owned()));
            assert_eq!(fs::read_dir(root.path()).expect("a folder").count(), 2);
        }
        let mut all = Division::default();
        all.add(0..4, true);
        assert_eq!(all.apply(&path, |_| aside.clone()).expect("nothing to do"), None);
    }

    #[test]
    fn a_failure_leaves_the_file_as_it_was() {
        let root = tempfile::tempdir().expect("a folder");
        let (path, aside) = (root.path().join("a.txt"), root.path().join("b.txt"));
        fs::write(&path, "aa").expect("written");
        let mut division = Division::default();
        division.add(0..9, false);
        let error = division.apply(&path, |_| aside.clone()).expect_err("it is shorter");
        assert!(format!("{error:#}").contains("became shorter"), "{error:#}");
        assert_eq!(fs::read(&path).expect("it is there"), b"aa");
        assert!(!aside.exists(), "half a copy");
    }
}
