//! A pipeline that is loaded or built, changed, and run.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use base::stop::Stop;
use compute::adapter::several::Several;
use compute::settings::ComputeSettings;
use config::diagnostic::Diagnostic;
use flow::environment;
use flow::event::{Event, Message};
use flow::plan::Plan;
use flow::settings::RunSettings;
use record::recorder::{Kept, PROGRAM, Place, Recorder, prepare};
use record::run_folder::{self, About, RUNS};
use record::sink::{RunState, Sink};

use crate::error::failed;
use crate::{Error, Registry, Result, Run};

/// A pipeline: what is read, what is done to images, what is trained, and how long.
///
/// Nothing is opened and nothing is checked before [`Pipeline::check`] or [`Pipeline::run`].
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let runs = folder.path();
/// use gradflow::Pipeline;
///
/// let run = Pipeline::load("runtime/gradflow/drawings.yaml")?
///     .set("steps", 2)?
///     .adapter("cpu")
///     .runs(runs)
///     .named("first")
///     .run(|_| ())?;
/// assert!(run.folder().ends_with("first"));
/// assert_eq!(run.latest()?.steps(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Pipeline {
    registry: Registry,
    name: String,
    text: String,
    /// The folder that relative paths start from.
    folder: PathBuf,
    set: Vec<(String, String)>,
    data: Option<PathBuf>,
    adapter: Option<String>,
    runs: PathBuf,
    run: Option<String>,
    stop: Stop,
}

