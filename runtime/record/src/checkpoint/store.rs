//! The checkpoints of a run: which are kept, which is the best, which is the last good one.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::file::TooNew;
use super::{About, Stored, file};
use crate::run_folder::{Held, read_json};
use base::free_name::move_aside;
use base::whole_file::write_whole_if;
use flow::item::Weights;
use flow::reports::EvaluationReport;

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
    /// The stage that scored them.
    pub stage: String,
}

impl Best {
    fn of(report: &EvaluationReport, file: String) -> Self {
        Self {
            step: report.step,
            file,
            precision_at_1: report.precision_at_1,
            chosen_on: report.split.clone(),
            averaged: report.averaged,
            stage: report.stage.clone(),
        }
    }

    /// Whether this one takes the place of the other. Precisions are compared within one stage, split
    /// and kind of weights only, and equal ones keep the earlier.
    fn is_better_than(&self, other: &Self) -> bool {
        let measured = |best: &Self| (best.stage.clone(), best.chosen_on.clone(), best.averaged);
        let comparable = measured(self) == measured(other);
        !comparable || self.precision_at_1 > other.precision_at_1
    }
}

/// A run's folder of checkpoints.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    keep: usize,
    best: Option<Best>,
    /// The step of the weights that were the best on other images.
    former: Option<u64>,
    /// The stage that the best is chosen by.
    best_by: Option<String>,
    /// Steps of checkpoints that are being evaluated.
    awaited: BTreeSet<u64>,
    /// Of each stage that evaluates, the steps of the weights that it has told of last.
    told: HashMap<String, u64>,
    /// The run's folder, outside which nothing is touched.
    run: Option<Arc<Held>>,
}

