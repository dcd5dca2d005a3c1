//! What a program has: stages and what they choose from, kernels, sinks.

use anyhow::Result;

use compute::job::Job;
use compute::kernel::Kernel;
use flow::stage::Kind;
use record::sink::Sink;
use stages::Catalog;
use stages::data::format::FormatKind;
use stages::model::layer::LayerKind;
use stages::optimizer::OptimizerKind;
use stages::schedule::ScheduleKind;

/// What a program has, by name: stages, layers, optimisers, schedules, formats of data, kernels and
/// sinks. Those of Gradflow, unless it begins with [`Registry::empty`], and its own.
///
/// ```
/// use gradflow::Registry;
///
/// let names: Vec<&str> = Registry::default().kinds().iter().map(|kind| kind.name).collect();
/// assert!(names.contains(&"reader") && names.contains(&"reducer"));
/// ```
#[derive(Clone)]
pub struct Registry {
    catalog: Catalog,
    stages: fn(&Catalog) -> Vec<Kind>,
    more_stages: Vec<Kind>,
    kernels: Vec<&'static Kernel>,
    sinks: Vec<fn() -> Box<dyn Sink>>,
}

impl Default for Registry {
    /// Everything that comes with Gradflow.
    fn default() -> Self {
        Self {
            catalog: Catalog::default(),
            stages: stages::kinds,
            more_stages: Vec::new(),
            kernels: shaders::ALL.to_vec(),
            sinks: Vec::new(),
        }
    }
}

impl Registry {
    /// Nothing: a pipeline can have what is added and nothing else.
    ///
    /// ```
    /// assert!(gradflow::Registry::empty().kinds().is_empty());
    /// ```
    pub fn empty() -> Self {
        Self {
            catalog: Catalog {
                layers: Vec::new(),
                optimizers: Vec::new(),
                schedules: Vec::new(),
                formats: Vec::new(),
            },
            stages: |_| Vec::new(),
            more_stages: Vec::new(),
            kernels: Vec::new(),
            sinks: Vec::new(),
        }
    }

