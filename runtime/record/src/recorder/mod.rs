//! What a run leaves in its folder: [sinks](crate::sink) turn events, as they come, into files.

mod keep;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

pub use self::board::Evaluations;
pub use self::keep::{Kept, forms, prepare};

use crate::checkpoint::Store;
use crate::metrics;
use crate::provenance::{self, Watch};
use crate::run_folder::{self, About, Ended, RunFolder, write_whole};
pub use crate::sink::Last;
use crate::sink::{End, RunState, Sink, Sinks};
use base::whole_file::write_whole_if;
use compute::adapter::AdapterReport;
use compute::adapter::forms::Forms;
use compute::adapter::variants::another;
use flow::event::{Event, Message};
use flow::plan::Plan;
use flow::reports::{DataReport, ImageSet, Outcome, TrainerReport};

base::registry! {
    /// What writes into the folder of every run that has one. `measured` is the last: a resumed run
    /// makes no evaluation again that has a line there, so that everything else of it must be written.
    fn sinks(plan: &Plan) -> Vec<Box<dyn Sink>> from sink(plan);

    mod balance;
    mod board;
    mod page;
    mod checkpoints;
    mod measured;
}

/// The version of Gradflow.
pub const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// The folder that a run is to have.
#[derive(Clone, Debug)]
pub enum Place {
    /// The first free number of this name.
    Numbered {
        /// Where runs are.
        base: PathBuf,
        /// The name, to which a number is added.
        name: String,
    },
    /// This name and no other.
    Named {
        /// Where runs are.
        base: PathBuf,
        /// The name.
        name: String,
    },
}

/// Keeps a run, and hands what happens in it to its sinks. Its folder is made once all stages are
/// built, so that a run that could not begin leaves nothing behind.
pub struct Recorder {
    run: RunState,
    sinks: Sinks,
    place: Option<Place>,
    folder: Option<RunFolder>,
    /// The pipeline as it was written.
    original: String,
    /// What happened before the sinks began.
    early: Vec<Message>,
    begun: bool,
    /// Whether the settings of the run are in its folder. Those of a resumed run are written once
    /// it leaves something that comes of them: if it cannot go on with them, the earlier ones hold.
    settled: bool,
    forms: Forms,
    /// The data of the run that is resumed.
    data_before: Vec<DataReport>,
    /// Compares the images that are evaluated with those that are trained on.
    watch: Watch,
    /// Whether there is a set of images that cannot be read: one of this process alone would not
    /// replace it.
    trained_on_unknown: bool,
    /// A warning that comes before the first message.
    untold: Option<String>,
    /// Whether it was told that the folder is no longer where it was.
    told_moved: bool,
    /// Of each stage, the steps of the weights that it evaluated last, as far as that is kept.
    evaluated: BTreeMap<String, u64>,
}

impl Recorder {
    /// For a new run.
    ///
    /// # Errors
    /// If the pipeline cannot be written out.
    pub fn new(plan: &Plan, text: &str, place: Place, about: About) -> Result<Self> {
        let mut recorder = Self::kept(plan, text, about)?;
        recorder.place = Some(place);
        Ok(recorder)
    }