impl Pipeline {
    /// The pipeline in a YAML file. Relative paths in it start from the folder of the file.
    ///
    /// ```
    /// let missing = gradflow::Pipeline::load("no-such-file.yaml");
    /// assert!(missing.is_err_and(|error| error.to_string().contains("no-such-file.yaml")));
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let cannot = |error| Error::Usage(format!("cannot read {}: {error}", path.display()));
        let text = fs::read_to_string(path).map_err(cannot)?;
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Self { folder, ..Self::from_yaml(path.display().to_string(), text) })
    }

    /// The pipeline in a text of YAML. `name` is what messages call it, and runs are named by it.
    ///
    /// ```
    /// let pipeline = gradflow::Pipeline::from_yaml("inline", "steps: 1\nstages: { read: { raeder: {} } }");
    /// let wrong = pipeline.check().expect_err("a typing error").to_string();
    /// assert!(wrong.contains("reader"), "{wrong}");
    /// ```
    pub fn from_yaml(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            registry: Registry::default(),
            name: name.into(),
            text: text.into(),
            folder: PathBuf::new(),
            set: Vec::new(),
            data: None,
            adapter: None,
            runs: PathBuf::from(RUNS),
            run: None,
            stop: Stop::default(),
        }
    }

    /// A pipeline that is put together in code: see [`Builder`]. It goes through the same checks.
    pub fn builder(name: impl Into<String>) -> Builder {
        Builder { name: name.into(), settings: Map::new(), stages: Map::new() }
    }

    /// Replaces the value at a path of keys with dots between them, such as
    /// `stages.batch.batcher.size`.
    ///
    /// ```
    /// use gradflow::Pipeline;
    ///
    /// let pipeline = Pipeline::load("runtime/gradflow/drawings.yaml")?;
    /// assert!(pipeline.clone().set("stages.batch.batcher.size", 10)?.check().is_ok());
    /// assert!(pipeline.set("stages.batch.batcher.sise", 10)?.check().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the value cannot be written as YAML. Whether the path leads anywhere is known once the
    /// pipeline is checked.
    pub fn set(mut self, path: &str, value: impl Serialize) -> Result<Self> {
        // JSON is YAML.
        let value = serde_json::to_string(&value)
            .map_err(|error| Error::Usage(format!("`{path}` cannot be set: {error}")))?;
        self.set.push((path.to_owned(), value));
        Ok(self)
    }

    /// Knows what this registry has.
    ///
    /// ```
    /// use gradflow::{Pipeline, Registry};
    ///
    /// let pipeline = Pipeline::load("runtime/gradflow/drawings.yaml")?;
    /// let told = pipeline.registry(Registry::empty()).check().expect_err("nothing is known");
    /// assert!(told.to_string().contains("no stage `reader`"), "{told}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Looks for data in this folder and nowhere else.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// let pipeline = gradflow::Pipeline::load("runtime/gradflow/drawings.yaml")?
    ///     .set("stages.read.reader.format", "cifar10")?
    ///     .data("no-such-folder");
    /// # let pipeline = pipeline.runs(folder.path());
    /// let told = pipeline.run(|_| ()).expect_err("there is no data");
    /// assert!(told.to_string().contains("no-such-folder"), "{told}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data = Some(folder.into());
        self
    }

    /// Computes on this adapter: `auto`, `cpu`, or the number or name of one. It counts more than what the
    /// pipeline says, the reducer's `adapters` among it.
    pub fn adapter(mut self, adapter: impl Into<String>) -> Self {
        self.adapter = Some(adapter.into());
        self
    }

    /// Keeps runs in this folder; `runs` if none is named.
    pub fn runs(mut self, folder: impl Into<PathBuf>) -> Self {
        self.runs = folder.into();
        self
    }

    /// Names the run's folder, which must not be there yet. Without a name it is that of the pipeline
    /// with a number.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.run = Some(name.into());
        self
    }

    /// Ends the run, with its weights kept, once this is asked to stop.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// use gradflow::{Event, Pipeline, Stop};
    ///
    /// let stop = Stop::default();
    /// let pipeline = Pipeline::load("runtime/gradflow/drawings.yaml")?.set("steps", 1_000_000)?;
    /// # let pipeline = pipeline.runs(folder.path());
    /// let run = pipeline.stop(stop.clone()).run(move |event| {
    ///     if matches!(event, Event::Step(_)) {
    ///         stop.stop();
    ///     }
    /// })?;
    /// assert!((1..1_000_000).contains(&run.latest()?.steps()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// Checks everything that can be checked without opening a file or a GPU. Gives warnings and
    /// notes.
    ///
    /// ```
    /// use gradflow::{Pipeline, Severity};
    ///
    /// let pipeline = Pipeline::load("runtime/gradflow/drawings.yaml")?;
    /// assert!(pipeline.check()?.is_empty());
    /// let told = pipeline.set("stages.read.reader.path", "photos")?.check()?;
    /// assert_eq!(told[0].severity, Severity::Warning);
    /// assert!(told[0].message.contains("changes nothing"), "{}", told[0].message);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn check(&self) -> Result<Vec<Diagnostic>> {
        Ok(self.plan()?.1)
    }

    fn plan(&self) -> Result<(Plan, Vec<Diagnostic>)> {
        let base = RunSettings {
            compute: ComputeSettings {
                adapter: self.adapter.clone(),
                adapters: self.trains_on(),
                adapter_alone: self.adapter.is_some(),
                ..ComputeSettings::default()
            },
            folder: self.folder.clone(),
            ..environment::settings(self.data.clone())
        };
        let kinds = self.registry.kinds();
        Ok(Plan::load(&kinds, &self.name, &self.text, &self.set, &base)?)
    }

    /// Trains until the pipeline's `epochs` or `steps` are done, and hands each event to `observe` on
    /// this thread. What is recorded is what the command records, but for `log.txt`, which is what
    /// that prints: checkpoints, metrics, TensorBoard's files and a report.
    ///
    /// A run that is [stopped](Pipeline::stop) keeps its weights, and is given like one that is done.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// use std::sync::mpsc;
    ///
    /// use gradflow::{Event, Pipeline};
    ///
    /// let (send, losses) = mpsc::channel();
    /// let pipeline = Pipeline::load("runtime/gradflow/drawings.yaml")?.set("steps", 20)?;
    /// # let pipeline = pipeline.runs(folder.path());
    /// pipeline.run(move |event| {
    ///     if let Event::Step(step) = event {
    ///         send.send(step.loss).expect("somebody listens");
    ///     }
    /// })?;
    /// assert!(losses.iter().all(f64::is_finite));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the pipeline is wrong or trains nothing, the run's folder is taken, or the run fails.
    pub fn run(self, observe: impl FnMut(&Event) + Send + 'static) -> Result<Run> {
        let (mut plan, warnings) = self.plan()?;
        plan.check_end(&self.name)?;
        if plan.trainer().is_none() {
            return Err(Error::Usage(format!("{}: no stage of it trains", self.name)));
        }
        prepare(&mut plan);
        let absolute = |path: &Path| std::path::absolute(Path::new(".").join(path));
        let about = About {
            program: PROGRAM.to_owned(),
            started: run_folder::now(),
            seed: plan.settings.seed,
            pipeline: self.name.clone(),
            folder: absolute(&self.folder).unwrap_or_default(),
            data_path: self.data.as_deref().and_then(|data| absolute(data).ok()),
            adapter_asked: self.adapter.clone(),
            adapters_asked: self.trains_on(),
            ..About::default()
        };
        let mut recorder =
            Recorder::new(&plan, &self.text, self.place(&plan)?, about).map_err(failed)?;
        self.registry.sinks().iter().for_each(|sink| recorder.add(sink()));
        let mut observer = Observer(observe);
        for warning in &warnings {
            (observer.0)(&Event::Warning(warning.message.clone()));
        }
        recorder.add(Box::new(observer));
        // One of its own, which stays stopped if the run fails: the caller may have others to run.
        let stop = Stop::default();
        let its = stop.clone();
        self.stop.on_stop(move || its.stop());
        let Kept { failure, result, discarded } = recorder.keep(&plan, &stop);
        let last = recorder.last();
        if let Some(error) = failure {
            return Err(failed(error));
        }
        discarded.map_err(failed)?;
        let outcome = result.map_err(failed)?;
        if let Some(why) = &last.failure {
            return Err(failed(anyhow::anyhow!("the last weights could not be kept: {why}")));
        }
        match &last.folder {
            Some(folder) => Run::open(folder),
            None if outcome.interrupted => Err(Error::Interrupted),
            None => Err(Error::Usage(format!("{}: nothing was trained", self.name))),
        }
    }

    /// What trains, if that was said.
    fn trains_on(&self) -> Option<Several> {
        self.adapter.as_deref().map(Several::alone)
    }

    /// Where the run is kept.
    fn place(&self, plan: &Plan) -> Result<Place> {
        let base = self.runs.clone();
        if let Some(name) = &self.run {
            return Ok(Place::Named { base, name: run_folder::folder_name(name).map_err(failed)? });
        }
        let stem =
            Path::new(&self.name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = plan.settings.record.name.clone().or(stem).unwrap_or_default();
        Ok(Place::Numbered { base, name: run_folder::folder_name(&name).map_err(failed)? })
    }
}

