//! Images for one step, and where they come from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limit::Limit;
use crate::pass::Pass;
use crate::reuse::Lent;

/// Which image of which pass over the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SampleId {
    /// The pass over the data, from 0.
    pub epoch: u64,
    /// The image's number in its data set, from 0.
    pub index: u64,
}

/// What an image shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Label {
    /// One class.
    Class(u32),
    /// A probability per class.
    Distribution(Arc<[f32]>),
}

impl Label {
    /// Writes one probability per class.
    pub fn write(&self, classes: &mut [f32]) {
        match self {
            Self::Class(class) => {
                classes.fill(0.0);
                if let Some(value) = classes.get_mut(*class as usize) {
                    *value = 1.0;
                }
            }
            Self::Distribution(values) => classes.copy_from_slice(values),
        }
    }
}

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// For people: `CIFAR-10 train, 50,000 images`.
    pub description: String,
    /// Images in one pass.
    pub epoch_images: u64,
    /// Which part of the data set: `train`, `test`.
    pub split: String,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// What this data stands in for, if it is not what was asked for.
    pub stands_in_for: Option<String>,
    /// A run limit of the data's own, beside the pipeline's.
    pub limit: Option<Limit>,
    /// Where images come class by class, the most of one class in a row.
    #[serde(skip)]
    pub in_a_row: Option<u64>,
}

/// Images for one step.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Where they come from.
    pub source: Arc<Source>,
    /// The batch's number in its flow, from 0.
    pub number: u64,
    /// Which images they are.
    pub ids: Vec<SampleId>,
    /// What they show.
    pub labels: Vec<Label>,
    /// Height, width, channels of each.
    pub shape: [usize; 3],
    /// All pixels, one image after the other.
    pub images: Lent<f32>,
    /// Images of the whole batch: more than are here if other processes of the job have the others.
    pub whole: usize,
    /// Whether the last image of an epoch is the last of this batch.
    pub ends_epoch: bool,
    /// How the flow is cut into batches.
    pub pass: Pass,
    /// Images of the flow up to the end of this batch, those that were left out included: where
    /// the flow goes on after it.
    pub samples_end: u64,
}
