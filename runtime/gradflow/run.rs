//! A run's folder: what it measured, and its checkpoints.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use compute::settings::ComputeSettings;
use flow::environment;
use flow::settings::RunSettings;
use inference::{Change, Predictor, Trained, scorer_choice};
use record::metrics::{self, History};
use record::recorder::metrics_file;
use record::run_folder;

use crate::error::failed;
use crate::{Error, Model, Registry, Result};

/// A run's folder.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let drawings = gradflow::Pipeline::load("runtime/gradflow/drawings.yaml")?;
/// # let run = drawings.set("steps", 3)?.runs(folder.path()).run(|_| ())?;
/// # let runs = run.folder().parent().expect("a folder of runs");
/// use gradflow::Run;
///
/// let run = Run::open(runs.join("drawings-001"))?;
/// assert_eq!(run.best()?.steps(), run.latest()?.steps());
/// assert!(Run::open(runs).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    folder: PathBuf,
}

impl Run {
    /// The run in a folder, such as `runs/pipeline-001`.
    ///
    /// # Errors
    /// If the folder holds no run.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        match run_folder::is_run(&folder) {
            true => Ok(Self { folder }),
            false => Err(Error::Usage(format!(
                "{} holds no run: expected a folder that a run has made",
                folder.display()
            ))),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The steps that were logged, and all evaluations.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let drawings = gradflow::Pipeline::load("runtime/gradflow/drawings.yaml")?;
    /// # let run = drawings.set("steps", 3)?.runs(folder.path()).run(|_| ())?;
    /// let history = run.history()?;
    /// let last = history.evaluations.last().expect("the end is evaluated");
    /// assert_eq!((last.step, last.images), (3, 60));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn history(&self) -> Result<History> {
        metrics::read(&metrics_file(&self.folder)).map_err(failed)
    }

    /// The latest checkpoint that is whole.
    ///
    /// # Errors
    /// If there is none.
    pub fn latest(&self) -> Result<Checkpoint> {
        Trained::latest(&self.folder).map(Checkpoint::of).map_err(failed)
    }

    /// The checkpoint with the highest precision @ 1. Where that was measured on test data, it is no
    /// estimate for images never seen.
    ///
    /// # Errors
    /// If none has been evaluated.
    pub fn best(&self) -> Result<Checkpoint> {
        Trained::best(&self.folder).map(Checkpoint::of).map_err(failed)
    }
}

/// Trained weights, with the pipeline that trained them.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let drawings = gradflow::Pipeline::load("runtime/gradflow/drawings.yaml")?;
/// # let run = drawings.set("steps", 3)?.runs(folder.path()).run(|_| ())?;
/// use gradflow::Checkpoint;
///
/// let file = run.latest()?.path().to_owned();
/// let checkpoint = Checkpoint::open(&file)?;
/// assert_eq!((checkpoint.steps(), checkpoint.classes().len()), (3, 10));
/// assert_eq!(checkpoint.classes()[0], "disc");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Checkpoint {
    trained: Trained,
    registry: Registry,
    changes: Vec<Change>,
    adapter: Option<String>,
    warn: Box<dyn Fn(&str) + Send>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl Checkpoint {
    /// The checkpoint in a file.
    ///
    /// # Errors
    /// If it cannot be read, or is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Trained::read(path.as_ref(), false).map(Self::of).map_err(failed)
    }

    fn of(trained: Trained) -> Self {
        Self {
            trained,
            registry: Registry::default(),
            changes: Vec::new(),
            adapter: None,
            warn: Box::new(|_| ()),
        }
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.trained.path
    }

    /// Steps that were done.
    pub fn steps(&self) -> u64 {
        self.trained.stored.progress.steps
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.trained.stored.source.classes
    }

    /// Knows what this registry has: a pipeline with stages of its own needs them here as well.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Computes on this adapter: `auto`, `cpu`, or the number or name of one.
    pub fn adapter(mut self, adapter: impl Into<String>) -> Self {
        let adapter = adapter.into();
        self.changes.push(Change::adapter(&adapter));
        self.adapter = Some(adapter);
        self
    }

    /// Takes the weights as they are, instead of their moving averages.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let drawings = gradflow::Pipeline::load("runtime/gradflow/drawings.yaml")?;
    /// # let run = drawings.set("steps", 3)?.runs(folder.path()).run(|_| ())?;
    /// # let image = gradflow::Image::from_rgb(32, 32, (0..32 * 32 * 3).map(|at| at as u8).collect())?;
    /// let averaged = run.latest()?.model()?.predict(&image)?;
    /// let raw = run.latest()?.raw().model()?.predict(&image)?;
    /// assert_ne!(averaged, raw);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn raw(mut self) -> Self {
        self.changes.push(Change::raw());
        self
    }

    /// Hands warnings to a function: of later checkpoints that were passed over as they are damaged, of
    /// weights that were trained on drawings in place of a data set, of the pipeline, and of an adapter
    /// that is lost.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let drawings = gradflow::Pipeline::load("runtime/gradflow/drawings.yaml")?;
    /// # let run = drawings.set("steps", 3)?.runs(folder.path()).run(|_| ())?;
    /// # use std::sync::mpsc;
    /// # std::fs::write(run.folder().join("checkpoints/step-000000004.safetensors"), "")?;
    /// let (send, warnings) = mpsc::channel();
    /// run.latest()?.on_warning(move |told| send.send(told.to_owned()).expect("heard")).model()?;
    /// assert!(warnings.try_iter().any(|told| told.contains("step-000000004")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_warning(mut self, warn: impl Fn(&str) + Send + 'static) -> Self {
        self.warn = Box::new(warn);
        self
    }

    /// The model with these weights, ready to classify images: what the pipeline's evaluation does to
    /// an image is done to each. Its adapter is opened on threads of the model, and what goes wrong there
    /// is told by the first prediction.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let drawings = gradflow::Pipeline::load("runtime/gradflow/drawings.yaml")?;
    /// # let run = drawings.set("steps", 3)?.runs(folder.path()).run(|_| ())?;
    /// let model = run.best()?.adapter("cpu").model()?;
    /// assert_eq!(model.classes().len(), 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the pipeline cannot be read any more, evaluates nothing, or reads no images of one or three
    /// channels.
    pub fn model(self) -> Result<Model> {
        let base = RunSettings {
            compute: ComputeSettings::on(self.adapter),
            ..environment::settings(None)
        };
        let (plan, told) = self.trained.plan(&self.registry.kinds(), &self.changes, &base)?;
        let own = self.trained.warnings.iter().cloned().chain(self.trained.stand_in_warning());
        let of_plan = told.into_iter().map(|one| one.message).chain(scorer_choice(&plan));
        own.chain(of_plan).for_each(|warning| (self.warn)(&warning));
        let weights = self.trained.weights(&plan).map_err(failed)?;
        let predictor =
            Predictor::new(plan, &self.trained.path, weights, self.warn).map_err(failed)?;
        Ok(Model { predictor: Arc::new(predictor) })
    }
}