/// Hands events to a function.
struct Observer<F>(F);

impl<F: FnMut(&Event) + Send> Sink for Observer<F> {
    fn is_live(&self) -> bool {
        true
    }

    fn observe(&mut self, message: &Message, _: &mut RunState) -> anyhow::Result<()> {
        (self.0)(&message.event);
        Ok(())
    }
}

/// Puts a [`Pipeline`] together.
///
/// ```
/// use gradflow::Pipeline;
/// use serde_json::json;
///
/// # fn main() -> gradflow::Result<()> {
/// let layers = json!([{ "dense": { "units": 10 } }, "softmax_cross_entropy"]);
/// let pipeline = Pipeline::builder("logistic")
///     .set("steps", 10)?
///     .stage("read", "reader", &[], json!({ "format": "synthetic", "split": "train" }))?
///     .stage("batch", "batcher", &["read"], json!({ "size": 20 }))?
///     .stage("gradients", "model", &["batch"], json!({ "layers": layers }))?
///     .stage("train", "reducer", &["gradients"], json!({}))?
///     .build();
/// pipeline.check()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    settings: Map<String, Value>,
    stages: Map<String, Value>,
}

impl Builder {
    /// Sets one of the keys beside `stages`, such as `epochs`.
    ///
    /// # Errors
    /// If the value cannot be written as YAML.
    pub fn set(mut self, key: &str, value: impl Serialize) -> Result<Self> {
        self.settings.insert(key.to_owned(), json(key, value)?);
        Ok(self)
    }

    /// Adds a stage: its name, its kind, the stages that it reads from, and its fields.
    ///
    /// # Errors
    /// If the fields cannot be written as YAML.
    pub fn stage(
        mut self,
        id: &str,
        kind: &str,
        from: &[&str],
        fields: impl Serialize,
    ) -> Result<Self> {
        let mut stage = Map::new();
        if !from.is_empty() {
            stage.insert("from".to_owned(), Value::from(from));
        }
        stage.insert(kind.to_owned(), json(id, fields)?);
        self.stages.insert(id.to_owned(), Value::Object(stage));
        Ok(self)
    }

    /// The pipeline.
    pub fn build(mut self) -> Pipeline {
        self.settings.insert("stages".to_owned(), Value::Object(self.stages));
        // JSON is YAML, and in several lines its places can be told apart.
        Pipeline::from_yaml(self.name, format!("{:#}", Value::Object(self.settings)))
    }
}

fn json(what: &str, value: impl Serialize) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|error| Error::Usage(format!("`{what}` cannot be set: {error}")))
}
