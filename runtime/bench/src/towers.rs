//! Steps of several adapters: how they scale, and where their time goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use compute::adapter::forms::Forms;
use compute::adapter::{Adapter, Lowering};
use compute::graph::Graph;
use compute::job::Lane;
use compute::kernel::Step;
use compute::session::Session;
use compute::towers::{BUCKET_BYTES, Lost, OnLoss, Rules, Towers, Trainer, Watch};
use flow::item::Batch;
use flow::reports::{Change, TowersStep};

/// Steps that come before the first that counts, if there is the time: shares settle.
const WARM_UP: u32 = 32;

/// In any case so many: shares change for the first time.
const LEAST_WARM_UP: u32 = 12;

/// The fewest that count.
const LEAST: u32 = 5;

/// So many of the adapters together.
#[derive(Clone, Debug)]
pub struct Scale {
    /// How many.
    pub adapters: usize,
    /// Images in a second.
    pub images_per_s: f64,
    /// What that is of the sum of all these adapters alone, 0 to 1.
    pub efficiency: f64,
    /// A step, in ms.
    pub step_ms: f64,
    /// Images of a batch that each takes in the end.
    pub shares: Vec<usize>,
    /// What a step consists of; `None` for one adapter, which does all of it by itself.
    pub parts: Option<TowersStep>,
}

/// Trains on the first one of these adapters, the first two, and so on, each for about so long.
///
/// # Errors
/// If there is no batch, or an adapter fails.
pub fn towers(
    adapters: &[Arc<dyn Adapter>],
    holder: &dyn Adapter,
    forms: &Forms,
    graph: &Arc<Graph>,
    batches: &[Arc<Batch>],
    time: Duration,
) -> Result<Vec<Scale>> {
    ensure!(!batches.is_empty(), "there is no batch to train on");
    let size = batches[0].ids.len();
    let mut scales: Vec<Scale> = Vec::new();
    let mut alone = Vec::new();
    for adapter in adapters {
        let how = Lowering { forms: forms.clone(), ..Lowering::of(size) };
        let session = Session::with(adapter.as_ref(), graph, how)?;
        let mut trainer = Trainer::one(session, adapter.info().name.clone(), OnLoss::Stop);
        alone.push(measure(&mut trainer, batches, time)?);
    }
    for count in 1..=adapters.len() {
        let possible: f64 = alone[..count].iter().map(|(images_per_s, _)| images_per_s).sum();
        let (images_per_s, step_ms, shares, parts) = match count {
            1 => (alone[0].0, alone[0].1, vec![size], None),
            _ => {
                let each: Vec<&dyn Adapter> = adapters[..count].iter().map(AsRef::as_ref).collect();
                let rules = Rules {
                    follow_speed: true,
                    given: Vec::new(),
                    on_loss: OnLoss::Stop,
                    forms: forms.clone(),
                    watch: Box::new(Nobody),
                    lane: Lane::default(),
                    bucket_bytes: BUCKET_BYTES,
                };
                let towers = Towers::new(&each, holder, graph, size, rules)?;
                let mut trainer = Trainer::Several(Box::new(towers));
                let (images_per_s, step_ms) = measure(&mut trainer, batches, time)?;
                let seconds = step_ms / 1e3;
                let parts = trainer.take_times().map(|times| times.report(seconds));
                let shares = match &trainer {
                    Trainer::Several(towers) => towers.shares(),
                    Trainer::One(_) => Vec::new(),
                };
                (images_per_s, step_ms, shares, parts)
            }
        };
        let efficiency = images_per_s / possible.max(f64::MIN_POSITIVE);
        scales.push(Scale { adapters: count, images_per_s, efficiency, step_ms, shares, parts });
    }
    Ok(scales)
}

/// Images in a second, and ms of a step.
fn measure(trainer: &mut Trainer, batches: &[Arc<Batch>], time: Duration) -> Result<(f64, f64)> {
    trainer.initialize(0)?;
    let once = |number: u32, trainer: &mut Trainer| -> Result<()> {
        let batch = &batches[number as usize % batches.len()];
        // A rate that is too small to matter, so that no number grows out of bounds.
        let step = Step {
            step: number,
            learning_rate: 1e-6,
            average_decay: 0.5,
            ..Step::of(batch.ids.len())
        };
        trainer.train(batch, &step)
    };
    let warm_up = Instant::now();
    let mut number = 0;
    let least = if let Trainer::Several(_) = trainer { LEAST_WARM_UP } else { 2 };
    while number < least || (number < WARM_UP && warm_up.elapsed() < time) {
        once(number, trainer)?;
        number += 1;
    }
    trainer.ask(Session::losses)?;
    trainer.take_times();
    let (start, first) = (Instant::now(), number);
    while number - first < LEAST || start.elapsed() < time {
        once(number, trainer)?;
        number += 1;
    }
    trainer.ask(Session::losses)?;
    let seconds = start.elapsed().as_secs_f64() / f64::from(number - first);
    Ok((batches[0].ids.len() as f64 / seconds, 1e3 * seconds))
}

/// Nothing of it is kept.
struct Nobody;

impl Watch for Nobody {
    fn shares(&mut self, _: &Change) -> bool {
        true
    }

    fn lost(&mut self, _: &Lost) {}
}
