//! The training loop: a step per batch, reports, weights handed on.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use runtime::channel::Ports;
use runtime::event::{Event, Events, StepReport};
use runtime::graph::{Graph, TensorId};
use runtime::item::{Batch, Item, Limit, Weights};
use runtime::kernel::Step;
use runtime::random::Random;
use runtime::session::Session;
use runtime::stage::{Context, Stage};

use super::Reducer;
use crate::schedule::RunExtent;

pub(super) struct Reduce {
    config: Reducer,
    graph: Arc<Graph>,
    session: Session,
    batch: usize,
    limit: Limit,
    seed: u64,
    events: Events,
    speed: Speed,
    /// That of the last step.
    learning_rate: f64,
}

impl Stage for Reduce {
    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
        async move {
            let mut step = 0;
            let mut images = 0;
            let mut handed_on = None;
            while let Some(item) = ports.receive(0).await {
                let Item::GradientTask(task) = item else { bail!("it takes gradients only") };
                let batch = task.batch;
                if step == 0 {
                    // The wait for the first batch is the pipeline's start, not a step's time.
                    self.speed = Speed::new();
                }
                let limit = self.limit.and(batch.source.limit.as_ref());
                let (epoch, with_this) =
                    (batch.source.epoch_images, images + batch.ids.len() as u64);
                if !limit.allows(step, with_this, epoch) {
                    if step == 0 {
                        bail!(
                            "the run ends before its first step: a batch has {} images, which is \
                             more than the run may see of {}.\nMake batches smaller, or raise \
                             `epochs`",
                            batch.ids.len(),
                            batch.source.description
                        );
                    }
                    break;
                }
                let total = limit.total_steps(epoch, self.batch);
                let extent = RunExtent::of(&limit, epoch, self.batch);
                self.rate(step, &extent)?;
                self.step(step, total, &batch).with_context(|| format!("step {step}"))?;
                step += 1;
                images = with_this;
                if self.is_due(images, batch.ids.len(), epoch) && ports.has_consumers() {
                    handed_on = Some(step);
                    self.loss().with_context(|| format!("step {}", step - 1))?;
                    let weights = self.weights(step)?;
                    // Nobody evaluating any more is no reason to stop training.
                    let _ = ports.send(Item::Weights(Arc::new(weights))).await;
                    // Reading the weights, and waiting until they are taken, is no step's time.
                    self.speed = Speed::new();
                }
            }
            if let Some(last) = step.checked_sub(1) {
                // The last steps may have diverged after the last line of the log.
                self.end(last).with_context(|| format!("step {last}"))?;
            }
            if handed_on != Some(step) && ports.has_consumers() {
                let weights = self.weights(step)?;
                let _ = ports.send(Item::Weights(Arc::new(weights))).await;
            }
            Ok(())
        }
        .boxed()
    }
}

impl Reduce {
    pub(super) fn new(
        config: Reducer,
        graph: &Arc<Graph>,
        session: Session,
        batch: usize,
        context: &Context<'_>,
    ) -> Self {
        Self {
            config,
            graph: Arc::clone(graph),
            session,
            batch,
            limit: context.run.limit,
            seed: context.run.seed,
            events: context.events.clone(),
            speed: Speed::new(),
            learning_rate: 0.0,
        }
    }

    /// Sets the learning rate of a step.
    fn rate(&mut self, step: u64, extent: &RunExtent) -> Result<()> {
        self.config.learning_rate.check_extent(extent)?;
        self.learning_rate = self.config.learning_rate.at(step * self.batch as u64, extent);
        Ok(())
    }

    fn step(&mut self, step: u64, total_steps: Option<u64>, batch: &Batch) -> Result<()> {
        let scalars = Step {
            step: step as u32,
            learning_rate: self.learning_rate as f32,
            average_decay: average_decay(self.config.moving_average, step),
            seed: kernel_seed(self.seed),
            ..Step::of(batch.ids.len())
        };
        self.session.train(batch, &scalars)?;
        self.speed.count(batch.ids.len());
        if step.is_multiple_of(self.config.log_every_steps) {
            self.report(step, total_steps)?;
        }
        Ok(())
    }

