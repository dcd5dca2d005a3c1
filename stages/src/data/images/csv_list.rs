//! The photos that a CSV file lists, lines of file and label.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use base::regular_file;

use super::listed::{File, List};
use crate::data::classes::{Classes, labels_hint};
use crate::data::csv;
use crate::data::place::{is_image, shortened};

/// Lists the photos that a CSV file names; they may lie in `images` as well as beside it.
pub(super) fn of_csv(csv: &Path, images: Option<&Path>, classes: &Classes) -> Result<List> {
    let text = regular_file::read_to_string(csv).with_context(|| {
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
    let folder = csv.parent().unwrap_or(Path::new(""));
    let mut bases = Bases::new([Some(folder), images].into_iter().flatten());
    let mut notes = Vec::new();
    let mut files: Vec<File> = Vec::new();
    let mut listed: HashMap<PathBuf, usize> = HashMap::new();
    let mut unknown: Option<(usize, String)> = None;
    let mut ends: Option<(i64, i64)> = None;
    let mut again = 0;
    let text = text.trim_start_matches('\u{feff}');
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("{}, line {}", csv.display(), at + 1);
        let fields = csv::fields(line).map_err(anyhow::Error::msg).with_context(place)?;
        let [file, label] = fields.as_slice() else {
            bail!(
                "{}: expected file and label, found {} fields: make a list of these two columns",
                place(),
                fields.len()
            );
        };
        if at == 0 && is_header(file, label) {
            continue;
        }
        let found = bases.find(file).with_context(place)?;
        let no_photo = found.is_none() && !is_image(Path::new(file));
        if at == 0 && no_photo && number_of(label).is_none() {
            notes.push(format!(
                "{}, `{}`, is taken for the names of its columns",
                place(),
                line.trim()
            ));
            continue;
        }
        if let Ok(number) = label.parse::<i64>() {
            let (low, high) = ends.unwrap_or((number, number));
            ends = Some((low.min(number), high.max(number)));
        }
        let Some(number) = number_of(label) else {
            unknown.get_or_insert((at + 1, label.clone()));
            continue;
        };
        // One that is not there is told when it is read.
        let path = found.unwrap_or_else(|| folder.join(file));
        let (label, line) = (u32::try_from(number)?, Some(at + 1));
        // The same line twice may be meant so, to see an image more often.
        let before = &files.get(*listed.entry(path.clone()).or_insert(files.len()));
        again += usize::from(before.is_some());
        if let Some(before) = before.filter(|before| before.label != label) {
            bail!(
                "{}: {file} is of class `{}` in line {} and of class `{}` in line {}: leave one of \
                 the lines",
                csv.display(),
                names[before.label as usize],
                before.line.unwrap_or_default(),
                names[number],
                at + 1
            );
        }
        files.push(File { path, label, line });
    }
    if let Some((line, label)) = unknown {
        let hint = match (classes, ends) {
            (Classes::Count(count), Some((low, high))) if label.parse::<i64>().is_ok() => {
                let hint = labels_hint(low, high, 0, *count);
                format!("{hint}; write them so, or name the classes")
            }
            (Classes::Count(count), _) => {
                format!("expected is a number from 0 to {}; or name the classes", count - 1)
            }
            (Classes::Names(_), _) => format!("the classes are {}", shortened(&names)),
        };
        bail!("{}, line {line}: the label `{label}` is no class; {hint}", csv.display());
    }
    let mut is_there = vec![false; names.len()];
    files.iter().for_each(|file| is_there[file.label as usize] = true);
    for (name, is_there) in names.iter().zip(is_there) {
        ensure!(is_there, "{}: class `{name}` is empty: no line has it", csv.display());
    }
    if again > 0 {
        notes.push(format!(
            "{} of the {} lines of {} name a file that was named before: an image counts as often as \
             it is named",
            again,
            files.len(),
            csv.display()
        ));
    }
    Ok(List { folder: csv.to_owned(), files, classes: names, notes })
}

/// Whether a first line names its columns.
fn is_header(file: &str, label: &str) -> bool {
    const FILES: [&str; 12] = [
        "file",
        "filename",
        "file_name",
        "filepath",
        "path",
        "image",
        "image_path",
        "image_id",
        "image_name",
        "img",
        "id",
        "name",
    ];
    const LABELS: [&str; 6] = ["label", "class", "category", "target", "class_name", "label_name"];
    let [file, label] = [file, label].map(str::to_ascii_lowercase);
    FILES.contains(&&*file) && LABELS.contains(&&*label)
}

/// The folders that listed files may lie in, each of which is read once.
struct Bases {
    folders: Vec<PathBuf>,
    there: HashMap<PathBuf, There>,
}

/// What is in a folder.
#[derive(Default)]
struct There {
    files: HashSet<OsString>,
    /// Photos by their names without ending.
    stems: HashMap<OsString, Vec<OsString>>,
}

impl There {
    /// One that cannot be read has nothing in it: its files are told when they are read.
    fn read(folder: &Path) -> Self {
        let mut there = Self::default();
        // An empty path is the current folder.
        let Ok(entries) = fs::read_dir(Path::new(".").join(folder)) else { return there };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name();
            if is_image(Path::new(&name))
                && let Some(stem) = Path::new(&name).file_stem()
            {
                there.stems.entry(stem.to_owned()).or_default().push(name.clone());
            }
            there.files.insert(name);
        }
        there
    }
}

impl Bases {
    fn new<'a>(folders: impl Iterator<Item = &'a Path>) -> Self {
        Self { folders: folders.map(Path::to_owned).collect(), there: HashMap::new() }
    }

    /// The one file that a line means, if it is there: by its name, or by that without ending.
    ///
    /// # Errors
    /// If several could be meant.
    fn find(&mut self, file: &str) -> Result<Option<PathBuf>> {
        let mut found: Vec<PathBuf> = Vec::new();
        for base in &self.folders {
            let path = base.join(file);
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let there = match self.there.get(folder) {
                Some(there) => there,
                None => self.there.entry(folder.to_owned()).or_insert(There::read(folder)),
            };
            let stems = || there.stems.get(name).into_iter().flatten();
            if there.files.contains(name) {
                found.push(path);
            } else if !is_image(&path) {
                found.extend(stems().map(|name| folder.join(name)));
            }
        }
        found.sort();
        found.dedup();
        ensure!(
            found.len() < 2,
            "`{file}` may mean {} or {}: write the one that is meant, with its folder and ending",
            found[0].display(),
            found[1].display()
        );
        Ok(found.pop())
    }
}