    /// Adds a kind of stage.
    ///
    /// ```
    /// use gradflow::extend::stage::Kind;
    /// use gradflow::{Pipeline, Registry};
    ///
    /// // A type of your own implements `Config`; here is one that is there already.
    /// let whitening = Registry::default().kinds().into_iter().find(|kind| kind.name == "whitening");
    /// let mine = Kind { name: "mine", ..whitening.expect("it comes with Gradflow") };
    /// let pipeline = Pipeline::load("runtime/gradflow/drawings.yaml")?
    ///     .registry(Registry::default().stage(mine))
    ///     .set("stages.whiten", serde_json::json!({ "from": "read", "mine": {} }))?;
    /// assert!(pipeline.check().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stage(mut self, kind: Kind) -> Self {
        self.more_stages.push(kind);
        self
    }

    /// Adds a kind of layer, which models of Gradflow's own stage `model` may have.
    ///
    /// ```
    /// use gradflow::extend::layer::LayerKind;
    /// use gradflow::extend::layers::relu::Relu;
    /// use gradflow::{Pipeline, Registry};
    ///
    /// // A type of your own implements `Layer`; here is one that is there already.
    /// let kind = LayerKind::of::<Relu>("mine", "As `relu`, under another name.", "{}");
    /// let layers = serde_json::json!(["mine", { "dense": { "units": 10 } }, "softmax_cross_entropy"]);
    /// let pipeline = Pipeline::load("runtime/gradflow/drawings.yaml")?
    ///     .registry(Registry::default().layer(kind))
    ///     .set("stages.gradients.model.layers", layers)?;
    /// assert!(pipeline.check().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn layer(mut self, kind: LayerKind) -> Self {
        self.catalog.layers.push(kind);
        self
    }

    /// Adds a kind of optimiser, which Gradflow's own stage `reducer` may have.
    ///
    /// ```
    /// use gradflow::extend::optimizer::{OptimizerKind, adam::Adam};
    /// use gradflow::{Pipeline, Registry};
    ///
    /// // A type of your own implements `UpdateRule`; here is one that is there already.
    /// let kind = OptimizerKind::of::<Adam>("mine", "As `adam`, under another name.", "{}");
    /// let pipeline = Pipeline::load("runtime/gradflow/drawings.yaml")?
    ///     .registry(Registry::default().optimizer(kind))
    ///     .set("stages.train.reducer.optimizer", "mine")?;
    /// assert!(pipeline.check().is_ok());
    /// # Ok::<(), gradflow::Error>(())
    /// ```
    pub fn optimizer(mut self, kind: OptimizerKind) -> Self {
        self.catalog.optimizers.push(kind);
        self
    }

    /// Adds a kind of schedule for the learning rate of Gradflow's own stage `reducer`.
    ///
    /// ```
    /// use gradflow::extend::schedule::{ScheduleKind, cosine::Cosine};
    /// use gradflow::{Pipeline, Registry};
    ///
    /// // A type of your own implements `Curve`; here is one that is there already.
    /// let kind = ScheduleKind::of::<Cosine>("mine", "As `cosine`.", "{ initial: 0.1 }");
    /// let pipeline = Pipeline::load("runtime/gradflow/drawings.yaml")?
    ///     .registry(Registry::default().schedule(kind))
    ///     .set("stages.train.reducer.learning_rate", serde_json::json!({ "mine": { "initial": 0.1 } }))?;
    /// assert!(pipeline.check().is_ok());
    /// # Ok::<(), gradflow::Error>(())
    /// ```
    pub fn schedule(mut self, kind: ScheduleKind) -> Self {
        self.catalog.schedules.push(kind);
        self
    }

    /// Adds a format of data that Gradflow's own stage `reader` reads.
    ///
    /// ```
    /// use gradflow::extend::data::{format::FormatKind, synthetic::Synthetic};
    /// use gradflow::{Pipeline, Registry};
    ///
    /// // A type of your own implements `Format`; here is one that is there already.
    /// let kind = FormatKind::of::<Synthetic>("mine", "As `synthetic`.", "{}");
    /// let pipeline = Pipeline::load("runtime/gradflow/drawings.yaml")?
    ///     .registry(Registry::default().format(kind))
    ///     .set("stages.read.reader.format", "mine")?;
    /// assert!(pipeline.check().is_ok());
    /// # Ok::<(), gradflow::Error>(())
    /// ```
    pub fn format(mut self, kind: FormatKind) -> Self {
        self.catalog.formats.push(kind);
        self
    }

    /// Adds kernels, which `selftest` then holds against their reference.
    ///
    /// ```
    /// use gradflow::extend::shaders;
    ///
    /// let registry = gradflow::Registry::empty().kernels(&[&shaders::relu_forward::KERNEL]);
    /// # drop(registry);
    /// ```
    pub fn kernels(mut self, kernels: &[&'static Kernel]) -> Self {
        self.kernels.extend(kernels);
        self
    }

    /// Adds what listens to each run.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// use gradflow::extend::event::Message;
    /// use gradflow::extend::sink::{RunState, Sink};
    /// use gradflow::{Event, Pipeline, Registry};
    ///
    /// static STEPS: AtomicU64 = AtomicU64::new(0);
    ///
    /// struct Counter;
    ///
    /// impl Sink for Counter {
    ///     fn is_live(&self) -> bool {
    ///         true
    ///     }
    ///
    ///     fn observe(&mut self, message: &Message, _: &mut RunState) -> anyhow::Result<()> {
    ///         if let Event::Step(_) = &message.event {
    ///             STEPS.fetch_add(1, Ordering::Relaxed);
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let pipeline = Pipeline::load("runtime/gradflow/drawings.yaml")?.set("steps", 20)?;
    /// # let pipeline = pipeline.runs(folder.path());
    /// pipeline.registry(Registry::default().sink(|| Box::new(Counter))).run(|_| ())?;
    /// assert!(STEPS.load(Ordering::Relaxed) > 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sink(mut self, sink: fn() -> Box<dyn Sink>) -> Self {
        self.sinks.push(sink);
        self
    }

    /// All kinds of stages.
    pub fn kinds(&self) -> Vec<Kind> {
        let mut kinds = (self.stages)(&self.catalog);
        kinds.extend(self.more_stages.iter().cloned());
        kinds
    }

    /// What makes a sink for each run.
    pub(crate) fn sinks(&self) -> &[fn() -> Box<dyn Sink>] {
        &self.sinks
    }

    /// What the command line needs.
    pub(crate) fn app(self, join: fn() -> Result<Job>) -> cli::App {
        cli::App {
            kinds: self.kinds(),
            // The command line lasts as long as the program.
            kernels: self.kernels.leak(),
            golden: stages::golden::GOLDEN,
            probes: shaders::PROBES,
            join,
            sinks: self.sinks,
        }
    }
}