    /// The last step is logged whatever its number, unless it was already.
    fn end(&mut self, last: u64) -> Result<()> {
        if self.speed.batches > 0 {
            self.report(last, Some(last + 1))
        } else {
            self.loss().map(drop)
        }
    }

    fn report(&mut self, step: u64, total_steps: Option<u64>) -> Result<()> {
        let (terms, loss) = self.loss()?;
        let (images_per_s, batch_s) = self.speed.take();
        let names = self.graph.loss_terms.iter().cloned();
        self.events.emit(Event::Step(StepReport {
            step,
            total_steps,
            loss,
            terms: names.zip(terms.iter().map(|term| f64::from(*term))).collect(),
            learning_rate: self.learning_rate,
            images_per_s,
            batch_s,
        }));
        Ok(())
    }

    /// The terms of the last step's loss, and their sum.
    fn loss(&mut self) -> Result<(Vec<f32>, f64)> {
        let terms = self.session.losses()?;
        let loss = terms.iter().map(|term| f64::from(*term)).sum::<f64>();
        if !loss.is_finite() {
            return Err(diverged(&format!("the loss is {loss}")));
        }
        Ok((terms, loss))
    }

    /// Whether the images seen have just passed a multiple of the evaluation period.
    fn is_due(&self, images: u64, batch: usize, epoch_images: u64) -> bool {
        let period = self.config.evaluate_every_epochs * epoch_images as f64;
        let periods = |images: u64| (images as f64 / period).floor();
        period > 0.0 && periods(images) > periods(images - batch as u64)
    }

    fn weights(&mut self, step: u64) -> Result<Weights> {
        let graph = Arc::clone(&self.graph);
        let mut read = |tensor: TensorId| self.session.read(tensor);
        let raw = graph.parameters.iter().map(|p| read(p.value)).collect::<Result<_>>()?;
        let averages = graph.parameters.iter().map(|p| read(p.average)).collect::<Result<_>>()?;
        let states = graph.states().map(read).collect::<Result<_>>()?;
        let weights = Weights { step, graph, raw, averages, states };
        // The loss is that before the last update, which may have been one too many.
        let all = [&weights.raw, &weights.averages];
        if !all.into_iter().flatten().flatten().all(|value| value.is_finite()) {
            return Err(diverged("there are weights that are no finite numbers"));
        }
        Ok(weights)
    }
}

fn diverged(found: &str) -> anyhow::Error {
    anyhow!(
        "{found}: training has diverged.\nTry a lower learning rate, or `runtime selftest` to see \
         whether the adapter computes correctly"
    )
}

/// The seed of kernels that draw random numbers, which has half the bits of the run's: every bit
/// of that one counts.
fn kernel_seed(seed: u64) -> u32 {
    Random::keyed(seed, "kernels", 0, 0).bits()
}

/// The averages' decay at a step, warmed up as in TensorFlow.
fn average_decay(decay: f64, step: u64) -> f32 {
    let step = step as f64;
    decay.min((1.0 + step) / (10.0 + step)) as f32
}

/// Images and batches per second since the last report.
#[derive(Debug)]
struct Speed {
    since: Instant,
    images: usize,
    batches: usize,
}

impl Speed {
    fn new() -> Self {
        Self { since: Instant::now(), images: 0, batches: 0 }
    }

    fn count(&mut self, images: usize) {
        self.images += images;
        self.batches += 1;
    }

    fn take(&mut self) -> (f64, f64) {
        let seconds = self.since.elapsed().as_secs_f64();
        let rates = (self.images as f64 / seconds, seconds / self.batches.max(1) as f64);
        *self = Self::new();
        rates
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_averages_warm_up_as_in_the_tutorial() {
        for (step, decay) in [(0, 0.1), (10, 0.55), (100, 0.918), (1_000, 0.991_09)] {
            assert!((average_decay(0.9999, step) - decay).abs() < 5e-4, "step {step}");
        }
        assert_eq!(average_decay(0.9999, 1_000_000), 0.9999);
        assert_eq!(average_decay(0.0, 5), 0.0);
    }

    #[test]
    fn every_bit_of_the_seed_reaches_the_kernels() {
        let seeds: HashSet<u32> = (0..64).map(|bit| kernel_seed(1 << bit)).collect();
        assert_eq!(seeds.len(), 64);
    }
}
