//! An adapter that computes in a precision, for all that lower graphs onto it.

use std::ops::Deref;
use std::sync::Arc;

use anyhow::{Result, bail};

use super::{Adapter, Info, Lowering, Replica};
use crate::graph::Graph;
use crate::precision::{self, Precision};

/// What gradients of activations are multiplied by in f16.
///
/// A gradient of the mean over a batch of 128 is at most 1/128 at the class scores, and most of
/// those further down are far below f16's smallest normal number, 6e-5. This much moves them into
/// its range and leaves room above for what grows on the way down. As a power of two it is undone
/// to the bit.
pub const F16_LOSS_SCALE: f32 = 1024.0;

/// An adapter in a precision that it offers.
pub struct Precise<A> {
    adapter: A,
    precision: Precision,
}

impl<A: Deref<Target: Adapter>> Precise<A> {
    /// # Errors
    /// If the adapter does not offer it.
    pub fn new(adapter: A, precision: Precision) -> Result<Self> {
        unoffered(adapter.info(), precision)?;
        Ok(Self { adapter, precision })
    }
}

impl<A: Deref<Target: Adapter> + Send + Sync> Adapter for Precise<A> {
    fn info(&self) -> &Info {
        self.adapter.info()
    }

    fn overlaps(&self) -> bool {
        self.adapter.overlaps()
    }

    fn lower(&self, graph: &Arc<Graph>, how: &Lowering) -> Result<Box<dyn Replica>> {
        let precision = self.precision;
        let loss_scale = if precision == Precision::F16 { F16_LOSS_SCALE } else { 1.0 };
        self.adapter.lower(graph, &Lowering { precision, loss_scale, ..how.clone() })
    }
}

/// Refuses a precision that an adapter does not offer.
///
/// # Errors
/// If it does not; the message says what it does.
pub fn unoffered(info: &Info, asked: Precision) -> Result<()> {
    if info.precisions.contains(&asked) {
        return Ok(());
    }
    bail!(
        "{}/{} does not compute in {asked}, only in {}",
        info.backend,
        info.name,
        precision::list(&info.precisions)
    )
}
