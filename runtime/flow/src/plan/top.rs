//! The settings at the top of a pipeline file, beside its stages.

use std::num::NonZeroU64;

use schemars::{JsonSchema, Schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::item::Limit;
use crate::settings::{Checkpoints, RecordSettings, RunSettings, Summaries};
use compute::precision::Precision;
use compute::settings::ComputeSettings;

/// The settings of a run.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Top {
    /// The seed that every random number is keyed by.
    #[serde(default)]
    seed: u64,
    /// Passes over the training data, of which a batcher with `partial: drop` leaves some images out.
    /// The run ends at this or at `steps`, whichever comes first: before the step that would see more
    /// images. A part of a pass is counted in whole images, rounded down.
    #[serde(default, deserialize_with = "above_zero")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    epochs: Option<f64>,
    /// Steps of the optimiser. The run ends at this or at `epochs`, whichever comes first.
    steps: Option<NonZeroU64>,
    /// What computes: `auto`, `cpu`, or part of the name of a device that `runtime devices` lists.
    adapter: Option<String>,
    /// What the model's images are computed in. Weights are f32 always. `runtime devices` lists
    /// what each adapter offers beside f32.
    #[serde(default)]
    precision: Precision,
    /// Whether the fastest forms of kernels are found by timing them on the adapter, where it has
    /// several: once, as what was found is kept. Otherwise the first that fits is taken.
    #[serde(default = "autotune")]
    autotune: bool,
    /// The names of warnings and notes that are not told: what they are about is meant so. `runtime
    /// list` has them all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) allow: Vec<String>,
    /// The name of the run's folder, to which a number is added. The pipeline file's if absent.
    name: Option<String>,
    /// When weights are kept, beside at each evaluation and at the end.
    #[serde(default)]
    checkpoints: Checkpoints,
    /// When numbers are kept.
    #[serde(default)]
    summaries: Summaries,
    /// Images that travel between stages in one block.
    #[serde(default = "block_images", deserialize_with = "up_to::<65_536, _>")]
    #[schemars(range(min = 1, max = 65_536))]
    block_images: usize,
    /// Blocks that wait in the channel between two stages.
    #[serde(default = "channel_blocks", deserialize_with = "up_to::<1_024, _>")]
    #[schemars(range(min = 1, max = 1_024))]
    channel_blocks: usize,
}

fn autotune() -> bool {
    true
}

fn block_images() -> usize {
    64
}

fn channel_blocks() -> usize {
    4
}

fn above_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let value = Option::<f64>::deserialize(deserializer)?;
    match value {
        Some(value) if value <= 0.0 => Err(D::Error::custom("must be above 0")),
        other => Ok(other),
    }
}

fn up_to<'de, const MAX: usize, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let value = usize::deserialize(deserializer)?;
    if (1..=MAX).contains(&value) {
        Ok(value)
    } else {
        Err(D::Error::custom(format!("must be from 1 to {MAX}")))
    }
}

impl Top {
    /// The run's settings, of which those from the command line hold.
    pub(super) fn settings(self, base: &RunSettings) -> RunSettings {
        let adapter = base.compute.adapter.clone().or(self.adapter);
        RunSettings {
            seed: self.seed,
            limit: Limit { epochs: self.epochs, steps: self.steps.map(NonZeroU64::get) },
            compute: ComputeSettings {
                adapter: adapter.filter(|name| name != "auto"),
                precision: self.precision,
                autotune: self.autotune,
                ..base.compute.clone()
            },
            allow: self.allow,
            block_images: self.block_images,
            channel_blocks: self.channel_blocks,
            record: RecordSettings {
                name: self.name,
                checkpoints: self.checkpoints,
                summaries: self.summaries,
                ..base.record.clone()
            },
            ..base.clone()
        }
    }
}

/// The settings with their types, defaults and descriptions.
pub fn schema() -> Schema {
    schemars::schema_for!(Top)
}
