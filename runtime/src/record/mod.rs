//! What a run leaves in its folder: events, as they come, become files.

mod board;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};

pub(crate) use self::board::Evaluations;

use self::board::Board;
use crate::adapter::AdapterReport;
use crate::adapter::forms::Forms;
use crate::adapter::variants::{RunRecord, another};
use crate::checkpoint::{self, Best, Store};
use crate::event::{Checkpoint, Event, Reason, SharesReport};
use crate::metrics::{self, Metrics};
use crate::plan::Plan;
use crate::provenance::{self, ImageSet, Watch};
use crate::report::{Facts, Report};
use crate::reports::{DataReport, EvaluationReport, TrainerReport};
use crate::run_folder::{self, About, Ended, RunFolder, write_whole};
use crate::stage::Resume;
use crate::tensorboard;
use crate::towers::journal;
use crate::whole_file::write_whole_if;

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

/// Keeps a run. Its folder is made once the run is ready for its first step, so that a run that
/// could not begin leaves nothing behind.
pub struct Recorder {
    place: Option<Place>,
    about: About,
    /// The pipeline as it was written, and with all defaults.
    texts: (String, String),
    keep: usize,
    evaluators: Vec<String>,
    /// What the run goes on from, until it does.
    resume: Option<Resume>,
    /// Whether there was a step or an evaluation in this process.
    measured: bool,
    graphs: tensorboard::proto::GraphDef,
    folder: Option<RunFolder>,
    files: Option<Files>,
    early: Vec<Event>,
    /// What runs, once that is known, and what ran before.
    ran: Option<RunRecord>,
    forms: Forms,
    /// The data of the run that is gone on with, and the steps that it had done.
    data_before: Vec<DataReport>,
    watch: Watch,
    /// What is to be said with the first event.
    unsaid: Option<String>,
    resumed_after: Option<u64>,
    /// What went wrong, each said once.
    said: HashSet<String>,
    last: Last,
}

/// The files of a folder.
struct Files {
    store: Store,
    metrics: Metrics,
    board: Board,
    report: Report,
    known: HashSet<(String, u64)>,
}

/// What a run's closing lines are made of.
#[derive(Clone, Debug, Default)]
pub struct Last {
    /// The latest checkpoint.
    pub checkpoint: Option<PathBuf>,
    /// The last evaluation.
    pub evaluation: Option<EvaluationReport>,
    /// The best.
    pub best: Option<Best>,
    /// Why the latest weights could not be kept.
    pub failure: Option<String>,
    /// The report.
    pub report: Option<PathBuf>,
    /// The data that was read.
    pub data: Vec<DataReport>,
    /// The run's folder.
    pub folder: Option<PathBuf>,
    /// The steps that had been done before, if none was added.
    pub idle_after: Option<u64>,
}

impl Recorder {
    /// For a new run.
    ///
    /// # Errors
    /// If the pipeline cannot be written out.
    pub fn new(plan: &Plan, text: &str, place: Place, about: About) -> Result<Self> {
        let mut recorder = Self::of(plan, text, about)?;
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
        Store::open(&folder.checkpoints(), plan.settings.checkpoints.keep, plan.evaluators())?
            .supersede(steps, &aside)?;
        metrics::cut(&metrics_file(folder.path()), steps, &aside)?;
        let told = metrics::read(&metrics_file(folder.path()))?;
        let evaluators = plan.evaluators().map(|stage| (stage, told.last_evaluation(stage)));
        Board::cut(&board_folder(folder.path()), steps, evaluators, &aside)?;
        let mut recorder = Self::of(plan, text, about)?;
        recorder.data_before.clone_from(&recorder.about.data);
        let before = ImageSet::read(&provenance::file(folder.path())).unwrap_or_else(|error| {
            let unknown = "which images the run was trained on before is not known";
            recorder.unsaid = Some(format!("{error:#}: {unknown}"));
            None
        });
        recorder.watch = Watch::new(training(plan), before.unwrap_or_default());
        recorder.folder = Some(folder);
        recorder.resumed_after = Some(steps);
        // A run that begins again is not done already.
        recorder.last.idle_after = Some(steps).filter(|steps| *steps > 0);
        recorder.resume.clone_from(&plan.settings.resume);
        Ok(recorder)
    }

