//! The checkpoints of a run: which are kept, which is the best, which is the last good one.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::file::TooNew;
use super::{About, Stored, file};
use crate::event::EvaluationReport;
use crate::item::Weights;
use crate::run_folder::{read_json, write_whole};

/// What a validation split is called: the best is chosen by it where there is one.
const VALIDATION: &str = "validation";

/// The best checkpoint so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps done.
    pub step: u64,
    /// Its file's name.
    pub file: String,
    /// Its precision @ 1.
    pub precision_at_1: f64,
    /// The part of the data set that it was chosen by: `test` means that the figure is no estimate
    /// for images never seen.
    pub chosen_on: String,
    /// Whether the averaged weights were scored.
    pub averaged: bool,
}

/// A run's folder of checkpoints.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    keep: usize,
    best: Option<Best>,
    /// Steps of checkpoints that are being evaluated.
    awaited: BTreeSet<u64>,
}

impl Store {
    /// The folder, made if it is not there, of which the last `keep` checkpoints are kept.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(folder: &Path, keep: usize) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // Without it, or with a damaged one, the next evaluation makes another.
        let best: Option<Best> = read_json(&best_file(folder)).ok();
        let best = best.filter(|best| folder.join(&best.file).is_file());
        Ok(Self { folder: folder.to_owned(), keep: keep.max(1), best, awaited: BTreeSet::new() })
    }

    /// Keeps these weights. With `awaited` they stay until they have been evaluated.
    ///
    /// # Errors
    /// If they cannot be written: all earlier ones are still there then.
    pub fn save(&mut self, weights: &Weights, about: &About, awaited: bool) -> Result<PathBuf> {
        let step = weights.progress.steps;
        let path = self.folder.join(file_name(step));
        file::write(&path, weights, about)?;
        if awaited {
            self.awaited.insert(step);
        }
        self.clear();
        Ok(path)
    }

    /// Takes note of how good the weights of a step are; says whether they are the best so far.
    ///
    /// # Errors
    /// If that cannot be written down.
    pub fn evaluated(&mut self, report: &EvaluationReport) -> Result<bool> {
        // Evaluations come in order: what came before will not be asked for any more.
        self.awaited = self.awaited.split_off(&report.step);
        let file = file_name(report.step);
        if !self.folder.join(&file).is_file() {
            return Ok(false);
        }
        let better = match &self.best {
            None => true,
            Some(best) => match (report.split == VALIDATION, best.chosen_on == VALIDATION) {
                (true, false) => true,
                (false, true) => false,
                // Equal ones keep the earlier.
                _ => report.precision_at_1 > best.precision_at_1,
            },
        };
        if better {
            let best = Best {
                step: report.step,
                file,
                precision_at_1: report.precision_at_1,
                chosen_on: report.split.clone(),
                averaged: report.averaged,
            };
            write_whole(&best_file(&self.folder), &serde_json::to_vec_pretty(&best)?)?;
            self.best = Some(best);
        }
        self.clear();
        Ok(better)
    }

    /// The best so far.
    pub fn best(&self) -> Option<&Best> {
        self.best.as_ref()
    }

    /// Removes what is neither among the last, nor the best, nor being evaluated. What cannot be
    /// removed stays: that harms nothing.
    fn clear(&self) {
        let steps = list(&self.folder);
        let old = &steps[..steps.len().saturating_sub(self.keep)];
        let best = self.best.as_ref().map(|best| best.step);
        for step in old.iter().filter(|step| Some(**step) != best && !self.awaited.contains(step)) {
            let _ = fs::remove_file(self.folder.join(file_name(*step)));
        }
    }

    /// Moves checkpoints beyond a step out of the way: the run goes on from there, another way.
    /// Says whether there were any.
    ///
    /// # Errors
    /// If they cannot be moved.
    pub fn supersede(&mut self, step: u64, aside: &Path) -> Result<bool> {
        let mut any = false;
        for later in list(&self.folder).into_iter().filter(|later| *later > step) {
            let name = file_name(later);
            move_aside(&self.folder.join(&name), aside, &name)?;
            any = true;
        }
        if self.best.as_ref().is_some_and(|best| best.step > step) {
            self.best = None;
            move_aside(&best_file(&self.folder), aside, BEST)?;
        }
        Ok(any)
    }
}

/// The newest checkpoint of a folder that can be used, and what is wrong with newer ones. Those
/// stay where they are.
///
/// # Errors
/// If there is none, or a newer one is not damaged, but was written by a newer program.
pub fn latest_good(folder: &Path) -> Result<(PathBuf, Stored, Vec<String>)> {
    let mut complaints = Vec::new();
    let mut steps = list(folder);
    while let Some(step) = steps.pop() {
        let path = folder.join(file_name(step));
        match file::read(&path) {
            Ok(stored) => return Ok((path, stored, complaints)),
            Err(error) if error.is::<TooNew>() => return Err(error),
            // The run is at work: it has removed this one because there are newer ones.
            Err(_) if is_gone(&path) => {
                complaints.clear();
                steps = list(folder);
            }
            Err(error) => complaints.push(format!("{error:#}")),
        }
    }
    if complaints.is_empty() {
        bail!("there is no checkpoint in {}", folder.display());
    }
    bail!("no checkpoint in {} can be used:\n  {}", folder.display(), complaints.join("\n  "))
}

fn is_gone(path: &Path) -> bool {
    matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// The first checkpoint after step `told` and before step `latest` that was handed on to be
/// evaluated: its evaluation, of which nothing was told, is lost unless the run goes on from there.
pub fn awaiting(folder: &Path, told: u64, latest: u64) -> Option<(PathBuf, Stored)> {
    let steps = list(folder).into_iter().filter(|step| (told + 1..latest).contains(step));
    steps
        .filter_map(|step| {
            let path = folder.join(file_name(step));
            Some((path.clone(), file::read(&path).ok()?))
        })
        .find(|(_, stored)| stored.about.awaits_evaluation)
}

/// Steps of the checkpoints in a folder, in order.
pub(crate) fn list(folder: &Path) -> Vec<u64> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let step = |name: String| {
        let step = name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()?;
        (file_name(step) == name).then_some(step)
    };
    let mut steps: Vec<u64> =
        entries.filter_map(|entry| step(entry.file_name().into_string().ok()?)).collect();
    steps.sort_unstable();
    steps
}

fn file_name(step: u64) -> String {
    format!("step-{step:09}.safetensors")
}

const BEST: &str = "best.json";

pub(super) fn best_file(folder: &Path) -> PathBuf {
    folder.join(BEST)
}

/// Moves a file into a folder, under a name that is not taken there.
fn move_aside(path: &Path, aside: &Path, name: &str) -> Result<()> {
    fs::create_dir_all(aside).with_context(|| format!("cannot make {}", aside.display()))?;
    let free = (0..).map(|number| match number {
        0 => aside.join(name),
        _ => aside.join(format!("{name}.{number}")),
    });
    for to in free {
        // Taking the name first: a rename would write over what is there.
        match fs::File::create_new(&to) {
            Ok(_) => {
                return fs::rename(path, &to).with_context(|| {
                    format!("cannot move {} to {}", path.display(), to.display())
                });
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot write {}", to.display()));
            }
        }
    }
    Ok(())
}
