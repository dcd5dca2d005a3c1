//! The stages, layers, kernels and sinks that a program has.

use anyhow::Result;

use compute::job::Job;
use compute::kernel::Kernel;
use flow::stage::Kind;
use record::sink::Sink;
use stages::model::layer::LayerKind;

/// The stages, layers, kernels and sinks that a program has: those of Gradflow, unless it begins with
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
    layers: Vec<LayerKind>,
    stages: fn(Vec<LayerKind>) -> Vec<Kind>,
    more_stages: Vec<Kind>,
    kernels: Vec<&'static Kernel>,
    sinks: Vec<fn() -> Box<dyn Sink>>,
}

impl Default for Registry {
    /// Everything that comes with Gradflow.
    fn default() -> Self {
        Self {
            layers: stages::model::layers::all(),
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
            layers: Vec::new(),
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
        self.layers.push(kind);
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
        let mut kinds = (self.stages)(self.layers.clone());
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