    fn of(plan: &Plan, text: &str, about: About) -> Result<Self> {
        let resolved = crate::config::yaml::Document::write(&plan.resolved())?;
        let pipeline = tensorboard::graph::pipeline(plan);
        let graphs = match plan.trainer().and_then(|at| plan.stages[at].output.clone()) {
            Some(crate::port::Port::Weights(graph)) => {
                pipeline.and(tensorboard::graph::model(&graph))
            }
            _ => pipeline,
        };
        Ok(Self {
            place: None,
            about,
            texts: (text.to_owned(), resolved),
            keep: plan.settings.checkpoints.keep,
            evaluators: plan.evaluators().map(str::to_owned).collect(),
            resume: None,
            measured: false,
            graphs,
            folder: None,
            files: None,
            early: Vec::new(),
            ran: None,
            forms: plan.settings.forms.clone(),
            data_before: Vec::new(),
            watch: Watch::new(training(plan), ImageSet::default()),
            unsaid: None,
            resumed_after: None,
            said: HashSet::new(),
            last: Last::default(),
        })
    }

    /// Keeps what an event says. Gives what a person should know of it.
    ///
    /// # Errors
    /// If the run's folder cannot be made. What cannot be written later is only told: a run of
    /// hours need not end for it.
    pub fn observe(&mut self, event: &Event) -> Result<Vec<String>> {
        let mut notes: Vec<String> = self.unsaid.take().into_iter().collect();
        match event {
            Event::Data(report) => notes.extend(self.data(report)?),
            Event::Began(began) => self.watch.begin_with(began),
            Event::Trainer(report) => {
                for (stage, told, images) in self.watch.complete()? {
                    self.trained_on(&stage, images);
                    notes.extend(told);
                }
                notes.extend(self.trainer(report));
                if let Some(resumed) = self.about.resumed.last_mut() {
                    resumed.adapter = self.about.adapter.clone();
                }
                if let Err(error) = self.begin() {
                    // A run that could not begin leaves nothing behind.
                    let begun = self.folder.take_if(|folder| folder.is_new());
                    begun.into_iter().for_each(RunFolder::abandon);
                    return Err(error);
                }
                let warning = self.folder.as_ref().and_then(RunFolder::warning);
                notes.extend(warning.map(str::to_owned));
                for event in std::mem::take(&mut self.early) {
                    notes.extend(self.write(&event));
                }
            }
            _ => {}
        }
        if let Event::Shares(report) = event {
            notes.extend(self.shares(report));
        } else if self.files.is_none() {
            self.early.push(event.clone());
        } else {
            notes.extend(self.write(event));
        }
        notes.retain(|note| self.said.insert(note.clone()));
        Ok(notes)
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
        self.about.data.retain(|known| known.stage != report.stage);
        self.about.data.push(kept);
        let (mut notes, images) = self.watch.data(report)?;
        self.trained_on(&report.stage, images);
        if changed {
            notes.push(format!(
                "{} reads other data than before ({}): the run does not go on as it would have",
                report.stage, report.description
            ));
        }
        Ok(notes)
    }

    /// Takes note of how many of the images that a stage reads to evaluate were trained on.
    fn trained_on(&mut self, stage: &str, images: u64) {
        let report = self.about.data.iter_mut().find(|report| report.stage == stage);
        if let Some(identity) = report.and_then(|report| report.identity.as_mut()) {
            identity.trained_on = images;
        }
    }

    /// Writes shares down before they are used; gives what went wrong.
    fn shares(&self, report: &SharesReport) -> Option<String> {
        let folder = self.folder.as_ref().filter(|_| self.files.is_some())?;
        let written = folder
            .check()
            .and_then(|()| journal::record(&journal::file(folder.path()), &report.change));
        report.answer(written.is_ok());
        let error = written.err()?;
        Some(format!("{error:#}: the shares of the adapters are not known to whoever resumes"))
    }

    /// Takes note of what trains; says so if a run that goes on does not go on exactly.
    fn trainer(&mut self, report: &TrainerReport) -> Option<String> {
        let now = AdapterReport::from(&report.adapter);
        let before = self.about.adapter.replace(now.clone());
        let towers = report.towers.iter().map(|tower| AdapterReport::from(&tower.adapter));
        let elsewhere = report.elsewhere.values().map(|record| record.adapter.clone());
        self.about.towers = towers.chain(elsewhere).collect();
        let ran = self.ran.insert(report.record());
        let steps = self.resumed_after?;
        let why = match (self.forms.record(), before) {
            (Some(record), _) => record.differences(ran),
            // There is nothing yet that it goes on from.
            (None, _) if steps == 0 => Vec::new(),
            (None, Some(before)) if !before.computes_like(&now) => vec![another(&before, &now)],
            (None, _) => vec!["its checkpoint does not say which kernels it ran".to_owned()],
        };
        (!why.is_empty()).then(|| format!("the continuation is not bit-exact: {}", some(&why)))
    }

