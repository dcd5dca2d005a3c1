//! Whole steps of training on batches that are in memory.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Steps;
use super::kernels::flop_of;
use super::repeat::repeat;
use compute::graph::Phase;
use compute::kernel::Step;
use compute::session::Session;
use flow::item::Batch;

/// Trains on these batches, one after the other and again, for about so long. The weights change:
/// what is measured is what a run does.
///
/// # Errors
/// If there is no batch, or the adapter fails.
pub fn steps(session: &mut Session, batches: &[Batch], time: Duration) -> Result<Steps> {
    ensure!(!batches.is_empty(), "there is no batch to train on");
    let (first_ms, each) = repeat(time, |number| {
        let batch = &batches[number % batches.len()];
        // A rate that is too small to matter, so that no number grows out of bounds.
        let step = Step {
            step: number as u32,
            learning_rate: 1e-6,
            average_decay: 0.5,
            ..Step::of(batch.ids.len())
        };
        session.train(batch, &step)?;
        session.losses().map(|_| ())
    })?;
    let images = batches[0].ids.len();
    let phases = [Phase::Forward, Phase::Loss, Phase::Backward, Phase::Update];
    Ok(Steps {
        first_ms,
        each,
        images_per_s: each.per_s(images as f64),
        gflop_per_s: each.per_s(flop_of(session.graph(), &phases, images)) / 1e9,
    })
}
