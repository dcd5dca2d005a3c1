//! What a stage is: a config that can be checked without touching a file or a GPU, and a runner
//! built from it. Writing a stage means implementing [`Config`] and one of [`Map`] and [`Stage`],
//! and adding one [`Kind`] to a list.

mod exports;
mod field;
mod prepares;
mod reads;
mod variant;

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use anyhow::Result;
use futures::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::Ports;
use crate::event::{Event, Events};
use crate::item::{Position, Sample, Source};
use crate::lint::{self, Around, Lint, Note};
use crate::photo;
use crate::port::Port;
use base::random::Random;
use base::stop::Stop;
use config::decode::{self, Problem, Problems};
use config::node::{Node, Path};
use fetch::Download;

pub use self::exports::Exports;
pub use self::field::{Field, read_later};
pub use self::prepares::{Offset, Prepares};
pub use self::reads::Reads;
pub use self::variant::{Chosen, Family, Variant};
pub use crate::settings::{Checkpoints, DataSettings, Evaluation, Resume, RunSettings, Summaries};
pub use config::mismatch::Mismatch;

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

    /// The stages' fields that change nothing here, said as warnings by `check`.
    fn warnings(&self, _inputs: &[Port]) -> Vec<Mismatch> {
        Vec::new()
    }

    /// What a person may want to know of fields that are as they wrote them, told by `check` and
    /// before a run. Each [`Lint`] is in the list of the kind.
    fn notes(&self, _around: &Around<'_>) -> Vec<Note> {
        Vec::new()
    }

    /// What a person should see of this stage before anything runs, beside its ports.
    fn summary(&self, _inputs: &[Port]) -> Option<String> {
        None
    }

    /// What is asked of it beside that if it reads a data set.
    fn as_reads(&self) -> Option<&dyn Reads> {
        None
    }

    /// How the same is done by another program, if it can be.
    fn as_exports(&self) -> Option<&dyn Exports> {
        None
    }

    /// What it does to images, if that is known. The fields of a stage of which nothing is known are
    /// compared as they are, but for those that are [adjustable](Config::adjustable).
    fn as_prepares(&self) -> Option<&dyn Prepares> {
        None
    }
}

impl dyn Config {
    /// How photos are taken in place of the images that this stage reads.
    pub fn photo_rules(&self) -> photo::Rules {
        self.as_reads().map(Reads::photo_rules).unwrap_or_default()
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
        if !lint.is_allowed(self.run) && self.run.compute.job.is_first() {
            let stage = self.stage;
            self.events.emit(Event::Warning(format!("{stage}: {text} [{}]", lint.name)));
        }
    }
}

/// All remarks that these kinds of stages and the engine make, by name.
pub fn lints(kinds: &[Kind]) -> Vec<&'static Lint> {
    let mut all: Vec<&Lint> = lint::ENGINE.to_vec();
    all.extend(kinds.iter().flat_map(|kind| kind.lints.iter().copied()));
    all.sort_by_key(|lint| lint.name);
    all.dedup();
    all
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
    /// Receives and sends until there is nothing more to do. What belongs to an epoch is sent before more
    /// than that epoch is waited for: the next one may come only once the results are there.
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
        let value = decode::decode(node, path, problems)?;
        Self::of(value, path, problems)
    }
}

impl<T: Serialize> Parsed<T> {
    /// A value with its fields, or why these have no form in YAML.
    fn of(value: T, path: &Path, problems: &mut Problems) -> Option<Self> {
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
        Self::with_fields::<C>(name, about, example, Vec::new())
    }

    /// A kind whose YAML body is read by serde, but for these fields.
    pub fn with_fields<C: Config + DeserializeOwned + Serialize + JsonSchema>(
        name: &'static str,
        about: &'static str,
        example: &'static str,
        fields: Vec<Field<C>>,
    ) -> Self {
        let mut generator = SchemaGenerator::default();
        let mut schema = generator.root_schema_for::<C>();
        for field in &fields {
            field.describe(&mut schema, &mut generator);
        }
        let definitions = generator.take_definitions(true);
        if !definitions.is_empty() {
            schema.insert("$defs".to_owned(), definitions.into());
        }
        Self {
            name,
            about,
            example,
            schema,
            parse: Arc::new(move |node, path, problems| {
                let mut config = decode::decode::<C>(node, path, problems);
                // All are read, so that everything that is wrong is told.
                let mut is_right = true;
                for field in &fields {
                    is_right &= field.read(config.as_mut(), node, path, problems).is_some();
                }
                let parsed = Parsed::of(config.filter(|_| is_right)?, path, problems)?;
                Some(parsed.map(|config| Box::new(config) as Box<dyn Config>))
            }),
            parts: Vec::new(),
            beside_parts: None,
            downloads: Vec::new(),
            lints: Vec::new(),
        }
    }
}
