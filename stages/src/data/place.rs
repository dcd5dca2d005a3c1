//! Finds the files of a data set below a path that a person gave.

use std::fs::{self, Metadata};
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base::regular_file;

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
/// archive, or the archive itself. What is unpacked is taken before an archive, being the fastest to
/// read.
///
/// # Errors
/// If something is there that cannot be looked at, or two folders of different files are; that
/// nothing is there is `Ok(None)`.
pub fn find(path: &Path, layout: &Layout) -> Result<Option<Place>> {
    let Some(start) = look(path)? else { return Ok(None) };
    if !start.is_dir() {
        return Ok(Some(Place::File(path.to_owned())));
    }
    let folder = path.join(layout.folder);
    let folders = with_files(&[path.to_owned(), folder.clone()], layout.files)?;
    if let Some(found) = the_one(&folders, |one, other| same_files(one, other, layout.files))? {
        return Ok(Some(Place::Folder(found)));
    }
    if look(&folder)?.is_some_and(|found| found.is_dir()) {
        return Ok(Some(Place::Folder(folder)));
    }
    let archive = path.join(layout.archive);
    if look(&archive)?.is_some() {
        return Ok(Some(Place::File(archive)));
    }
    Ok(None)
}

/// The archive that lies beside unpacked files and is not read.
pub(super) fn archive_beside(place: &Place, layout: &Layout) -> Option<PathBuf> {
    let Place::Folder(folder) = place else { return None };
    let unpacked = folder.file_name().is_some_and(|name| name == layout.folder);
    let above = folder.parent().filter(|_| unpacked);
    let mut folders = [Some(folder.as_path()), above].into_iter().flatten();
    folders.find_map(|folder| Some(folder.join(layout.archive)).filter(|path| path.is_file()))
}

/// Those of the folders that hold one of the files at least.
pub(super) fn with_files(folders: &[PathBuf], files: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in folders {
        for file in files {
            if look(&folder.join(file))?.is_some() {
                found.push(folder.clone());
                break;
            }
        }
    }
    Ok(found)
}

/// The folder of a data set among those that could be meant: the first, if the others hold the same.
///
/// # Errors
/// If two differ, or cannot be compared: names both.
pub(super) fn the_one(
    folders: &[PathBuf],
    same: impl Fn(&Path, &Path) -> Result<bool>,
) -> Result<Option<PathBuf>> {
    let Some((first, others)) = folders.split_first() else { return Ok(None) };
    for other in others {
        let both = || format!("{} and {}", first.display(), other.display());
        ensure!(
            same(first, other).with_context(|| format!("cannot compare {}", both()))?,
            "{} hold such a data set each, and not the same: name the folder that is meant itself, \
             as `path` in the pipeline or with --data, or move the other one away",
            both()
        );
    }
    Ok(Some(first.clone()))
}

/// Whether two folders hold the same of these files: each file in both with the same contents, or in
/// neither.
pub(super) fn same_files(one: &Path, other: &Path, files: &[&str]) -> Result<bool> {
    for file in files {
        let [one, other] = [one, other].map(|folder| folder.join(file));
        let same = match (look(&one)?, look(&other)?) {
            (None, None) => true,
            (Some(a), Some(b)) if a.len() == b.len() => {
                same_bytes(open(&one)?, open(&other)?).context("cannot read them")?
            }
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether two sources give the same bytes.
pub(super) fn same_bytes(mut one: impl Read, mut other: impl Read) -> std::io::Result<bool> {
    const CHUNK: usize = 1 << 16;
    let (mut here, mut there) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
    loop {
        here.clear();
        there.clear();
        one.by_ref().take(CHUNK as u64).read_to_end(&mut here)?;
        other.by_ref().take(CHUNK as u64).read_to_end(&mut there)?;
        if here != there || here.is_empty() {
            return Ok(here == there);
        }
    }
}

/// Opens a file of a data set.
///
/// # Errors
/// If it cannot be opened, or is no regular file: names it.
pub(super) fn open(path: &Path) -> Result<BufReader<fs::File>> {
    let file = regular_file::open(path).with_context(|| format!("cannot read {}", path.display()));
    Ok(BufReader::with_capacity(1 << 16, file?))
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

/// Names for people; of many the first.
pub(super) fn shortened<T: AsRef<str>>(names: &[T]) -> String {
    const MOST: usize = 8;
    let shown: Vec<&str> = names.iter().take(MOST).map(AsRef::as_ref).collect();
    match names.len() {
        0 => "none".to_owned(),
        count if count > MOST => format!("{}, ..", shown.join(", ")),
        _ => shown.join(", "),
    }
}

/// What a person sees at a path where nothing was found.
pub fn describe(path: &Path) -> String {
    let Ok(entries) = fs::read_dir(path) else {
        return match path.metadata() {
            Ok(found) if found.is_file() => {
                "a file, and the folder that it lies in is expected".to_owned()
            }
            Ok(found) if !found.is_dir() => "neither a folder nor a file".to_owned(),
            Ok(_) => "a folder that cannot be read".to_owned(),
            Err(_) => format!("there is no such folder or file{}", above(path)),
        };
    };
    let (mut folders, mut images, mut others) = (Vec::new(), 0, 0);
    for entry in entries.flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => folders.push(entry.file_name().to_string_lossy().into_owned()),
            false if is_image(&path) => images += 1,
            false => others += 1,
        }
    }
    if folders.len() + images + others == 0 {
        return "an empty folder".to_owned();
    }
    folders.sort_unstable();
    let names =
        if folders.is_empty() { String::new() } else { format!(" ({})", shortened(&folders)) };
    let [folders, images, others] =
        [folders.len(), images, others].map(|count| thousands(count as u64));
    format!(
        "a folder without it, which holds {folders} folders{names}, {images} image files and {others} \
         other files"
    )
}

/// What is in the nearest folder above a path that leads nowhere.
fn above(path: &Path) -> String {
    let Ok(path) = std::path::absolute(path) else { return String::new() };
    let Some(there) = path.ancestors().skip(1).find(|above| above.is_dir()) else {
        return String::new();
    };
    let Ok(entries) = fs::read_dir(there) else { return String::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_unstable();
    format!(" ({} holds {})", there.display(), shortened(&names))
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
        let nowhere = format!("there is no such folder or file ({} holds none)", path.display());
        assert_eq!(describe(&path.join("nowhere")), nowhere);

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

        let place = Place::Folder(path.join("unpacked"));
        assert_eq!(archive_beside(&place, &LAYOUT), Some(archive));

        write(path.join("b.bin"), "").expect("written");
        assert_eq!(find(path), Some(Place::Folder(path.to_owned())));
    }

    #[test]
    fn of_two_folders_that_fit_neither_is_guessed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let unpacked = path.join("unpacked");
        create_dir(&unpacked).expect("created");
        for folder in [path, &unpacked] {
            write(folder.join("a.bin"), "same").expect("written");
        }
        let found = find(path, &LAYOUT).expect("the same in both");
        assert_eq!(found, Some(Place::Folder(path.to_owned())));
        let refused = |what: &str| {
            let told = find(path, &LAYOUT).expect_err(what).to_string();
            let parts = ["not the same", "unpacked", "`path`", "--data"];
            assert!(parts.iter().all(|part| told.contains(part)), "{what}: {told}");
        };
        write(unpacked.join("a.bin"), "fame").expect("written");
        refused("other bytes");
        write(unpacked.join("a.bin"), "same again").expect("written");
        refused("more bytes");
        write(unpacked.join("a.bin"), "same").expect("written");
        write(path.join("b.bin"), "").expect("written");
        refused("a file more");
    }
}
