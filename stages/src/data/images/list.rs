//! Which files there are, with their labels.

use std::collections::HashSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::Images;
use super::csv_list::of_csv;
use super::listed::{File, List};
use crate::data::classes::Classes;
use crate::data::place::{Place, is_image, look, shortened};
use crate::data::{Split, thousands};

/// What people call the folder of images to validate on.
const VALIDATION: [&str; 3] = ["val", "valid", "validation"];

/// What the photos of a split are read from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A folder with a folder for each class.
    Folders(PathBuf),
    /// A CSV file, and the folder that its files may be in beside its own.
    Csv { csv: PathBuf, images: Option<PathBuf> },
}

impl Origin {
    /// The folder or the CSV file.
    pub(super) fn path(self) -> PathBuf {
        match self {
            Self::Folders(path) | Self::Csv { csv: path, .. } => path,
        }
    }
}

/// Whether there are photos at a path: it is a CSV file, or a folder with `train`, `test` or
/// folders of classes, or any folder if the parts below it have names of their own. Other data sets
/// lie in folders too, and are not to be taken for classes: one of a class has its name, or a photo
/// in it.
pub(super) fn find(path: &Path, format: &Images, classes: &Classes) -> Result<Option<Place>> {
    let Some(found) = look(path)? else { return Ok(None) };
    if !found.is_dir() {
        return Ok(Some(Place::File(path.to_owned())));
    }
    let named = |name: &String| matches!(classes, Classes::Names(names) if names.contains(name));
    let some = entries(path)?.iter().any(|entry| match entry.name.as_str() {
        "train.csv" | "test.csv" => true,
        "train" | "test" => entry.is_folder,
        _ => entry.is_folder && (named(&entry.name) || has_image(&entry.path)),
    });
    let some = some || !format.folders.is_empty() || !format.lists.is_empty();
    Ok(some.then(|| Place::Folder(path.to_owned())))
}

/// Whether a photo lies in a folder. One that may not be looked into may be anybody's.
fn has_image(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|entry| is_image(&entry.path())))
}

/// Lists the photos of a split.
pub(super) fn list(
    place: &Place,
    split: Split,
    format: &Images,
    classes: &Classes,
) -> Result<List> {
    match origin(place, split, format, classes)? {
        Origin::Folders(folder) => of_folders(&folder, classes),
        Origin::Csv { csv, images } => of_csv(&csv, images.as_deref(), classes),
    }
}

/// That images to validate on lie beside those of which a share is kept back.
pub(super) fn validation_not_read(
    place: &Place,
    split: Split,
    format: &Images,
    classes: &Classes,
) -> Option<String> {
    let Place::Folder(root) = place else { return None };
    if split != Split::Validation || format.names_validation() {
        return None;
    }
    let beside = validation_beside(root)?;
    let read = origin(place, split, format, classes).ok()?.path();
    Some(format!(
        "{} is there and is not read: `validation` keeps back a share of {}. To validate on it, \
         write `folders: {{ train: train, validation: {} }}` and remove `validation`",
        root.join(beside).display(),
        read.display(),
        beside
    ))
}

fn validation_beside(root: &Path) -> Option<&'static str> {
    VALIDATION.into_iter().find(|name| root.join(name).is_dir())
}

