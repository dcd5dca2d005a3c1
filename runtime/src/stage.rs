//! What a stage is: a config that can be checked without touching a file or a GPU, and a runner
//! built from it. Writing a stage means implementing [`Config`] and one of [`Map`] and [`Stage`],
//! and adding one [`Kind`] to a list.

use std::any::Any;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use futures::future::BoxFuture;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::adapter::Lowering;
use crate::adapter::forms::Forms;
use crate::adapter::several::{Brought, Several};
use crate::channel::{Ports, Stop};
use crate::config::decode::{self, Problem, Problems};
use crate::config::node::{Node, Path};
use crate::event::{Event, Events};
use crate::fetch::{self, Download};
use crate::item::{Limit, Position, Sample, Source, Weights};
use crate::job::Job;
use crate::lint::{Around, Lint, Note};
use crate::onnx;
use crate::opened::Opened;
use crate::period::Period;
use crate::photo;
use crate::plan::flows::TrainingFlow;
use crate::port::Port;
use crate::precision::Precision;
use crate::preprocessing::Preprocessing;
use crate::random::Random;
use crate::reports::Change;

/// The YAML of one stage: plain data.
pub trait Config: Any + Debug + Send + Sync {
    /// What the stage puts out given what comes in (`None`: nothing, it ends a flow), or what is
    /// wrong. Opens no file and touches no GPU.
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch>;

    /// Opens files, compiles kernels, allocates: everything that may fail before the first step.
    fn build(&self, context: &Context<'_>) -> Result<Runner>;

    /// Where this stage's inputs have to begin so that its output can begin at `output`: further
    /// back if what it puts out depends on what came before. A stage whose output is made of
    /// nothing but the images at hand leaves this as it is.
    fn start_of_input(&self, output: Position) -> Position {
        output
    }

    /// Whether it hands on images that another process of the job computes, and that come without
    /// pixels; those of [`Map`] do in any case. Behind a stage that has to see all images of a batch,
    /// every process has prepared all of them.
    fn passes_absent(&self) -> bool {
        false
    }

    /// Fields that may have other values when a run goes on: they do not change what it learns, or
    /// only from then on.
    fn adjustable(&self) -> &'static [&'static str] {
        &["workers", "adapter"]
    }

    /// Fields that came later, each with the value in YAML that stands for what was done before it
    /// was there: what a run is to go on with that began without it.
    fn meant_before(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// The stages' fields that change nothing here, said as warnings by `check`.
    fn warnings(&self, _inputs: &[Port]) -> Vec<Mismatch> {
        Vec::new()
    }

    /// What is wrong with this stage beside another of the same pipeline; each is asked about each
    /// other. A stage knows others of its own kind by asking the config what it is. What is said of
    /// the run tells which places fields mean.
    ///
    /// # Errors
    /// If the two together do what nobody can want.
    fn check_beside(&self, _other: &dyn Config, _run: &RunSettings) -> Result<(), Mismatch> {
        Ok(())
    }

    /// What a person may want to know of fields that are as they wrote them, told by `check` and
    /// before a run. Each [`Lint`] is in the list of the kind.
    fn notes(&self, _around: &Around<'_>) -> Vec<Note> {
        Vec::new()
    }

    /// What is done to images, for `check` to compare the flow that trains a model with those that
    /// evaluate it; `None` if nothing is known. The fields of a stage of which nothing is known are
    /// compared as they are, but for those that are [adjustable](Config::adjustable).
    fn preprocessing(&self, _inputs: &[Port]) -> Option<Preprocessing> {
        None
    }

    /// An image such as this stage puts out, made up without opening anything, another one for each
    /// number: what tests in the YAML begin with. Only what begins a flow may have some.
    fn made_up(&self, _number: u64) -> Option<Sample> {
        None
    }

    /// How photos are taken that come in place of the images that this stage reads, as `runtime
    /// predict` and tests in the YAML have them.
    fn photo_rules(&self) -> photo::Rules {
        photo::Rules::default()
    }

    /// What becomes of a number that a stage before this one added to all values of an image.
    fn offset(&self) -> Offset {
        Offset::Matters
    }

    /// The field by which this stage adds one number to all values of an image, if it does so. Where
    /// that vanishes before anything sees it, `check` says that the field changes nothing.
    fn adds_offset(&self) -> Option<&'static str> {
        None
    }

