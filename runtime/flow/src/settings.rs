//! What holds for all stages of a run.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use base::opened::Opened;
use compute::settings::ComputeSettings;

use crate::item::{Limit, Weights};
use crate::period::Period;
use crate::preprocessing::TrainingFlow;
use crate::reports::Change;

/// What holds for all stages of a run.
#[derive(Clone, Debug, Default)]
pub struct RunSettings {
    /// The seed that every random number is keyed by.
    pub seed: u64,
    /// When to stop.
    pub limit: Limit,
    /// What computes, and how.
    pub compute: ComputeSettings,
    /// Where data is.
    pub data: DataSettings,
    /// Images in one block.
    pub block_images: usize,
    /// Blocks waiting in one channel.
    pub channel_blocks: usize,
    /// The folder that relative paths of the pipeline start from.
    pub folder: PathBuf,
    /// What is kept of the run.
    pub record: RecordSettings,
    /// What the run goes on from.
    pub resume: Option<Resume>,
    /// A step of which every number is looked at, to find where it stops being finite. The run
    /// ends there.
    pub diagnose: Option<u64>,
    /// The names of the remarks that are not made.
    pub allow: Vec<String>,
    /// What is done to the images that are trained on.
    pub training: Option<Arc<dyn TrainingFlow>>,
}

/// Where data is.
#[derive(Clone, Debug, Default)]
pub struct DataSettings {
    /// The place that was named for this run: it goes before those that the pipeline names.
    pub place: Option<PathBuf>,
    /// The place for pipelines that name none, from the environment.
    pub default_place: Option<PathBuf>,
    /// Where data is downloaded from and kept; `None` for not at all.
    pub fetch: Option<fetch::Settings>,
    /// What stages have opened and share.
    pub opened: Opened,
}

/// What is kept of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordSettings {
    /// The name of the run's folder, without its number; the pipeline file's if not given.
    pub name: Option<String>,
    /// When weights are kept.
    pub checkpoints: Checkpoints,
    /// When numbers are kept.
    pub summaries: Summaries,
    /// Stages of which the first images that they put out are told, and how many.
    pub taps: Vec<(String, usize)>,
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
