//! What came into a data set's folder, noted there: for many files no size and no checksum is
//! published, and what was right when it came is known by this.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::checksum;

/// The note's name in the folder.
pub(super) const NAME: &str = "received.txt";

/// What is noted of all files of a folder, by their paths in it.
#[derive(Default)]
pub(super) struct Receipt(BTreeMap<String, Noted>);

/// What is noted of one file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

impl Receipt {
    /// The note of a folder. Without one, or with lines that say nothing, less is known of its
    /// files, and none is wrong for it.
    pub(super) fn of(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join(NAME)).unwrap_or_default();
        let line = |line: &str| {
            let (sha256, rest) = line.split_once(' ')?;
            let (bytes, file) = rest.split_once(' ')?;
            let noted = Noted { bytes: bytes.parse().ok()?, sha256: sha256.to_owned() };
            Some((file.to_owned(), noted))
        };
        Self(text.lines().filter_map(line).collect())
    }

    pub(super) fn get(&self, file: &str) -> Option<&Noted> {
        self.0.get(file)
    }

    /// Adds a file, whose bytes lie at `path` until it is put into its place.
    pub(super) fn add(&mut self, file: &str, path: &Path) -> Result<()> {
        let bytes = fs::metadata(path).map(|found| found.len());
        let bytes = bytes.with_context(|| format!("cannot read {}", path.display()))?;
        self.0.insert(file.to_owned(), Noted { bytes, sha256: checksum::sha256(path)? });
        Ok(())
    }

    /// Writes the note, whole or not at all.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let line =
            |(file, noted): (&String, &Noted)| format!("{} {} {file}\n", noted.sha256, noted.bytes);
        let (path, part) = (folder.join(NAME), folder.join(format!("{NAME}.part")));
        fs::write(&part, self.0.iter().map(line).collect::<String>())
            .with_context(|| format!("cannot write {}", part.display()))?;
        super::rename(&part, &path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_again_and_other_lines_are_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "abc").expect("written");
        let mut receipt = Receipt::of(folder.path());
        receipt.add("data/a file.bin", &file).expect("it is there");
        receipt.write(folder.path()).expect("written");
        let path = folder.path().join(NAME);
        let text = fs::read_to_string(&path).expect("there");
        fs::write(&path, format!("\n1 x y\n{text}what")).expect("written");
        let read = Receipt::of(folder.path());
        // FIPS 180-4.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned();
        assert_eq!(read.get("data/a file.bin"), Some(&Noted { bytes: 3, sha256 }));
        assert_eq!(read.0.len(), 1);
    }
}
