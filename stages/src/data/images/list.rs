//! Which files there are, with their labels.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::data::classes::{Classes, labels_hint};
use crate::data::csv;
use crate::data::place::{Place, is_image, look};
use crate::data::{Split, thousands};

/// A photo.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) label: u8,
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

/// Whether there are photos at a path: it is a CSV file, or a folder with `train`, `test` or
/// folders of classes. Other data sets lie in folders too, and are not to be taken for classes: one
/// of a class has its name, or a photo in it.
pub(super) fn find(path: &Path, classes: &Classes) -> Result<Option<Place>> {
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
    Ok(some.then(|| Place::Folder(path.to_owned())))
}

/// Whether a photo lies in a folder. One that may not be looked into may be anybody's.
fn has_image(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|entry| is_image(&entry.path())))
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
                // Links are followed; one to nowhere is told where it is read.
                let is_folder = fs::metadata(entry.path()).is_ok_and(|found| found.is_dir());
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
    let images = found.iter().filter(|entry| is_image(&entry.path)).count();
    ensure!(
        images == 0 || !there.is_empty(),
        "{} holds {} image files and no folder for each class: put them into folders with the \
         classes' names, or list files and labels in a CSV file",
        folder.display(),
        thousands(images as u64)
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
                let label = u8::try_from(label)?;
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
             .jpeg files are read",
            thousands(passed_over.len() as u64),
            first.display()
        ));
    }
    Ok(list)
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
    let number_of = |label: &str| match classes {
        // However many zeros it begins with.
        Classes::Count(count) => label.parse().ok().filter(|number| number < count),
        Classes::Names(_) => numbers.get(label).copied(),
    };
    let folder = csv.parent().unwrap_or(Path::new("")).to_owned();
    let mut files: Vec<File> = Vec::new();
    let mut listed: HashMap<PathBuf, usize> = HashMap::new();
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
        let Some(number) = number_of(label) else {
            unknown.get_or_insert((at + 1, label.clone()));
            continue;
        };
        let (path, label, line) = (folder.join(file), u8::try_from(number)?, Some(at + 1));
        // The same line twice may be meant so, to see an image more often.
        let before = &files.get(*listed.entry(path.clone()).or_insert(files.len()));
        if let Some(before) = before.filter(|before| before.label != label) {
            bail!(
                "{}: {file} is of class `{}` in line {} and of class `{}` in line {}: leave one of \
                 the lines",
                csv.display(),
                names[usize::from(before.label)],
                before.line.unwrap_or_default(),
                names[number],
                at + 1
            );
        }
        files.push(File { path, label, line });
    }
    if let Some((line, label)) = unknown {
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let hint = match (classes, ends) {
            (Classes::Count(count), Some((low, high))) if label.parse::<u64>().is_ok() => {
                let hint = labels_hint(low, high, 0, *count);
                format!("{hint}; write them so, or name the classes")
            }
            (Classes::Count(count), _) => {
                format!("expected is a number from 0 to {}; or name the classes", count - 1)
            }
            (Classes::Names(_), _) => format!("the classes are {}", shortened(&known)),
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
