//! Finds the files of a data set below a path that a person gave.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

use super::thousands;

/// The names that a data set's files go by.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The files with the images.
    pub files: &'static [&'static str],
    /// The folder that the archive unpacks to.
    pub folder: &'static str,
    /// The archive.
    pub archive: &'static str,
}

/// Where a data set was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Unpacked in this folder.
    Folder(PathBuf),
    /// In this file: an archive, or a list of files.
    File(PathBuf),
}

impl Place {
    /// The folder or the file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::File(path) => path,
        }
    }
}

/// Looks for a data set at `path`: a folder with its files, with its unpacked folder or with its
/// archive, or the archive itself. What is unpacked goes first, being the fastest to read.
///
/// # Errors
/// If something is there that cannot be looked at; that nothing is there is `Ok(None)`.
pub fn find(path: &Path, layout: &Layout) -> Result<Option<Place>> {
    let Some(start) = look(path)? else { return Ok(None) };
    if !start.is_dir() {
        return Ok(Some(Place::File(path.to_owned())));
    }
    for file in layout.files {
        if look(&path.join(file))?.is_some() {
            return Ok(Some(Place::Folder(path.to_owned())));
        }
    }
    let folder = path.join(layout.folder);
    if look(&folder)?.is_some_and(|found| found.is_dir()) {
        return Ok(Some(Place::Folder(folder)));
    }
    let archive = path.join(layout.archive);
    if look(&archive)?.is_some() {
        return Ok(Some(Place::File(archive)));
    }
    Ok(None)
}

/// A path without `.` and without folders that `..` leaves again, so that different ways to write it
/// are alike. Opens nothing: links are not followed.
pub fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(plain.components().next_back(), Some(Component::Normal(_))) =>
            {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// What is at a path, if anything is.
pub(super) fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot look at {}: check who may read it and the folders above",
                path.display()
            )
        }),
    }
}

/// Whether a path is named as photos are.
pub(super) fn is_image(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    matches!(ending.as_deref(), Some("png" | "jpg" | "jpeg"))
}

/// What a person sees at a path where nothing was found.
pub fn describe(path: &Path) -> String {
    let Ok(entries) = fs::read_dir(path) else {
        return match path.is_file() {
            true => "a file, and the folder that it lies in is expected",
            false => "there is no such folder or file",
        }
        .to_owned();
    };
    let (mut folders, mut images, mut others) = (0, 0, 0);
    for path in entries.flatten().map(|entry| entry.path()) {
        match path.is_dir() {
            true => folders += 1,
            false if is_image(&path) => images += 1,
            false => others += 1,
        }
    }
    if folders + images + others == 0 {
        return "an empty folder".to_owned();
    }
    let [folders, images, others] = [folders, images, others].map(thousands);
    format!(
        "a folder without it, which holds {folders} folders, {images} image files and {others} \
         other files"
    )
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, write};

    use super::*;

    const LAYOUT: Layout =
        Layout { files: &["a.bin", "b.bin"], folder: "unpacked", archive: "all.tar.gz" };

    #[test]
    fn ways_to_write_a_path_are_alike() {
        for (written, expected) in [
            ("photos", "photos"),
            ("./photos/.", "photos"),
            ("a/../photos", "photos"),
            ("a/b/../../photos//x/", "photos/x"),
            ("../photos", "../photos"),
            ("../../a/../photos", "../../photos"),
            ("/a/../photos", "/photos"),
            (".", ""),
        ] {
            assert_eq!(plain(Path::new(written)), Path::new(expected), "{written}");
        }
    }

    #[test]
    fn every_form_is_found_and_the_unpacked_goes_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let find = |path: &Path| find(path, &LAYOUT).expect("readable");
        assert_eq!(find(path), None);
        assert_eq!(find(&path.join("nowhere")), None);
        assert_eq!(describe(path), "an empty folder");
        assert_eq!(describe(&path.join("nowhere")), "there is no such folder or file");

        let archive = path.join("all.tar.gz");
        write(&archive, "").expect("written");
        write(path.join("holiday.JPG"), "").expect("written");
        let expected =
            "a folder without it, which holds 0 folders, 1 image files and 1 other files";
        assert_eq!(describe(path), expected);
        assert_eq!(find(path), Some(Place::File(archive.clone())));
        assert_eq!(find(&archive), Some(Place::File(archive.clone())));
        assert_eq!(find(&archive.join("below a file")), None);

        let unpacked = path.join("unpacked");
        create_dir(&unpacked).expect("created");
        assert_eq!(find(path), Some(Place::Folder(unpacked)));

        write(path.join("b.bin"), "").expect("written");
        assert_eq!(find(path), Some(Place::Folder(path.to_owned())));
    }
}