    /// To go on in this folder after so many steps. What came later is moved aside.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub fn resume(
        plan: &Plan,
        text: &str,
        folder: RunFolder,
        about: About,
        steps: u64,
    ) -> Result<Self> {
        let aside = folder.superseded();
        Store::open(
            &folder.checkpoints(),
            plan.settings.record.checkpoints.keep,
            plan.evaluators(),
        )?
        .supersede(steps, &aside)?;
        metrics::cut(&metrics_file(folder.path()), steps, &aside)?;
        let told = metrics::read(&metrics_file(folder.path()))?;
        let evaluators = plan.evaluators().map(|stage| (stage, told.last_evaluation(stage)));
        board::cut_back(&board_folder(folder.path()), steps, evaluators, &aside)?;
        let mut recorder = Self::kept(plan, text, about)?;
        recorder.data_before.clone_from(&recorder.run.about.data);
        let before =
            provenance::read_images(&provenance::file(folder.path())).unwrap_or_else(|error| {
                let unknown = "which images the run was trained on before is not known";
                recorder.untold = Some(format!("{error:#}: {unknown}"));
                recorder.trained_on_unknown = true;
                None
            });
        recorder.watch = Watch::new(training(plan), before.unwrap_or_default());
        recorder.folder = Some(folder);
        recorder.run.resumed_after = Some(steps);
        // A run that begins again is not done already.
        recorder.run.last.idle_after = Some(steps).filter(|steps| *steps > 0);
        Ok(recorder)
    }

    /// For a run that keeps nothing: only live sinks hear of it.
    pub fn without_folder(plan: &Plan) -> Self {
        let about = About { seed: plan.settings.seed, ..About::default() };
        Self::of(plan, String::new(), String::new(), about)
    }

    fn kept(plan: &Plan, text: &str, about: About) -> Result<Self> {
        let pipeline = config::yaml::Document::write(&plan.resolved())?;
        let mut recorder = Self::of(plan, text.to_owned(), pipeline, about);
        sinks(plan).into_iter().for_each(|sink| recorder.add(sink));
        Ok(recorder)
    }

    fn of(plan: &Plan, original: String, pipeline: String, about: About) -> Self {
        let evaluators = plan.evaluators().map(str::to_owned).collect();
        Self {
            run: RunState { about, pipeline, evaluators, ..RunState::default() },
            sinks: Sinks::default(),
            place: None,
            folder: None,
            original,
            early: Vec::new(),
            begun: false,
            settled: false,
            forms: plan.settings.compute.forms.clone(),
            data_before: Vec::new(),
            watch: Watch::new(training(plan), ImageSet::default()),
            trained_on_unknown: false,
            untold: None,
            told_moved: false,
            evaluated: BTreeMap::new(),
        }
    }

    /// Adds a sink behind the others.
    pub fn add(&mut self, sink: Box<dyn Sink>) {
        self.sinks.add(sink);
    }

    /// Hands a message to the sinks.
    ///
    /// # Errors
    /// If the run's folder cannot be made, or images that are kept back are trained on. What cannot
    /// be written later is only told: a run of hours need not end for it.
    pub fn observe(&mut self, message: &Message) -> Result<()> {
        let mut warnings: Vec<String> = self.untold.take().into_iter().collect();
        match &message.event {
            Event::Data(report) => warnings.extend(self.data(report)?),
            Event::Began(began) => self.watch.begin_with(began),
            Event::Trainer(report) => {
                for (stage, told, images) in self.watch.complete()? {
                    self.trained_on(&stage, images);
                    warnings.extend(told);
                }
                warnings.extend(self.trainer(report));
            }
            Event::Built => {
                self.begin().inspect_err(|_| self.abandon())?;
                let folder = self.folder.as_ref();
                warnings.extend(folder.and_then(RunFolder::warning).map(str::to_owned));
            }
            Event::Step(_) => self.run.last.idle_after = None,
            _ => {}
        }
        for warning in warnings {
            self.deliver(&Event::Warning(warning).into());
        }
        self.deliver(message);
        Ok(())
    }

    fn deliver(&mut self, message: &Message) {
        if self.begun && !self.settled && self.is_settled_by(&message.event) {
            self.settled = true;
            if let Err(error) = self.write_settings() {
                self.deliver(&Event::Warning(format!("{error:#}")).into());
            }
        }
        let is_new = match &message.event {
            Event::Evaluation(report) => self.is_new(report.stage.as_str(), report.step),
            _ => true,
        };
        if let Event::Evaluation(report) = &message.event {
            self.run.evaluated(report);
        }
        let is_in_place = self.is_in_place(&message.event);
        let (begun, run) = (self.begun && is_in_place, &mut self.run);
        self.sinks.observe(message, run, &|sink| sink.is_live() || (begun && is_new));
        let passes = matches!(message.event, Event::Download(_) | Event::Filling { .. });
        let begins = self.place.is_some() || self.folder.is_some();
        if !self.begun && begins && !passes {
            self.early.push(message.clone());
        }
    }

    /// Whether the run's path still leads to its folder. If not, what is there is not this run's:
    /// nothing more is kept, which is told once.
    fn is_in_place(&mut self, event: &Event) -> bool {
        let Some(folder) = self.folder.as_ref().filter(|_| self.begun) else { return true };
        let Err(error) = folder.check() else { return true };
        let told = format!("{error:#}");
        match event {
            Event::Checkpoint(_) => {
                self.run.last.checkpoint = None;
                self.run.last.failure = Some(told.clone());
            }
            Event::Shares(report) => report.answer(false),
            _ => {}
        }
        if !std::mem::replace(&mut self.told_moved, true) {
            self.sinks.observe(&Event::Warning(told).into(), &mut self.run, &|sink| sink.is_live());
        }
        false
    }

    /// Whether an evaluation is not kept yet. A resumed run evaluates once more what it may not
    /// have told before.
    fn is_new(&mut self, stage: &str, step: u64) -> bool {
        let before = self.evaluated.get(stage).copied();
        let is_new = before.is_none_or(|before| before < step);
        if is_new {
            self.evaluated.insert(stage.to_owned(), step);
        }
        is_new
    }

    /// Whether an event leaves something in the folder that comes of the settings.
    fn is_settled_by(&self, event: &Event) -> bool {
        let before = self.run.resumed_after.unwrap_or(0);
        match event {
            Event::Step(_) | Event::Summary(_) | Event::Shares(_) => true,
            Event::Checkpoint(checkpoint) => checkpoint.weights.progress.steps > before,
            Event::Evaluation(report) => report.step > before,
            _ => false,
        }
    }

    fn data(&mut self, report: &DataReport) -> Result<Vec<String>> {
        let before = self.data_before.iter().find(|before| before.stage == report.stage);
        let changed = before.is_some_and(|before| match self.watch.trains(&report.stage) {
            // The order counts as well.
            true => before.crc32c != report.crc32c,
            false => !before.same_images(report),
        });
        let mut kept = report.clone();
        if let Some(identity) = &mut kept.identity {
            identity.hashes = Arc::default();
        }
        let about = &mut self.run.about;
        about.data.retain(|known| known.stage != report.stage);
        about.data.push(kept);
        let (mut warnings, images) = self.watch.data(report)?;
        self.trained_on(&report.stage, images);
        if changed {
            let (stage, now) = (&report.stage, &report.description);
            warnings.push(match self.watch.trains(stage) {
                true => format!(
                    "{stage} reads other data than before ({now}): the run does not go on as it would \
                     have"
                ),
                false => format!(
                    "{stage} reads other images, or other labels, than before ({now}): precisions are \
                     not to be compared with earlier ones, and the best is chosen anew"
                ),
            });
            self.run.evaluates_other_data |= !self.watch.trains(stage);
        }
        Ok(warnings)
    }

    /// Takes note of how many of the images that a stage reads to evaluate were trained on.
    fn trained_on(&mut self, stage: &str, images: u64) {
        let report = self.run.about.data.iter_mut().find(|report| report.stage == stage);
        if let Some(identity) = report.and_then(|report| report.identity.as_mut()) {
            identity.trained_on = images;
        }
    }

    /// Takes note of what trains; says so if a run that goes on does not go on exactly.
    fn trainer(&mut self, report: &TrainerReport) -> Option<String> {
        let about = &mut self.run.about;
        let now = AdapterReport::from(&report.adapter);
        let before = about.adapter.replace(now.clone());
        let towers = report.towers.iter().map(|tower| AdapterReport::from(&tower.adapter));
        let elsewhere = report.elsewhere.values().map(|record| record.adapter.clone());
        about.towers = towers.chain(elsewhere).collect();
        if let Some(resumed) = about.resumed.last_mut() {
            resumed.adapter = about.adapter.clone();
        }
        let ran = self.run.ran.insert(report.record());
        let steps = self.run.resumed_after?;
        let why = match (self.forms.record(), before) {
            (Some(record), _) => record.differences(ran),
            // There is nothing yet that it goes on from.
            (None, _) if steps == 0 => Vec::new(),
            (None, Some(before)) if !before.computes_like(&now) => vec![another(&before, &now)],
            (None, _) => vec!["its checkpoint does not say which kernels it ran".to_owned()],
        };
        (!why.is_empty()).then(|| format!("the continuation is not bit-exact: {}", some(&why)))
    }

    /// All stages are built: the folder is made if it is a new one, and the sinks begin.
    fn begin(&mut self) -> Result<()> {
        if self.folder.is_none() {
            self.folder = match self.place.take() {
                Some(Place::Numbered { base, name }) => Some(RunFolder::numbered(&base, &name)?),
                Some(Place::Named { base, name }) => Some(RunFolder::named(&base, &name)?),
                None => None,
            };
        }
        let Some(folder) = &self.folder else { return Ok(()) };
        let path = folder.path().to_owned();
        self.run.folder = Some(path.clone());
        self.run.held = Some(folder.held());
        if self.run.resumed_after.is_none() {
            self.write_settings()?;
            self.settled = true;
        }
        self.run.history = metrics::read(&metrics_file(&path))?;
        for report in self.run.history.evaluations.clone() {
            self.evaluated.insert(report.stage.clone(), report.step);
            self.run.evaluated(&report);
        }
        self.sinks.begin(&mut self.run)?;
        self.run.history = metrics::History::default();
        self.run.last.folder = Some(path);
        self.begun = true;
        for message in std::mem::take(&mut self.early) {
            self.sinks.observe(&message, &mut self.run, &|sink| !sink.is_live());
        }
        Ok(())
    }

    /// Removes a new folder in which the run could not begin.
    fn abandon(&mut self) {
        let begun = self.folder.take_if(|folder| folder.is_new());
        begun.into_iter().for_each(RunFolder::abandon);
    }

    /// Writes what the run is and does.
    fn write_settings(&mut self) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let path = folder.path();
        write_whole(&path.join("pipeline.original.yaml"), self.original.as_bytes())?;
        write_whole(&run_folder::pipeline(path), self.run.pipeline.as_bytes())?;
        self.run.about.ended = None;
        write_about(folder, &self.run.about)?;
        let images = self.watch.images();
        if !images.is_empty() && !self.trained_on_unknown {
            provenance::write_images(&images, &provenance::file(path))?;
        }
        if let Some(ran) = &self.run.ran {
            write_whole(&variants_file(path), &serde_json::to_vec_pretty(ran)?)?;
        }
        Ok(())
    }

    /// Moves weights after so many steps or more out of the way, as training cannot go on from
    /// them. Says where they went, if there were any.
    ///
    /// # Errors
    /// If they cannot be moved.
    fn discard(&mut self, steps: u64) -> Result<Option<PathBuf>> {
        let Some(folder) = self.folder.as_ref().filter(|_| self.begun) else { return Ok(None) };
        folder.check()?;
        let aside = folder.superseded();
        let evaluators = self.run.evaluators.iter().map(String::as_str);
        let mut store = Store::open(&folder.checkpoints(), usize::MAX, evaluators)?;
        Ok(store.supersede(steps.saturating_sub(1), &aside)?.then_some(aside))
    }

    /// Ends the sinks, saying how the run ended.
    pub fn finish(&mut self, how: &str, outcome: Option<&Outcome>) {
        self.run.last.data.clone_from(&self.run.about.data);
        let moved = !self.is_in_place(&Event::Ended);
        if moved {
            // What there is of that name is not of this run.
            self.run.last.checkpoint = None;
            self.run.last.report = None;
        } else if self.begun {
            let written = self.write_end(how, outcome.is_some());
            if let Err(error) = written {
                self.deliver(&Event::Warning(format!("{error:#}")).into());
            }
        }
        self.sinks.end(&End { how, outcome }, &mut self.run, self.begun && !moved);
    }

    fn write_end(&mut self, how: &str, well: bool) -> Result<()> {
        if !self.settled {
            // It could not go on with its settings: it stays what it was.
            if !well {
                return Ok(());
            }
            self.write_settings()?;
        }
        let Some(folder) = &self.folder else { return Ok(()) };
        self.run.about.ended = Some(Ended { time: run_folder::now(), how: how.to_owned() });
        write_about(folder, &self.run.about)
    }

    /// What there is to say at the end.
    pub fn last(&self) -> &Last {
        &self.run.last
    }
}