    fn begin(&mut self) -> Result<()> {
        if self.folder.is_none() {
            self.folder = match self.place.take() {
                Some(Place::Numbered { base, name }) => Some(RunFolder::numbered(&base, &name)?),
                Some(Place::Named { base, name }) => Some(RunFolder::named(&base, &name)?),
                None => None,
            };
        }
        let Some(folder) = &self.folder else { return Ok(()) };
        let path = folder.path();
        let (text, resolved) = &self.texts;
        write_whole(&path.join("pipeline.original.yaml"), text.as_bytes())?;
        write_whole(&run_folder::pipeline(path), resolved.as_bytes())?;
        self.about.ended = None;
        write_about(folder, &self.about)?;
        let images = self.watch.images();
        if !images.is_empty() {
            images.write(&provenance::file(path))?;
        }
        if let Some(ran) = &self.ran {
            write_whole(&variants_file(path), &serde_json::to_vec_pretty(ran)?)?;
        }
        let metrics = Metrics::append(&metrics_file(path))?;
        let history = metrics::read(&metrics_file(path))?;
        let evaluations = history.evaluations.iter();
        let known = evaluations.map(|report| (report.stage.clone(), report.step)).collect();
        let facts = Facts {
            name: name_of(path),
            seed: self.about.seed,
            version: self.about.program.clone(),
            command: self.about.command.join(" "),
            started: self.about.started.clone(),
            configuration: resolved.clone(),
        };
        let evaluators = self.evaluators.iter().map(String::as_str);
        let mut store = Store::open(&folder.checkpoints(), self.keep, evaluators)?;
        store.stay_in(folder.held());
        let mut report = Report::new("Gradflow", facts);
        self.last.evaluation = history.evaluations.last().cloned();
        report.restore(history);
        if let Some(Resume { weights, lost, .. }) = self.resume.take() {
            store.await_evaluation(lost.iter().map(|weights| weights.progress.steps));
            let reason = Reason::Period;
            report.observe(&Event::Checkpoint(Checkpoint { weights, reason }));
        }
        self.last.best = store.best().cloned();
        self.last.checkpoint = store.latest();
        self.files = Some(Files {
            store,
            metrics,
            board: Board::begin(
                &board_folder(path),
                &self.graphs,
                resolved,
                self.resumed_after,
                self.evaluators.iter().map(String::as_str),
            )?,
            report,
            known,
        });
        self.last.folder = Some(path.to_owned());
        Ok(())
    }

    /// Writes what an event says to all files; gives what went wrong.
    fn write(&mut self, event: &Event) -> Vec<String> {
        let (Some(files), Some(folder)) = (&mut self.files, &self.folder) else {
            return Vec::new();
        };
        if let Event::Evaluation(report) = event {
            self.last.evaluation = Some(report.clone());
            if !files.known.insert((report.stage.clone(), report.step)) {
                // A resumed run evaluates once more what it may not have told before.
                return Vec::new();
            }
            self.measured = true;
        }
        if let Err(error) = folder.check() {
            let told = format!("{error:#}");
            if matches!(event, Event::Checkpoint(_)) {
                self.last.checkpoint = None;
                self.last.failure = Some(told.clone());
            }
            return vec![told];
        }
        let mut wrong = Vec::new();
        let mut note = |result: Result<()>| {
            wrong.extend(result.err().map(|error| format!("{error:#}")));
        };
        note(files.board.observe(event));
        files.report.observe(event);
        match event {
            Event::Step(_) => {
                self.last.idle_after = None;
                self.measured = true;
            }
            Event::Checkpoint(checkpoint) => {
                // What a resumed run will not do again must be on the disk when its checkpoint is.
                note(files.board.sync());
                note(files.metrics.sync());
                let about = written(&self.about, self.ran.as_ref(), &self.texts.1, checkpoint);
                match files.store.save(&checkpoint.weights, &about, about.awaits_evaluation) {
                    Ok(path) => {
                        self.last.checkpoint = Some(path);
                        self.last.failure = None;
                    }
                    Err(error) => {
                        self.last.failure = Some(format!("{error:#}"));
                        note(Err(error.context("the weights could not be kept; the run goes on")));
                    }
                }
            }
            Event::Evaluation(report) => {
                note(files.store.evaluated(report).map(drop));
                self.last.best = files.store.best().cloned();
                note(files.board.flush());
            }
            Event::Data(_) => note(write_about(folder, &self.about)),
            _ => {}
        }
        // Last: a resumed run makes no evaluation again that has a line here, so that everything
        // else of it must be written.
        note(files.metrics.observe(event));
        if matches!(event, Event::Evaluation(_)) {
            files.store.tidy();
        }
        // It follows each evaluation.
        if matches!(event, Event::Flow(_)) {
            wrong.extend(self.write_report().err().map(|error| format!("{error:#}")));
        }
        wrong
    }