    /// Appends what this stage makes of images to an ONNX file: other images, or class scores.
    ///
    /// # Errors
    /// If it has no form in ONNX.
    fn onnx(&self, _file: &mut onnx::Builder, _images: &onnx::Value) -> Result<onnx::Value> {
        bail!("what it does to images has no form in ONNX")
    }

    /// What is done to each image, as a sentence with its numbers, for people who do the same in
    /// another program: it goes into the metadata of ONNX files. `None` if that is nothing.
    fn in_words(&self, _inputs: &[Port]) -> Option<String> {
        None
    }

    /// What a person should see of this stage before anything runs, beside its ports.
    fn summary(&self, _inputs: &[Port]) -> Option<String> {
        None
    }
}

/// What a stage does to a number that was added to all values of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// What is put out depends on it in some other way, or nothing is known of that.
    Matters,
    /// What is put out has the same number added.
    Stays,
    /// What is put out is the same with any such number.
    Vanishes,
}

/// What is wrong with a stage's configuration. The engine adds the stage, the ports and the place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Where below the stage's fields: `["layers", "2", "conv2d", "kernel"]`; empty for all of it.
    pub field: Vec<String>,
    /// What was expected and found.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
    /// What else is wrong with the stage: everything is told at once.
    pub also: Vec<Self>,
}

impl Mismatch {
    /// Nothing, or all of these as one.
    ///
    /// # Errors
    /// The first, with the others beside it.
    pub fn all(found: Vec<Self>) -> Result<(), Self> {
        let mut found = found.into_iter();
        match found.next() {
            None => Ok(()),
            Some(mut first) => {
                first.also.extend(found);
                Err(first)
            }
        }
    }

    /// Something wrong with the stage as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Something wrong with one field (dots separate nested ones).
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Self {
            field: field.split('.').map(str::to_owned).collect(),
            message: message.into(),
            ..Self::default()
        }
    }

    /// Adds what to do next.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Moves the place below another field.
    pub fn below(mut self, outer: &[&str]) -> Self {
        self.field.splice(0..0, outer.iter().map(|part| (*part).to_owned()));
        self.also = self.also.into_iter().map(|other| other.below(outer)).collect();
        self
    }
}

/// What a stage may know of its run when it is built.
#[derive(Debug)]
pub struct Context<'a> {
    /// The stage's id.
    pub stage: &'a str,
    /// What comes in.
    pub inputs: &'a [Port],
    /// Where the images of each input come from, as far as that is known.
    pub sources: &'a [Option<Arc<Source>>],
    /// Where its output begins: not at 0 if the run is resumed. Its inputs begin where
    /// [`Config::start_of_input`] said.
    pub start: Position,
    /// The run's settings.
    pub run: &'a RunSettings,
    /// Where to say what happens.
    pub events: Events,
    /// Whether the run was asked to end: work that takes long looks at it.
    pub stop: Stop,
}

impl Context<'_> {
    /// Makes a remark for which the data or another run had to be looked at, unless it is switched
    /// off.
    pub fn remark(&self, lint: &Lint, text: &str) {
        if !lint.is_allowed(self.run) && self.run.job.is_first() {
            let stage = self.stage;
            self.events.emit(Event::Warning(format!("{stage}: {text} [{}]", lint.name)));
        }
    }
}

