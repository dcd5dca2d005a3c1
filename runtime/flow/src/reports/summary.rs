//! Distributions of a step's numbers.

use super::Histogram;
use crate::item::Image;

/// Distributions of a step's numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The step's number, from 0.
    pub step: u64,
    /// Each trained tensor after the step.
    pub variables: Vec<(String, Histogram)>,
    /// The gradient of each trained tensor.
    pub gradients: Vec<(String, Histogram)>,
    /// The output of each layer; the share of exact zeros is its sparsity.
    pub activations: Vec<(String, Histogram)>,
    /// Some images as they enter the model.
    pub images: Vec<Image>,
}