    fn write_report(&mut self) -> Result<()> {
        let (Some(files), Some(folder)) = (&self.files, &self.folder) else { return Ok(()) };
        folder.check()?;
        let path = report_file(folder.path());
        // The page of a run that is done already has more to show than is known here.
        if self.measured || !path.exists() {
            files.report.write(&path)?;
        }
        self.last.report = Some(path);
        Ok(())
    }

    /// The file that the run's lines go into, once there is a folder.
    pub fn log(&self) -> Option<Result<File>> {
        let path = self.folder.as_ref()?.join("log.txt");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Some(file.with_context(|| format!("cannot write {}", path.display())))
    }

    /// Moves weights after so many steps or more out of the way, as training cannot go on from
    /// them. Says where they went, if there were any.
    ///
    /// # Errors
    /// If they cannot be moved.
    pub fn discard(&mut self, steps: u64) -> Result<Option<PathBuf>> {
        let (Some(files), Some(folder)) = (&mut self.files, &self.folder) else { return Ok(None) };
        folder.check()?;
        let aside = folder.superseded();
        Ok(files.store.supersede(steps.saturating_sub(1), &aside)?.then_some(aside))
    }

    /// Closes the files, saying how the run ended; gives what went wrong.
    pub fn finish(&mut self, how: &str, outcome: Option<crate::reports::Outcome>) -> Vec<String> {
        let mut wrong = match outcome {
            Some(outcome) => self.write(&Event::Flow(outcome)),
            None => {
                let mut wrong = self.write(&Event::Warning(format!("the run failed: {how}")));
                wrong.extend(self.write_report().err().map(|error| format!("{error:#}")));
                wrong
            }
        };
        self.last.data.clone_from(&self.about.data);
        let time = run_folder::now();
        self.about.ended = Some(Ended { time, how: how.to_owned() });
        let written =
            self.folder.as_ref().map_or(Ok(()), |folder| write_about(folder, &self.about));
        wrong.extend(written.err().map(|error| format!("{error:#}")));
        if let Some(files) = &mut self.files {
            wrong.extend(files.board.flush().err().map(|error| format!("{error:#}")));
        }
        if self.folder.as_ref().is_some_and(|folder| folder.check().is_err()) {
            // What there is of that name is not of this run.
            self.last.checkpoint = None;
            self.last.report = None;
        }
        // Somebody may have removed it.
        if let (Some(files), Some(false)) =
            (&self.files, self.last.checkpoint.as_deref().map(Path::is_file))
        {
            self.last.checkpoint = files.store.latest();
        }
        wrong.retain(|note| self.said.insert(note.clone()));
        wrong
    }

    /// What there is to say at the end.
    pub fn last(&self) -> &Last {
        &self.last
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

/// What a checkpoint says of its run.
fn written(
    about: &About,
    ran: Option<&RunRecord>,
    pipeline: &str,
    checkpoint: &Checkpoint,
) -> checkpoint::About {
    checkpoint::About {
        program: PROGRAM.to_owned(),
        time: run_folder::now(),
        seed: about.seed,
        adapter: about.adapter.clone().unwrap_or_default(),
        variants: ran.map(|ran| ran.first.variants.clone()),
        towers: ran.map(|ran| ran.towers.clone()).unwrap_or_default(),
        holder: ran.and_then(|ran| ran.holder.clone()),
        processes: ran.map(|ran| ran.processes.clone()).unwrap_or_default(),
        data: about.data.clone(),
        awaits_evaluation: checkpoint.reason == Reason::Evaluation,
        folder: about.folder.clone(),
        data_path: about.data_path.clone(),
        pipeline: pipeline.to_owned(),
    }
}

fn write_about(folder: &RunFolder, about: &About) -> Result<()> {
    let text = serde_json::to_vec_pretty(about)?;
    write_whole_if(&run_folder::about(folder.path()), &text, || folder.check())
}

/// The last part of a path.
pub(crate) fn name_of(path: &Path) -> String {
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
