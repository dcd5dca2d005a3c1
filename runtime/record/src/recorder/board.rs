//! A run's events as TensorBoard shows them: one event file for the training, one for each stage
//! that evaluates.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::sink::{End, RunState, Sink};
use crate::tensorboard::proto::GraphDef;
use crate::tensorboard::{EventFile, cut, folders, graph};
use flow::event::{Event, Message};
use flow::picture::Picture;
use flow::plan::Plan;
use flow::port::Port;
use flow::reports::{EvaluationReport, FEW_CLASSES, StepReport, Summary};

/// The folder of the training's curves.
const TRAIN: &str = "train";

/// Time between two writes: TensorBoard looks about as often.
const FLUSH_EVERY: Duration = Duration::from_secs(5);

/// The sink.
pub(super) fn sink(plan: &Plan) -> Box<dyn Sink> {
    let graph = graph::pipeline(plan);
    let graphs = match plan.trainer().and_then(|at| plan.stages[at].output.clone()) {
        Some(Port::Weights(model)) => graph.and(graph::model(&model)),
        _ => graph,
    };
    Box::new(Board { graphs, files: None })
}

/// TensorBoard's files of a run.
struct Board {
    graphs: GraphDef,
    files: Option<Files>,
}

impl Sink for Board {
    fn begin(&mut self, run: &mut RunState) -> Result<()> {
        let Some(folder) = &run.folder else { return Ok(()) };
        let folder = super::board_folder(folder);
        let evaluators = run.evaluators.iter().map(String::as_str);
        let (graphs, steps) = (&self.graphs, run.resumed_after);
        self.files = Some(Files::begin(&folder, graphs, &run.pipeline, steps, evaluators)?);
        Ok(())
    }

    fn observe(&mut self, message: &Message, _: &mut RunState) -> Result<()> {
        self.files.as_mut().map_or(Ok(()), |files| files.observe(&message.event))
    }

    fn sync(&mut self) -> Result<()> {
        self.files.as_mut().map_or(Ok(()), Files::sync)
    }

    fn end(&mut self, _: &End<'_>, _: &mut RunState) -> Result<()> {
        self.files.as_mut().map_or(Ok(()), Files::flush)
    }
}

/// Moves aside what comes after so many steps, which are counted from 0; and of each stage that
/// evaluates, what comes after its evaluation of the weights after so many steps. Other programs may
/// be at work on what else there is.
pub(super) fn cut_back<'a>(
    folder: &Path,
    steps: u64,
    evaluators: impl Iterator<Item = (&'a str, u64)>,
    aside: &Path,
) -> Result<()> {
    let evaluators: Vec<(&str, u64)> = evaluators.collect();
    let folders = folders(TRAIN, evaluators.iter().map(|(stage, _)| *stage));
    let evaluators = evaluators.iter().map(|(stage, told)| (&*folders[*stage], told + 1));
    for (name, from) in evaluators.chain([(TRAIN, steps)]) {
        cut(&folder.join(name), from, &aside.join(format!("tensorboard-{name}")))?;
    }
    Ok(())
}

/// The event files.
struct Files {
    train: EventFile,
    evaluations: Evaluations,
}

