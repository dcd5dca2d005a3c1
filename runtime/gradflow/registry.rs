//! What a program has: stages and what they choose from, kernels, sinks.

use anyhow::Result;

use compute::job::Job;
use compute::kernel::Kernel;
use flow::stage::Kind;
use record::sink::Sink;
use stages::catalog::Catalog;
use stages::data::format::FormatKind;
use stages::model::layer::LayerKind;
use stages::optimizer::OptimizerKind;
use stages::schedule::ScheduleKind;

/// What a program has, by name: stages, layers, optimisers, schedules, formats of data, kernels and sinks. Those of Gradflow, unless it begins with
/// [`Registry::empty`], and its own.
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
    pub fn stage(mut self, kind: Kind) -> Self {
        self.more_stages.push(kind);
        self
    }

    /// Adds a kind of layer, which models of Gradflow's own stage `model` may have.
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
    ///     .set("stages.train.reducer.learning_rate.mine.initial", 0.1)?;
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
    pub fn kernels(mut self, kernels: &[&'static Kernel]) -> Self {
        self.kernels.extend(kernels);
        self
    }

    /// Adds what listens to each run.
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