/// What holds for all stages of a run.
#[derive(Clone, Debug, Default)]
pub struct RunSettings {
    /// The seed that every random number is keyed by.
    pub seed: u64,
    /// When to stop.
    pub limit: Limit,
    /// The adapter asked for, on the command line or in the YAML; `None` for `auto`.
    pub adapter: Option<String>,
    /// The adapters that train, if said on the command line.
    pub adapters: Option<Several>,
    /// Whether that is the one of `--adapter`, which names what computes and not what trains.
    pub adapter_alone: bool,
    /// The adapters to choose from, if they are not those of the machine.
    pub brought: Brought,
    /// Whether fewer adapters than asked for are an error.
    pub strict: bool,
    /// The processes that run this pipeline together.
    pub job: Job,
    /// What the model's images are computed in.
    pub precision: Precision,
    /// Whether the fastest forms of kernels are to be found by timing them.
    pub autotune: bool,
    /// How the forms of kernels are chosen.
    pub forms: Forms,
    /// Where the data is, if said on the command line.
    pub data: Option<PathBuf>,
    /// Where the data may be, from the environment.
    pub data_default: Option<PathBuf>,
    /// Where data is downloaded from and kept; `None` for not at all.
    pub fetch: Option<fetch::Settings>,
    /// What stages have opened and share.
    pub opened: Opened,
    /// Images in one block.
    pub block_images: usize,
    /// Blocks waiting in one channel.
    pub channel_blocks: usize,
    /// The folder that relative paths of the pipeline start from.
    pub folder: PathBuf,
    /// The name of the run's folder, without its number; the pipeline file's if not given.
    pub name: Option<String>,
    /// When weights are kept.
    pub checkpoints: Checkpoints,
    /// When numbers are kept.
    pub summaries: Summaries,
    /// Stages of which the first images that they put out are told, and how many.
    pub taps: Vec<(String, usize)>,
    /// What the run goes on from.
    pub resume: Option<Resume>,
    /// A step of which every number is looked at, to find where it stops being finite. The run
    /// ends there.
    pub diagnose: Option<u64>,
    /// The names of the remarks that are not made.
    pub allow: Vec<String>,
    /// What is done to the images that are trained on.
    pub training: TrainingFlow,
}

impl RunSettings {
    /// How an adapter is to take a graph for batches of so many images.
    pub fn lowering(&self, batch: usize) -> Lowering {
        Lowering { forms: self.forms.clone(), ..Lowering::of(batch) }
    }
}

/// What a run goes on from.
#[derive(Clone, Debug)]
pub struct Resume {
    /// The weights, with the place in the data.
    pub weights: Arc<Weights>,
    /// What became of their evaluation.
    pub evaluation: Evaluation,
    /// Earlier weights whose turn it was to be evaluated, and of which nothing has been told, in
    /// their order.
    pub lost: Vec<Arc<Weights>>,
    /// The shares that several adapters had, as far as they were written down.
    pub shares: Vec<Change>,
    /// Where the run was to end.
    pub limit: Limit,
}

/// Whether weights are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluation {
    /// It was not their turn. At the end of a run it is.
    NotDue,
    /// It was their turn, but nothing has been told of them.
    Awaited,
    /// They have been.
    Told,
}

/// When weights are kept, beside at each evaluation and at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoints {
    /// How often.
    pub every: Period,
    /// How many of the latest are kept; the best is kept beside them.
    #[schemars(range(min = 1))]
    pub keep: usize,
    /// The stage whose precision @ 1 says which is the best, where several evaluate; the first of
    /// them if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_by: Option<String>,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self { every: Period { seconds: Some(600.0), ..Period::default() }, keep: 5, best_by: None }
    }
}

/// When numbers are kept in the run's folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Summaries {
    /// The loss and its terms, learning rate and speed: a line of the log as well.
    pub scalars: Period,
    /// Distributions of weights, gradients and activations.
    pub histograms: Period,
    /// Images as they enter the model.
    pub images: Period,
}

impl Default for Summaries {
    fn default() -> Self {
        let hundred = Period::steps(100);
        Self { scalars: Period::steps(10), histograms: hundred.clone(), images: hundred }
    }
}

