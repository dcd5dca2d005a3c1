//! A network that every adapter must train alike.

use anyhow::Result;

use crate::adapter::Adapter;

/// A network that every adapter must train alike; the engine knows none itself.
#[derive(Clone, Copy)]
pub struct Golden {
    /// An adapter's loss before each of the first steps.
    pub curve: fn(&dyn Adapter) -> Result<Vec<f64>>,
    /// How far a curve strays from the recorded one at most.
    pub worst: fn(&[f64]) -> f64,
    /// How far it may.
    pub bound: f64,
    /// By how much an adapter's gradient misses the slope that it measures, relatively.
    pub slope_error: fn(&dyn Adapter) -> Result<f64>,
}