impl Store {
    /// The folder, made if it is not there, of which the last `keep` checkpoints are kept, and
    /// those that one of these stages has not evaluated yet.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open<'a>(
        folder: &Path,
        keep: usize,
        evaluators: impl Iterator<Item = &'a str>,
    ) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // Without it, or with a damaged one, the next evaluation makes another.
        let best: Option<Best> = read_json(&best_file(folder)).ok();
        let best = best.filter(|best| folder.join(&best.file).is_file());
        let evaluators: Vec<&str> = evaluators.collect();
        Ok(Self {
            folder: folder.to_owned(),
            keep: keep.max(1),
            best,
            former: None,
            best_by: evaluators.first().map(|stage| (*stage).to_owned()),
            awaited: BTreeSet::new(),
            told: evaluators.into_iter().map(|stage| (stage.to_owned(), 0)).collect(),
            run: None,
        })
    }

    /// The same, with the best chosen by this stage; by the first that evaluates if it is `None`. A
    /// best that another stage has chosen gives way to the best of the earlier `evaluations` whose
    /// weights are still there.
    ///
    /// # Errors
    /// If that cannot be written down.
    pub fn choosing_by(
        mut self,
        stage: Option<&str>,
        evaluations: &[EvaluationReport],
    ) -> Result<Self> {
        if let Some(stage) = stage {
            self.best_by = Some(stage.to_owned());
        }
        if self.best.as_ref().is_some_and(|best| Some(&best.stage) != self.best_by.as_ref()) {
            let own =
                evaluations.iter().filter(|report| Some(&report.stage) == self.best_by.as_ref());
            let found = own.map(|report| Best::of(report, file_name(report.step)));
            let there = found.filter(|found| self.folder.join(&found.file).is_file());
            let best =
                there.reduce(|best, other| if other.is_better_than(&best) { other } else { best });
            // Until there is another, that of the other stage is better than none.
            if let Some(best) = best {
                self.set_best(best)?;
            }
        }
        Ok(self)
    }

    /// Has the next evaluation choose the best anew: other images are evaluated than before. The
    /// weights that were the best stay where they are.
    pub fn choose_anew(&mut self) {
        self.former = self.best.take().map(|best| best.step);
        // A resume before that evaluation would take it for the best of the new images.
        let _ = fs::remove_file(best_file(&self.folder));
    }

    /// Has nothing be written or removed any more once the path of this run's folder leads to
    /// another one.
    pub fn stay_in(&mut self, run: Arc<Held>) {
        self.run = Some(run);
    }

    fn check(&self) -> Result<()> {
        self.run.as_ref().map_or(Ok(()), |run| run.check())
    }

    fn set_best(&mut self, best: Best) -> Result<()> {
        let text = serde_json::to_vec_pretty(&best)?;
        write_whole_if(&best_file(&self.folder), &text, || self.check())?;
        self.best = Some(best);
        Ok(())
    }

    /// Has checkpoints of these steps stay until they have been evaluated.
    pub fn await_evaluation(&mut self, steps: impl IntoIterator<Item = u64>) {
        self.awaited.extend(steps);
    }

    /// The newest checkpoint, if there is any.
    pub fn latest(&self) -> Option<PathBuf> {
        list(&self.folder).last().map(|step| self.folder.join(file_name(*step)))
    }

    /// Keeps these weights. With `awaited` they stay until they have been evaluated.
    ///
    /// # Errors
    /// If they cannot be written: all earlier ones are still there then.
    pub fn save(&mut self, weights: &Weights, about: &About, awaited: bool) -> Result<PathBuf> {
        let step = weights.progress.steps;
        let path = self.folder.join(file_name(step));
        write_whole_if(&path, &file::encode(weights, about)?, || self.check())?;
        if awaited {
            self.awaited.insert(step);
        }
        self.tidy();
        Ok(path)
    }

    /// Takes note of how good the weights of a step are; says whether they are the best so far.
    /// They are still there until [`Store::tidy`]: a run that is killed before their evaluation is
    /// written down evaluates them again.
    ///
    /// # Errors
    /// If that cannot be written down.
    pub fn evaluated(&mut self, report: &EvaluationReport) -> Result<bool> {
        // Each stage evaluates in order: what came before it will not ask for any more.
        self.told.insert(report.stage.clone(), report.step);
        let told = self.told.values().min().copied().unwrap_or(0);
        self.awaited = self.awaited.split_off(&(told + 1));
        let file = file_name(report.step);
        let found = Best::of(report, file);
        let is_there = self.folder.join(&found.file).is_file();
        let chooses = self.best_by.as_ref() == Some(&report.stage);
        let better =
            chooses && is_there && self.best.as_ref().is_none_or(|best| found.is_better_than(best));
        if better {
            self.set_best(found)?;
        }
        Ok(better)
    }

    /// The best so far.
    pub fn best(&self) -> Option<&Best> {
        self.best.as_ref()
    }

    /// Removes what is neither among the last, nor the best, nor being evaluated. What cannot be
    /// removed stays: that harms nothing.
    pub fn tidy(&self) {
        if self.check().is_err() {
            return;
        }
        let steps = list(&self.folder);
        let old = &steps[..steps.len().saturating_sub(self.keep)];
        let best = self.best.as_ref().map(|best| best.step);
        let stays =
            |step: &u64| [best, self.former].contains(&Some(*step)) || self.awaited.contains(step);
        for step in old.iter().filter(|step| !stays(step)) {
            let _ = fs::remove_file(self.folder.join(file_name(*step)));
        }
    }

    /// Moves checkpoints beyond a step out of the way: the run goes on from there, another way.
    /// Says whether there were any.
    ///
    /// # Errors
    /// If they cannot be moved.
    pub fn supersede(&mut self, step: u64, aside: &Path) -> Result<bool> {
        self.check()?;
        let mut any = false;
        for later in list(&self.folder).into_iter().filter(|later| *later > step) {
            move_aside(&self.folder.join(file_name(later)), aside)?;
            any = true;
        }
        if self.best.as_ref().is_some_and(|best| best.step > step) {
            self.best = None;
            move_aside(&best_file(&self.folder), aside)?;
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
    latest_good_by(folder, file::read)
}

pub(super) fn latest_good_by(
    folder: &Path,
    mut read: impl FnMut(&Path) -> Result<Stored>,
) -> Result<(PathBuf, Stored, Vec<String>)> {
    let mut complaints = Vec::new();
    let mut steps = list(folder);
    while let Some(step) = steps.pop() {
        let path = folder.join(file_name(step));
        match read(&path) {
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

/// The checkpoints after step `told` and before step `latest` that were handed on to be evaluated,
/// in order: nothing was told of them. And what is wrong with those of which that cannot be known.
pub fn awaiting(folder: &Path, told: u64, latest: u64) -> (Vec<Stored>, Vec<String>) {
    let (mut awaiting, mut complaints) = (Vec::new(), Vec::new());
    let steps = steps(folder).unwrap_or_else(|error| {
        complaints.push(format!(
            "cannot read {} ({error}): evaluations that were lost are not made up for",
            folder.display()
        ));
        Vec::new()
    });
    for step in steps.into_iter().filter(|step| (told + 1..latest).contains(step)) {
        match file::read(&folder.join(file_name(step))) {
            Ok(stored) if stored.about.awaits_evaluation => awaiting.push(stored),
            Ok(_) => {}
            Err(error) => complaints.push(format!(
                "{error:#}; if its evaluation was lost, step {step} stays without one"
            )),
        }
    }
    (awaiting, complaints)
}

/// Whether a folder holds no checkpoint, not even a damaged one.
///
/// # Errors
/// If it is there and cannot be read.
pub fn is_empty(folder: &Path) -> Result<bool> {
    let steps = steps(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(steps.is_empty())
}

/// Steps of the checkpoints in a folder, in order; none if it cannot be read.
pub fn list(folder: &Path) -> Vec<u64> {
    steps(folder).unwrap_or_default()
}

/// Steps of the checkpoints in a folder, in order; none if it is not there.
fn steps(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let step = |name: String| {
        let step = name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()?;
        (file_name(step) == name).then_some(step)
    };
    let mut steps = Vec::new();
    for entry in entries {
        let entry = entry?;
        let step = entry.file_name().into_string().ok().and_then(step);
        // A folder or a pipe of that name is no checkpoint.
        steps.extend(step.filter(|_| entry.path().metadata().is_ok_and(|found| found.is_file())));
    }
    steps.sort_unstable();
    Ok(steps)
}

/// The name of the checkpoint after so many steps.
pub fn file_name(step: u64) -> String {
    format!("step-{step:09}.safetensors")
}

const BEST: &str = "best.json";

pub(super) fn best_file(folder: &Path) -> PathBuf {
    folder.join(BEST)
}