/// What a split is read from.
///
/// # Errors
/// If it is not there, or two things that are there could be meant.
pub(super) fn origin(
    place: &Place,
    split: Split,
    format: &Images,
    classes: &Classes,
) -> Result<Origin> {
    let (folder, list) = format.named(split);
    let root = match place {
        Place::File(file) => {
            ensure!(
                folder.is_none() && list.is_none(),
                "{} is a file, and `folders` and `lists` name what is below a folder: give that \
                 folder",
                file.display()
            );
            undivided(file, split)?;
            return Ok(Origin::Csv { csv: file.clone(), images: None });
        }
        Place::Folder(root) => root,
    };
    let part = if split == Split::Test { "test" } else { "train" };
    let below = root.join(part);
    let is_there = look(&below)?.is_some_and(|found| found.is_dir());
    if let Some(list) = list {
        let csv = root.join(list);
        let found = look(&csv)?.is_some_and(|found| !found.is_dir());
        ensure!(found, "{}", lacks(root, "file", list, "lists", split));
        let images = folder.map(|folder| existing(root, folder, split)).transpose()?;
        return Ok(Origin::Csv { csv, images: images.or(is_there.then_some(below)) });
    }
    if let Some(folder) = folder {
        return Ok(Origin::Folders(existing(root, folder, split)?));
    }
    let csv = root.join(format!("{part}.csv"));
    let has_list = look(&csv)?.is_some();
    let other = if split == Split::Test { "train" } else { "test" };
    let others = [root.join(other), root.join(format!("{other}.csv"))];
    let fewest = if matches!(classes, Classes::Names(_)) { 1 } else { classes.count() };
    let classes_below = is_there && class_folders(&below, classes)? >= fewest;
    // Folders of classes that nothing divides have no images to test with.
    let classes_beside = split != Split::Test && class_folders(root, classes)? == classes.count();
    let which = |list: &str, folder: &str| {
        format!(
            "say which is meant: `lists: {{ {}: {list} }}` or `folders: {{ {}: {folder} }}` in the \
             format `images`",
            split_key(split),
            split_key(split)
        )
    };
    match (is_there, has_list) {
        (true, true) if classes_below => bail!(
            "{} lists images, and {} has folders of classes; {}",
            csv.display(),
            below.display(),
            which(&format!("{part}.csv"), part)
        ),
        (true, _) if classes_below && classes_beside => bail!(
            "{} has folders of classes, and so has {}: write `folders: {{ {}: {part} }}` in the format \
             `images` to read the latter, or give the folder that is meant alone",
            root.display(),
            below.display(),
            split_key(split)
        ),
        (_, true)
            if classes_beside && look(&others[0])?.is_none() && look(&others[1])?.is_none() =>
        {
            bail!(
                "{} lists images, and {} has folders of classes; {}",
                csv.display(),
                root.display(),
                which(&format!("{part}.csv"), ".")
            )
        }
        (_, true) => return Ok(Origin::Csv { csv, images: is_there.then_some(below) }),
        (true, false) => return Ok(Origin::Folders(below)),
        (false, false) => {}
    }
    for other in others {
        ensure!(
            look(&other)?.is_none(),
            "{} is there and {} is not: put the images of split `{}` there, a folder for each \
             class, or list them in {}{}",
            other.display(),
            below.display(),
            split.name(),
            csv.display(),
            match validation_beside(root) {
                Some(name) if split == Split::Test => format!(
                    "; `folders: {{ test: {name} }}` in the format `images` reads {}",
                    root.join(name).display()
                ),
                _ => String::new(),
            }
        );
    }
    undivided(root, split)?;
    Ok(Origin::Folders(root.clone()))
}

/// The field of `folders` and `lists` that a split's images are named by.
fn split_key(split: Split) -> &'static str {
    if split == Split::Test { "test" } else { "train" }
}

fn existing(root: &Path, folder: &Path, split: Split) -> Result<PathBuf> {
    let path: PathBuf =
        root.join(folder).components().filter(|c| *c != Component::CurDir).collect();
    let found = look(&path)?.is_some_and(|found| found.is_dir());
    ensure!(found, "{}", lacks(root, "folder", folder, "folders", split));
    Ok(path)
}

/// That a part is not there, and what is.
fn lacks(root: &Path, kind: &str, name: &Path, field: &str, split: Split) -> String {
    let there = entries(root).unwrap_or_default();
    let there: Vec<String> = there
        .into_iter()
        .filter(|entry| entry.is_folder == (kind == "folder"))
        .map(|entry| entry.name)
        .collect();
    format!(
        "{} has no {kind} `{}`, which `{field}` names for split `{}`; its {kind}s are: {}",
        root.display(),
        name.display(),
        split.name(),
        shortened(&there)
    )
}

/// How many folders of classes a folder has: those with the name of a class, or those with photos if
/// classes have no names. Those that divide a data set are none.
fn class_folders(folder: &Path, classes: &Classes) -> Result<usize> {
    let divides = |name: &str| ["train", "test"].contains(&name) || VALIDATION.contains(&name);
    let names: HashSet<&String> = match classes {
        Classes::Names(names) => names.iter().collect(),
        Classes::Count(_) => HashSet::new(),
    };
    let is_class = |entry: &Entry| match classes {
        Classes::Names(_) => names.contains(&entry.name),
        Classes::Count(_) => has_image(&entry.path),
    };
    let entries = entries(folder)?;
    let folders = entries.iter().filter(|entry| entry.is_folder && !divides(&entry.name));
    Ok(folders.filter(|entry| is_class(entry)).count())
}

