//! The trained numbers.

use std::sync::Arc;

use crate::batch::Source;
use crate::graph::Graph;
use crate::progress::Progress;

/// The trained numbers after some step, and all that is needed to go on from there.
#[derive(Clone, Debug)]
pub struct Weights {
    /// How far the training has come.
    pub progress: Progress,
    /// The data trained on.
    pub source: Arc<Source>,
    /// The model.
    pub graph: Arc<Graph>,
    /// The weights, in the order of the graph's parameters.
    pub raw: Vec<Vec<f32>>,
    /// Their moving averages.
    pub averages: Vec<Vec<f32>>,
    /// What is kept from step to step without being trained, in the order of [`Graph::states`].
    pub states: Vec<Vec<f32>>,
}

impl Weights {
    /// The CRC-32C of all numbers.
    pub fn crc32c(&self) -> u32 {
        let tensors = self.raw.iter().chain(&self.averages).chain(&self.states);
        tensors.fold(0, |crc, tensor| crc32c::crc32c_append(crc, bytemuck::cast_slice(tensor)))
    }
}
