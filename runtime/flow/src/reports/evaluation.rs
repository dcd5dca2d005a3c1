//! Evaluations.

use serde::{Deserialize, Serialize};

use super::{Confusion, real};
use crate::item::{Image, SampleId};

/// One evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EvaluationReport {
    /// The stage that evaluated.
    pub stage: String,
    /// Steps done by the weights.
    pub step: u64,
    /// Passes over the training data that the weights have seen.
    #[serde(deserialize_with = "real")]
    pub epoch: f64,
    /// Which part of the data set: `test`, `validation`.
    pub split: String,
    /// Images scored, each once.
    pub images: u64,
    /// Of those, the share whose highest score is the right class: accuracy.
    #[serde(deserialize_with = "real")]
    pub precision_at_1: f64,
    /// A number k, and the share whose class is among the k highest scores.
    pub precision_at_k: (usize, f64),
    /// Mean cross-entropy.
    #[serde(deserialize_with = "real")]
    pub loss: f64,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// Of each class (row), how many of its images were taken for each class (column). An image
    /// with a score that is no finite number was taken for none.
    pub confusion: Confusion,
    /// The mistakes made with the greatest confidence, the greatest first.
    #[serde(skip)]
    pub mistakes: Vec<Mistake>,
    /// What the data stands in for, if it is not what was asked for.
    pub stands_in_for: Option<String>,
    /// Whether the weights were moving averages.
    pub averaged: bool,
    /// Views of each image of which the probabilities were averaged.
    pub views: usize,
}

impl EvaluationReport {
    /// Of each class, the share of its images that was taken for it; `None` without images.
    pub fn class_accuracy(&self) -> Vec<Option<f64>> {
        self.confusion.accuracy()
    }
}

/// An image that was taken for something else.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    /// Which image.
    pub id: SampleId,
    /// Its class.
    pub class: usize,
    /// What it was taken for.
    pub taken_for: usize,
    /// The probability given to that.
    pub probability: f64,
    /// The image as the model saw it, of several views in the last.
    pub image: Image,
}