/// There are no images to test with in what is not divided.
fn undivided(path: &Path, split: Split) -> Result<()> {
    if split != Split::Test {
        return Ok(());
    }
    let is_file = path.is_file();
    let name = path.file_name().unwrap_or_default().display();
    let how = match is_file {
        true => format!(
            "give its folder as `path`, with a list for each split (`lists: {{ train: {name}, test: \
             OTHER.csv }}` in the format `images`)"
        ),
        false => "put them into `train` and `test`, or name their folders (`folders: { train: A, \
                  test: B }` in the format `images`)"
            .to_owned(),
    };
    bail!(
        "{} is not divided into images to train on and to test with: {how}, or use `split: \
         validation` with `validation: 0.1`",
        path.display()
    )
}

struct Entry {
    name: String,
    path: PathBuf,
    is_folder: bool,
    /// Whether it is a pipe, a socket or a device.
    is_special: bool,
}

/// What is in a folder, in the order of names; without hidden files.
fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let read = || -> std::io::Result<Vec<Entry>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                let kind = entry.file_type()?;
                // Links are followed; one to nowhere is told where it is read.
                let kind = match kind.is_symlink() {
                    true => fs::metadata(entry.path()).ok().map(|found| found.file_type()),
                    false => Some(kind),
                };
                let is_folder = kind.is_some_and(|kind| kind.is_dir());
                let is_special = kind.is_some_and(|kind| !kind.is_dir() && !kind.is_file());
                all.push(Entry { name, path: entry.path(), is_folder, is_special });
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    };
    read().with_context(|| format!("cannot read {}", folder.display()))
}

fn of_folders(folder: &Path, classes: &Classes) -> Result<List> {
    let found = entries(folder)?;
    let folders: Vec<&Entry> = found.iter().filter(|entry| entry.is_folder).collect();
    let there: Vec<&str> = folders.iter().map(|entry| entry.name.as_str()).collect();
    let images = found.iter().filter(|entry| is_image(&entry.path)).count();
    ensure!(
        images == 0 || !there.is_empty(),
        "{} holds {} image files and no folder for each class: put them into folders with the \
         classes' names, or list files and labels in a CSV file, {}.csv beside it or one that `lists` \
         names",
        folder.display(),
        thousands(images as u64),
        folder.display()
    );
    let names = match classes {
        Classes::Names(names) => names.clone(),
        Classes::Count(count) => {
            ensure!(
                there.len() == *count,
                "{} has {} folders, and `classes` says {count}: {}",
                folder.display(),
                there.len(),
                shortened(&there)
            );
            there.iter().map(|name| (*name).to_owned()).collect()
        }
    };
    let mut list =
        List { folder: folder.to_owned(), files: Vec::new(), classes: names, notes: Vec::new() };
    let known: HashSet<&str> = list.classes.iter().map(String::as_str).collect();
    let unknown: Vec<&str> = there.iter().filter(|name| !known.contains(*name)).copied().collect();
    ensure!(
        unknown.is_empty(),
        "{} has folders that are none of the classes: {}; name them in `classes`, or move them away",
        folder.display(),
        shortened(&unknown)
    );
    let mut passed_over = Vec::new();
    for (label, class) in list.classes.iter().enumerate() {
        let below = folder.join(class);
        ensure!(
            look(&below)?.is_some_and(|found| found.is_dir()),
            "{} lacks a folder `{class}`: each class has one; there are {}",
            folder.display(),
            shortened(&there)
        );
        let before = list.files.len();
        for entry in entries(&below)? {
            if is_image(&entry.path) && !entry.is_folder && !entry.is_special {
                let label = u32::try_from(label)?;
                list.files.push(File { path: entry.path, label, line: None });
            } else {
                passed_over.push(entry.path);
            }
        }
        ensure!(
            list.files.len() > before,
            "class `{class}` is empty: there is no .png, .jpg or .jpeg file in {}",
            below.display()
        );
    }
    if let Some(first) = passed_over.first() {
        list.notes.push(format!(
            "{} entries of the classes' folders are passed over, such as {}: only .png, .jpg and \
             .jpeg files are read, and no pipes or devices",
            thousands(passed_over.len() as u64),
            first.display()
        ));
    }
    Ok(list)
}
