//! Which files there are, with their labels.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::data::classes::{Classes, labels_hint};
use crate::data::csv;
use crate::data::place::{Place, look};
use crate::data::{Split, thousands};

/// A photo.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) label: u8,
}

/// All photos of a split.
#[derive(Debug)]
pub(super) struct List {
    /// Where they are.
    pub(super) folder: PathBuf,
    /// In the order of their names within each class, or as the CSV file has them.
    pub(super) files: Vec<File>,
    pub(super) classes: Vec<String>,
    /// What a person should know.
    pub(super) notes: Vec<String>,
}

/// Whether there may be photos at a path: it is a CSV file, or a folder with something in it.
pub(super) fn find(path: &Path) -> Result<Option<Place>> {
    let Some(found) = look(path)? else { return Ok(None) };
    if !found.is_dir() {
        return Ok(Some(Place::File(path.to_owned())));
    }
    let wanted = |name: &str| matches!(name, "train" | "test" | "train.csv" | "test.csv");
    let entries = entries(path)?;
    let some = entries.iter().any(|entry| entry.is_folder || wanted(&entry.name));
    Ok(some.then(|| Place::Folder(path.to_owned())))
}

/// Lists the photos of a split.
pub(super) fn list(place: &Place, split: Split, classes: &Classes) -> Result<List> {
    let folder = match place {
        Place::File(file) => {
            undivided(file, split)?;
            return of_csv(file, classes);
        }
        Place::Folder(folder) => folder,
    };
    let part = if split == Split::Test { "test" } else { "train" };
    let below = folder.join(part);
    if look(&below)?.is_some_and(|found| found.is_dir()) {
        return of_folders(&below, classes);
    }
    let csv = folder.join(format!("{part}.csv"));
    if look(&csv)?.is_some() {
        return of_csv(&csv, classes);
    }
    let other = if split == Split::Test { "train" } else { "test" };
    let divided = [folder.join(other), folder.join(format!("{other}.csv"))];
    for other in divided {
        ensure!(
            look(&other)?.is_none(),
            "{} is there and {} is not: put the images of split `{}` there, a folder for each \
             class, or list them in {}",
            other.display(),
            below.display(),
            split.name(),
            csv.display()
        );
    }
    undivided(folder, split)?;
    of_folders(folder, classes)
}

/// There are no images to test with in what is not divided.
fn undivided(path: &Path, split: Split) -> Result<()> {
    ensure!(
        split != Split::Test,
        "{} is not divided into images to train on and to test with: put them into `train` and \
         `test`, or use `split: validation` with `validation: 0.1`",
        path.display()
    );
    Ok(())
}

struct Entry {
    name: String,
    path: PathBuf,
    is_folder: bool,
}

/// What is in a folder, in the order of names; without hidden files.
fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let read = || -> std::io::Result<Vec<Entry>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                // Links are followed.
                let is_folder = fs::metadata(entry.path())?.is_dir();
                all.push(Entry { name, path: entry.path(), is_folder });
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
    let unknown: Vec<&str> =
        there.iter().filter(|name| !list.classes.iter().any(|n| n == *name)).copied().collect();
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
            if is_image(&entry.path) && !entry.is_folder {
                list.files.push(File { path: entry.path, label: u8::try_from(label)? });
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
             .jpeg files are read",
            thousands(passed_over.len() as u64),
            first.display()
        ));
    }
    Ok(list)
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    matches!(ending.as_deref(), Some("png" | "jpg" | "jpeg"))
}

fn shortened(names: &[&str]) -> String {
    const MOST: usize = 8;
    match names {
        [] => "none".to_owned(),
        _ if names.len() > MOST => format!("{}, ..", names[..MOST].join(", ")),
        _ => names.join(", "),
    }
}

fn of_csv(csv: &Path, classes: &Classes) -> Result<List> {
    let text = fs::read_to_string(csv).with_context(|| {
        format!("cannot read {} as lines of file and label, in UTF-8", csv.display())
    })?;
    let names = classes.names();
    let numbers: HashMap<&str, usize> =
        names.iter().enumerate().map(|(number, name)| (name.as_str(), number)).collect();
    let folder = csv.parent().unwrap_or(Path::new("")).to_owned();
    let mut files = Vec::new();
    let mut unknown: Option<(usize, String)> = None;
    let mut ends: Option<(u64, u64)> = None;
    let text = text.trim_start_matches('\u{feff}');
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("{}, line {}", csv.display(), at + 1);
        let fields = csv::fields(line).map_err(anyhow::Error::msg).with_context(place)?;
        let [file, label] = fields.as_slice() else {
            bail!("{}: expected file and label, found {} fields", place(), fields.len());
        };
        if at == 0 && is_header(file, label) {
            continue;
        }
        if let Ok(number) = label.parse::<u64>() {
            let (low, high) = ends.unwrap_or((number, number));
            ends = Some((low.min(number), high.max(number)));
        }
        match numbers.get(label.as_str()) {
            Some(number) => {
                files.push(File { path: folder.join(file), label: u8::try_from(*number)? });
            }
            None => {
                unknown.get_or_insert((at + 1, label.clone()));
            }
        }
    }
    if let Some((line, label)) = unknown {
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let hint = match (classes, ends) {
            (Classes::Count(count), Some((low, high))) => {
                format!("{}; write them so, or name the classes", labels_hint(low, high, *count))
            }
            _ => format!("the classes are {}", shortened(&known)),
        };
        bail!("{}, line {line}: the label `{label}` is no class; {hint}", csv.display());
    }
    for (number, name) in names.iter().enumerate() {
        let some = files.iter().any(|file| usize::from(file.label) == number);
        ensure!(some, "{}: class `{name}` is empty: no line has it", csv.display());
    }
    Ok(List { folder: csv.to_owned(), files, classes: names, notes: Vec::new() })
}

/// Whether a first line names its columns.
fn is_header(file: &str, label: &str) -> bool {
    let file = file.to_ascii_lowercase();
    let named = ["file", "filename", "file_name", "path", "image", "image_path"];
    named.contains(&file.as_str()) && ["label", "class"].contains(&&*label.to_ascii_lowercase())
}
