//! The photos of a split, with their labels.

use std::path::PathBuf;

/// A photo.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) label: u32,
    /// The line of the CSV file that lists it, if one does.
    pub(super) line: Option<usize>,
}

/// All photos of a split.
#[derive(Debug)]
pub(super) struct List {
    /// Their folder, or the CSV file that lists them.
    pub(super) folder: PathBuf,
    /// In the order of their names within each class, or as the CSV file has them.
    pub(super) files: Vec<File>,
    pub(super) classes: Vec<String>,
    /// What a person should know.
    pub(super) notes: Vec<String>,
}

impl List {
    /// A file for people, with the line that lists it.
    pub(super) fn name_of(&self, at: usize) -> String {
        let File { path, line, .. } = &self.files[at];
        match line {
            Some(line) => {
                format!("{} ({}, line {line})", path.display(), self.folder.display())
            }
            None => path.display().to_string(),
        }
    }
}