impl Files {
    /// New files for a run that begins, or goes on after so many steps, with these stages that
    /// evaluate.
    fn begin<'a>(
        folder: &Path,
        graphs: &GraphDef,
        pipeline: &str,
        steps: Option<u64>,
        evaluators: impl Iterator<Item = &'a str>,
    ) -> Result<Self> {
        let mut train = EventFile::create(&folder.join(TRAIN), FLUSH_EVERY)?;
        if let Some(steps) = steps {
            // A TensorBoard that is open forgets what was moved aside.
            train.start(steps, now())?;
        }
        if steps.is_none_or(|steps| steps == 0) {
            train.graph(now(), graphs)?;
            train.text(0, now(), "pipeline", &format!("```yaml\n{pipeline}```\n"))?;
        }
        train.flush()?;
        Ok(Self { train, evaluations: Evaluations::new(folder, FLUSH_EVERY, evaluators) })
    }

    fn observe(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Step(report) => self.step(report),
            Event::Summary(summary) => self.summary(summary),
            Event::Evaluation(report) => {
                self.evaluations.observe(report)?;
                self.flush()
            }
            _ => Ok(()),
        }?;
        self.train.told()
    }

    fn flush(&mut self) -> Result<()> {
        self.train.flush()?;
        self.evaluations.flush()
    }

    /// Has everything so far on the disk.
    fn sync(&mut self) -> Result<()> {
        self.train.sync()?;
        self.evaluations.files.values_mut().try_for_each(EventFile::sync)
    }

    fn step(&mut self, report: &StepReport) -> Result<()> {
        let (step, now) = (report.step, now());
        let mut scalar = |tag: &str, value| self.train.scalar(step, now, tag, value);
        scalar("losses/total_loss (raw)", report.loss)?;
        scalar("losses/total_loss", report.loss_average)?;
        for term in &report.terms {
            scalar(&format!("losses/{} (raw)", term.name), term.raw)?;
            scalar(&format!("losses/{}", term.name), term.average)?;
        }
        scalar("learning_rate", report.learning_rate)?;
        scalar("examples_per_second", report.images_per_s)?;
        scalar("epoch", report.epoch)
    }

    fn summary(&mut self, summary: &Summary) -> Result<()> {
        let (step, now) = (summary.step, now());
        for (name, histogram) in &summary.variables {
            self.train.histogram(step, now, name, histogram)?;
        }
        for (name, histogram) in &summary.gradients {
            self.train.histogram(step, now, &format!("{name}/gradients"), histogram)?;
        }
        for (layer, histogram) in &summary.activations {
            self.train.histogram(step, now, &format!("{layer}/activations"), histogram)?;
            let values = histogram.finite() + histogram.non_finite();
            let sparsity = histogram.zeros() as f64 / values.max(1) as f64;
            self.train.scalar(step, now, &format!("sparsity/{layer}"), sparsity)?;
        }
        for (number, image) in summary.images.iter().enumerate() {
            let picture = Picture::from_image(image);
            self.train.image(step, now, &format!("images/{number}"), &picture)?;
        }
        Ok(())
    }
}

/// Event files of evaluations: one for each stage that evaluates, in a folder of its name, or of
/// the name that `folders` gives it.
pub struct Evaluations {
    folder: PathBuf,
    folders: HashMap<String, String>,
    flush_every: Duration,
    files: HashMap<String, EventFile>,
}

impl Evaluations {
    /// Files of these stages below this folder, made once there is something for them.
    pub fn new<'a>(
        folder: &Path,
        flush_every: Duration,
        stages: impl Iterator<Item = &'a str>,
    ) -> Self {
        let folders = folders(TRAIN, stages);
        Self { folder: folder.to_owned(), folders, flush_every, files: HashMap::new() }
    }

    /// Adds a point to each curve.
    pub fn observe(&mut self, report: &EvaluationReport) -> Result<()> {
        let file = match self.files.entry(report.stage.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let name = self.folders.get(&report.stage).unwrap_or(&report.stage);
                let folder = self.folder.join(name);
                free.insert(EventFile::create(&folder, self.flush_every)?)
            }
        };
        write_evaluation(file, report)?;
        file.told()
    }

    fn flush(&mut self) -> Result<()> {
        self.files.values_mut().try_for_each(EventFile::flush)
    }
}

fn write_evaluation(file: &mut EventFile, report: &EvaluationReport) -> Result<()> {
    let (step, now) = (report.step, now());
    let (k, at_k) = report.precision_at_k;
    file.scalar(step, now, "precision @ 1", report.precision_at_1)?;
    if k > 1 {
        file.scalar(step, now, &format!("precision @ {k}"), at_k)?;
    }
    file.scalar(step, now, "losses/cross_entropy", report.loss)?;
    // Hundreds of curves are not looked at one by one, and TensorBoard draws them all.
    let few = report.classes.len() <= FEW_CLASSES;
    for (class, accuracy) in report.classes.iter().zip(report.class_accuracy()).filter(|_| few) {
        if let Some(accuracy) = accuracy {
            file.scalar(step, now, &format!("accuracy/{class}"), accuracy)?;
        }
    }
    Ok(())
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