/// A built stage.
pub enum Runner {
    /// One image in, one image out: the engine owns loop, order, threads and counters.
    Map {
        /// What is done to each image.
        map: Arc<dyn Map>,
        /// Threads that do it; 0 for one per core.
        workers: usize,
    },
    /// Anything else: a loop of its own on a thread of its own.
    Stage(Box<dyn Stage>),
}

/// One image in, one image out, no state.
pub trait Map: Send + Sync {
    /// Changes the image in place. All randomness comes from `random`, which is keyed by the
    /// run's seed, the stage's id, and the sample's epoch and number.
    fn map(&self, sample: &mut Sample, random: &mut Random) -> Result<()>;
}

/// A running stage. It ends when its inputs end or its output is closed.
pub trait Stage: Send {
    /// Receives and sends until there is nothing more to do.
    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>>;

    /// Where its images come from, if it brings them; else they are those of its first input.
    fn source(&self) -> Option<Arc<Source>> {
        None
    }
}

/// Something read from YAML.
#[derive(Clone, Debug)]
pub struct Parsed<T> {
    /// What was read.
    pub value: T,
    /// Its fields with all defaults: what a run's folder keeps.
    pub fields: Node,
}

impl<T: DeserializeOwned + Serialize> Parsed<T> {
    /// Reads a body by serde, or adds everything that is wrong to `problems`.
    pub fn read(node: &Node, path: &Path, problems: &mut Problems) -> Option<Self> {
        let value: T = decode::decode(node, path, problems)?;
        match Node::of(&value) {
            Ok(fields) => Some(Self { value, fields }),
            Err(error) => {
                let (path, message) = (path.clone(), error.to_string());
                problems.push(Problem { path, on_key: true, message, help: None });
                None
            }
        }
    }
}

impl<T> Parsed<T> {
    /// The same, as something else.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Parsed<U> {
        Parsed { value: change(self.value), fields: self.fields }
    }
}

/// Turns a YAML body into a config, or says what is wrong with it.
pub type Parse =
    Arc<dyn Fn(&Node, &Path, &mut Problems) -> Option<Parsed<Box<dyn Config>>> + Send + Sync>;

/// One kind of stage, as `list` and `inspect` show it and as the parser knows it.
#[derive(Clone)]
pub struct Kind {
    /// The key in the YAML.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// A YAML body that is valid, for `inspect`.
    pub example: &'static str,
    /// The fields with their types, defaults and descriptions.
    pub schema: Schema,
    /// The parser.
    pub parse: Parse,
    /// Kinds of things inside this stage that have fields of their own (a model's layers).
    pub parts: Vec<Part>,
    /// What may stand beside the kind of such a thing, in the map that names it.
    pub beside_parts: Option<Schema>,
    /// Data sets that it can download.
    pub downloads: Vec<&'static Download>,
    /// The remarks that its stages make.
    pub lints: Vec<&'static Lint>,
}

/// One kind of thing inside a stage, such as a layer.
#[derive(Clone, Debug)]
pub struct Part {
    /// The key in the YAML.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// A YAML body that is valid.
    pub example: &'static str,
    /// The fields.
    pub schema: Schema,
}

impl Kind {
    /// A kind whose YAML body is read by serde.
    pub fn of<C: Config + DeserializeOwned + Serialize + JsonSchema>(
        name: &'static str,
        about: &'static str,
        example: &'static str,
    ) -> Self {
        Self {
            name,
            about,
            example,
            schema: schemars::schema_for!(C),
            parse: Arc::new(|node, path, problems| {
                let parsed = Parsed::<C>::read(node, path, problems)?;
                Some(parsed.map(|config| Box::new(config) as Box<dyn Config>))
            }),
            parts: Vec::new(),
            beside_parts: None,
            downloads: Vec::new(),
            lints: Vec::new(),
        }
    }
}