/// The ids of the stages that are part of the training.
fn training(plan: &Plan) -> HashSet<String> {
    let stages = (0..plan.stages.len()).filter(|at| plan.trains(*at));
    stages.map(|at| plan.stages[at].id.clone()).collect()
}

/// As many as a person reads.
fn some(why: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text = why[..why.len().min(SHOWN)].join("; ");
    if why.len() > SHOWN {
        text.push_str(&format!("; and {} more", why.len() - SHOWN));
    }
    text
}

fn write_about(folder: &RunFolder, about: &About) -> Result<()> {
    let text = serde_json::to_vec_pretty(about)?;
    write_whole_if(&run_folder::about(folder.path()), &text, || folder.check())
}

/// The last part of a path.
pub fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The file with what the run in this folder measured.
pub fn metrics_file(run: &Path) -> PathBuf {
    run.join("metrics.jsonl")
}

/// The file with what runs in the run in this folder, and on which adapter.
pub fn variants_file(run: &Path) -> PathBuf {
    run.join("variants.json")
}

/// The folder with what TensorBoard shows of the run in this folder.
pub fn board_folder(run: &Path) -> PathBuf {
    run.join("tensorboard")
}

/// The page about the run in this folder.
pub fn report_file(run: &Path) -> PathBuf {
    run.join("report.html")
}
