//! Chooses how many images an adapter takes at once.

use anyhow::{Result, bail};

use super::Limits;
use crate::graph::{Graph, Phase};
use crate::kernel::Extent;

/// The largest micro-batch that divides the work evenly and lets every buffer, binding and
/// dispatch of the graph fit these limits.
///
/// # Errors
/// If not even a single image fits; the message names the tensor or kernel.
pub fn plan(graph: &Graph, batch: usize, limits: &Limits) -> Result<usize> {
    let most = largest(graph, batch, limits)?;
    // Equal parts: 1,024 images with room for 911 are two times 512, not 911 and 113.
    Ok(batch.div_ceil(batch.div_ceil(most)))
}

fn largest(graph: &Graph, batch: usize, limits: &Limits) -> Result<usize> {
    let bytes = limits.binding_bytes.min(limits.buffer_bytes);
    let mut most = batch.max(1);
    for tensor in &graph.tensors {
        let each = 4 * tensor.len() as u64;
        if each > bytes {
            bail!(
                "{} needs a buffer of {each} bytes, and this adapter binds at most {bytes}",
                tensor.name
            );
        }
        if tensor.extent == Extent::PerImage && each > 0 {
            most = most.min((bytes / each) as usize);
        }
    }
    let phases = [Phase::Forward, Phase::Loss, Phase::Backward, Phase::Update];
    for op in phases.into_iter().flat_map(|phase| graph.ops(phase)) {
        if op.tensors.len() > limits.storage_buffers as usize {
            bail!(
                "{} binds {} buffers, and this adapter allows {}",
                op.kernel.name,
                op.tensors.len(),
                limits.storage_buffers
            );
        }
        for variant in op.kernel.variants.iter().filter(|v| (v.applies)(&op.constants)) {
            let fits = |images| {
                (variant.workgroups)(&op.constants, images).iter().all(|n| *n <= limits.workgroups)
            };
            if !fits(1) {
                bail!("{} needs more workgroups than this adapter dispatches", variant.name);
            }
            while !fits(most) {
                most = (most / 2).max(1);
            }
        }
    }
    Ok(most)
}
