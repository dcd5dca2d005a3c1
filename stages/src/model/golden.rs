//! The golden curve: what the tutorial's network loses on fixed data in its first steps.
//!
//! It was written down once, on the `cpu` adapter; a test holds its beginning against the f64
//! reference, which is too slow for all of it. An adapter that computes anything wrongly leaves
//! it within a few steps.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use cli::Golden;
use compute::adapter::Adapter;
use compute::graph::Graph;
use compute::verify::network;

use super::tutorial;
use crate::reducer::update::trainable;

/// How far from the golden curve an adapter may stray.
pub const BOUND: f64 = 1e-3;

const IMAGES: usize = 32;
const LEARNING_RATE: f32 = 0.1;

/// The loss before each step.
const CURVE: [f64; 20] = [
    4.673631, 4.637596, 4.954019, 4.700265, 4.656298, 4.688496, 4.664025, 4.690655, 4.644110,
    4.671065, 4.649323, 4.640449, 4.662974, 4.624510, 4.611101, 4.642691, 4.691583, 4.650089,
    4.628872, 4.629938,
];

/// The tutorial's network, with its plain gradient descent.
pub fn graph() -> Result<Arc<Graph>> {
    let graph = trainable(&tutorial::layers(0.05), [24, 24, 3], 10);
    graph.map(Arc::new).map_err(|mismatch| anyhow!(mismatch.message))
}

/// The golden curve and what belongs to it, for `selftest`.
pub const GOLDEN: Golden = Golden {
    curve,
    worst,
    bound: BOUND,
    slope_error: |adapter| network::directional_error(adapter, &graph()?, 8),
};

/// The curve of an adapter.
pub fn curve(adapter: &dyn Adapter) -> Result<Vec<f64>> {
    first_steps(adapter, CURVE.len() as u64)
}

/// The beginning of an adapter's curve.
pub fn first_steps(adapter: &dyn Adapter, steps: u64) -> Result<Vec<f64>> {
    network::loss_curve(adapter, &graph()?, IMAGES, steps, LEARNING_RATE)
}

/// How far a curve strays at most.
pub fn worst(curve: &[f64]) -> f64 {
    let far = |(a, b): (&f64, &f64)| (a - b).abs();
    curve.iter().zip(&CURVE).map(far).fold(0.0, |worst, far| {
        // A loss that is no number is as far as can be.
        if far.is_nan() { f64::INFINITY } else { worst.max(far) }
    })
}
