//! Whole steps of training on batches that are in memory.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::kernels::flop;
use super::{Spread, Steps};
use crate::graph::Phase;
use crate::item::Batch;
use crate::kernel::Step;
use crate::session::Session;

/// Steps that come before the first that counts: caches and clocks settle.
const WARM_UP: usize = 2;

/// The fewest that count.
const LEAST: usize = 5;

/// Trains on these batches, one after the other and again, for about so long. The weights change:
/// what is measured is what a run does.
///
/// # Errors
/// If there is no batch, or the adapter fails.
pub fn steps(session: &mut Session, batches: &[Batch], time: Duration) -> Result<Steps> {
    ensure!(!batches.is_empty(), "there is no batch to train on");
    let mut once = |number: usize| -> Result<f64> {
        let batch = &batches[number % batches.len()];
        // A rate that is too small to matter, so that no number grows out of bounds.
        let step = Step {
            step: number as u32,
            learning_rate: 1e-6,
            average_decay: 0.5,
            ..Step::of(batch.ids.len())
        };
        let start = Instant::now();
        session.train(batch, &step)?;
        session.losses()?;
        Ok(1e3 * start.elapsed().as_secs_f64())
    };
    let first_ms = once(0)?;
    for number in 1..=WARM_UP {
        once(number)?;
    }
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < LEAST || start.elapsed() < time {
        times.push(once(WARM_UP + 1 + times.len())?);
    }
    let images = batches[0].ids.len();
    let each = Spread::of(times);
    let phases = [Phase::Forward, Phase::Loss, Phase::Backward, Phase::Update];
    let graph = session.graph();
    let ops = phases.into_iter().flat_map(|phase| graph.ops(phase));
    let flop: f64 = ops.map(|op| flop(graph, op, images)).sum();
    let per_ms = |amount: f64| amount / each.median_ms.max(f64::MIN_POSITIVE);
    Ok(Steps {
        first_ms,
        each,
        images_per_s: per_ms(1e3 * images as f64),
        gflop_per_s: per_ms(flop) / 1e6,
    })
}
