//! Checkpoints: all that a run needs to go on, or to be evaluated, in one file.

mod best;
mod file;
mod start;
mod store;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use compute::adapter::AdapterReport;
use compute::adapter::variants::{Record, RunRecord, Variants};
use compute::graph::Graph;
use flow::item::{Progress, Source, Weights};
use flow::reports::DataReport;

pub use best::best;
pub use file::{read, write};
pub use start::Taken;
pub use store::{Best, Store, awaiting, file_name, is_empty, latest_good, list};

/// What a checkpoint says of the run that wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The version of Gradflow.
    pub program: String,
    /// When it was written, in the form of RFC 3339.
    pub time: String,
    /// The seed that every random number is keyed by.
    pub seed: u64,
    /// The adapter that trained.
    pub adapter: AdapterReport,
    /// What ran on it; absent in checkpoints of early versions.
    #[serde(default)]
    pub variants: Option<Variants>,
    /// What ran on each of several adapters, which the one above is the first of, by the names of
    /// their towers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub towers: BTreeMap<String, Record>,
    /// What held the weights of several adapters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Record>,
    /// How many of those adapters each process of a job had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<usize>,
    /// The data that was read.
    pub data: Vec<DataReport>,
    /// Whether these weights were handed on to be evaluated.
    pub awaits_evaluation: bool,
    /// The folder that relative paths of the pipeline start from.
    #[serde(with = "base::os_path")]
    pub folder: PathBuf,
    /// `--data`, if it was given.
    #[serde(default, with = "base::os_path::optional")]
    pub data_path: Option<PathBuf>,
    /// The pipeline as YAML, all defaults written out.
    pub pipeline: String,
}

/// A checkpoint, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The run that wrote it.
    pub about: About,
    /// How far that had come.
    pub progress: Progress,
    /// The data trained on.
    pub source: Source,
    /// The numbers.
    pub tensors: Vec<StoredTensor>,
}

/// One tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor {
    /// Such as `conv1/weights`.
    pub name: String,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Its values, the last size running fastest.
    pub values: Vec<f32>,
}

/// A checkpoint and a model that are not of the same kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Each difference, naming both sides.
    pub differences: Vec<String>,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the checkpoint does not fit the pipeline's model:")?;
        self.differences.iter().try_for_each(|difference| write!(f, "\n  {difference}"))
    }
}

impl std::error::Error for Misfit {}

impl About {
    /// What ran and on which adapters, if that was kept.
    pub fn record(&self) -> Option<RunRecord> {
        let first = Record { adapter: self.adapter.clone(), variants: self.variants.clone()? };
        Some(RunRecord {
            first,
            towers: self.towers.clone(),
            holder: self.holder.clone(),
            processes: self.processes.clone(),
        })
    }
}

impl Stored {
    /// Everything, to go on training this model.
    ///
    /// # Errors
    /// If a tensor is missing on either side, or differs in shape: all of them are named.
    pub fn weights(&self, graph: &Arc<Graph>) -> Result<Weights, Misfit> {
        self.fill(graph, true)
    }

    /// What is needed to compute with this model: what only its optimiser keeps may be missing on
    /// either side.
    ///
    /// # Errors
    /// If a weight is missing on either side, or differs in shape: all of them are named.
    pub fn inference_weights(&self, graph: &Arc<Graph>) -> Result<Weights, Misfit> {
        self.fill(graph, false)
    }

    fn fill(&self, graph: &Arc<Graph>, strict: bool) -> Result<Weights, Misfit> {
        let mut differences = Vec::new();
        let mut named = Vec::new();
        let mut take = |id, needed: bool| {
            let tensor = graph.tensor(id);
            named.push(tensor.name.as_str());
            match self.tensors.iter().find(|stored| stored.name == tensor.name) {
                Some(stored) if stored.shape == tensor.shape => stored.values.clone(),
                Some(stored) => {
                    differences.push(format!(
                        "{}: the checkpoint has {:?}, the pipeline's model {:?}",
                        tensor.name, stored.shape, tensor.shape
                    ));
                    Vec::new()
                }
                None if needed => {
                    differences.push(format!(
                        "{}: the pipeline's model has it with {:?}, the checkpoint lacks it",
                        tensor.name, tensor.shape
                    ));
                    Vec::new()
                }
                // What is never read need not be anything.
                None => vec![0.0; tensor.len()],
            }
        };
        let raw = graph.parameters.iter().map(|p| take(p.value, true)).collect();
        let averages = graph.parameters.iter().map(|p| take(p.average, true)).collect();
        // What layers keep is as much a part of the model as its weights.
        let is_kept =
            |id| graph.kept.iter().any(|kept| kept.value == id || kept.average == Some(id));
        let states = graph.states().map(|id| take(id, strict || is_kept(id))).collect();
        let unknown = self.tensors.iter().filter(|stored| !named.contains(&stored.name.as_str()));
        for stored in unknown.filter(|stored| strict || self.is_weight(&stored.name)) {
            let twin = graph.tensors.iter().find(|tensor| {
                tensor.shape == stored.shape
                    && tensor.name.rsplit_once('/').map(|(_, name)| name)
                        == stored.name.rsplit_once('/').map(|(_, name)| name)
                    && !self.tensors.iter().any(|other| other.name == tensor.name)
            });
            let hint =
                twin.map_or(String::new(), |twin| format!("; was it renamed to {}?", twin.name));
            differences.push(format!(
                "{}: the checkpoint has it with {:?}, the pipeline's model lacks it{hint}",
                stored.name, stored.shape
            ));
        }
        if !differences.is_empty() {
            return Err(Misfit { differences });
        }
        let (progress, source) = (self.progress, Arc::new(self.source.clone()));
        Ok(Weights { progress, source, graph: Arc::clone(graph), raw, averages, states })
    }
}

impl Stored {
    fn find(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.iter().find(|stored| stored.name == name)
    }

    /// Whether a tensor is part of the model, and not what an optimiser keeps for it: it has an
    /// average, or is frozen and has none, like what is kept for it.
    fn is_weight(&self, name: &str) -> bool {
        let is_there = |name: &str| self.find(name).is_some();
        let of_another = |(first, last): (&str, &str)| last == AVERAGE || is_there(first);
        is_there(&average_of(name)) || !name.rsplit_once('/').is_some_and(of_another)
    }
}

/// What the moving average of a weight is called, below its name.
const AVERAGE: &str = "average";

/// The name of the moving average of a weight.
fn average_of(name: &str) -> String {
    format!("{name}/{AVERAGE}")
}

#[cfg(test)]
mod tests;
