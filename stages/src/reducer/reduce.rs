//! The training loop: a step per batch, reports, weights handed on.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Error, Result, bail};
use base::random::Random;
use base::stop::Stop;
use compute::divergence::{Diagnosis, Diverged};
use compute::graph::{Graph, TensorId};
use compute::job::{Lane, Left};
use compute::kernel::Step;
use compute::pass::{Pass, StepsAhead};
use compute::session::{Outcome, Session};
use compute::towers::{Stopped, Times, Trainer};
use flow::channel::Ports;
use flow::event::{Checkpoint, Event, Events, Reason};
use flow::item::{Batch, Item, Limit, Position, Progress, Source, Weights};
use flow::period::Clock;
use flow::reports::{LossTerm, StepReport};
use flow::stage::{Context, Evaluation, Resume, Stage};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::Reducer;
use super::adapters::{BatchOf, stopped};
use super::join::Joiner;
use super::speed::{Rates, Speed};
use super::start::Start;
use super::summary::{Due, Summaries};
use super::update::debiased;
use crate::data::thousands;
use crate::schedule::RunExtent;
use crate::schedule::stretch::{Rate, Stretch};

pub(super) struct Reduce {
    config: Reducer,
    graph: Arc<Graph>,
    trainer: Trainer,
    joiner: Joiner,
    /// Batches that a step had when the run stopped.
    batches_before: u64,
    stage: String,
    limit: Limit,
    seed: u64,
    events: Events,
    /// Where the processes of the job meet after each step.
    lane: Lane,
    stop: Stop,
    speed: Speed,
    progress: Progress,
    /// Images of the last step.
    step_images: u64,
    /// Whether a step of a single image was told.
    told_single: bool,
    source: Option<Arc<Source>>,
    resumed: Option<Resume>,
    /// What the run began with, if it was another one's weights.
    started: Option<Start>,
    /// Steps done at the last line of the log.
    reported: u64,
    /// That line, while what it says of the loss is on its way.
    pending: Option<Pending>,
    /// Steps of the whole run, as far as they are known.
    total_steps: Option<u64>,
    evaluate: Clock,
    keep: Clock,
    log: Clock,
    summarize: Clock,
    show: Clock,
    summaries: Option<Summaries>,
    learning_rate: f64,
    diagnosis: Option<Diagnosis>,
}

impl Stage for Reduce {
    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
        self.train(ports).boxed()
    }
}

impl Reduce {
    pub(super) fn new(
        config: Reducer,
        graph: &Arc<Graph>,
        trainer: Trainer,
        batches: usize,
        summaries: Option<Summaries>,
        context: &Context<'_>,
    ) -> Result<Self> {
        let lane = context.run.job.lane_of(context.stage)?;
        let resumed = context.run.resume.clone();
        let weights = resumed.as_ref().map(|resume| &resume.weights);
        let progress = weights.map(|weights| weights.progress).unwrap_or_default();
        Ok(Self {
            lane,
            stop: context.stop.clone(),
            graph: Arc::clone(graph),
            trainer,
            batches_before: batches_before(&config, context),
            joiner: Joiner::new(batches),
            stage: context.stage.to_owned(),
            limit: context.run.limit,
            seed: context.run.seed,
            events: context.events.clone(),
            speed: Speed::new(Instant::now()),
            progress,
            step_images: 0,
            told_single: false,
            source: weights.map(|weights| Arc::clone(&weights.source)),
            resumed,
            started: None,
            reported: progress.steps,
            pending: None,
            total_steps: None,
            evaluate: Clock::new(config.evaluate.clone()),
            keep: Clock::new(context.run.checkpoints.every.clone()),
            log: Clock::new(context.run.summaries.scalars.clone()),
            summarize: Clock::new(context.run.summaries.histograms.clone()),
            show: Clock::new(context.run.summaries.images.clone()),
            summaries,
            learning_rate: 0.0,
            diagnosis: context.run.diagnose.map(Diagnosis::new),
            config,
        })
    }

    /// The same, begun with the weights of another run.
    pub(super) fn started(self, started: Option<Start>) -> Self {
        Self { started, ..self }
    }

    async fn train(&mut self, ports: &mut Ports) -> Result<()> {
        let begin = self.progress.steps;
        let evaluation = self.resumed.as_ref().map(|resume| resume.evaluation);
        let mut kept = evaluation.map(|_| begin);
        let mut handed_on = kept.filter(|_| evaluation == Some(Evaluation::Told));
        if ports.has_consumers() {
            let lost = self.resumed.as_mut().map(|resume| std::mem::take(&mut resume.lost));
            for weights in lost.into_iter().flatten() {
                // As below, nobody evaluating any more is no reason to stop.
                let _ = ports.send(Item::Weights(weights)).await;
            }
            if evaluation == Some(Evaluation::Awaited) {
                handed_on = self.hand_on(ports).await?;
            }
        }
        // Otherwise it is over because it was asked to stop.
        let mut by_limit = false;
        while let Some(item) = ports.receive(0).await {
            let Item::GradientTask(task) = item else { bail!("it takes gradients only") };
            let Some(batch) = self.joiner.add(task.batch) else { continue };
            let step = self.progress.steps;
            if step == begin {
                // The wait for the first batch is the pipeline's start, not a step's time.
                self.speed = Speed::new(Instant::now());
                let other =
                    self.started.as_ref().and_then(|start| start.other_classes(&batch.source));
                if let Some(told) = other {
                    self.events.emit(Event::Warning(told));
                }
            }
            let limit = self.limit.and(batch.source.limit.as_ref());
            let ahead = StepsAhead {
                pass: batch.pass,
                batches: self.joiner.batches() as u64,
                done: self.progress,
            };
            let images = self.progress.images + batch.whole as u64;
            if !limit.allows(step, images, batch.pass.images) {
                if step == 0 {
                    bail!(
                        "the run ends before its first step: a batch has {} images, which is \
                         more than the run may see of {}.\nMake batches smaller, or raise \
                         `epochs`",
                        batch.whole,
                        batch.source.description
                    );
                }
                by_limit = true;
                break;
            }
            let total = limit.total_steps(&ahead);
            self.total_steps = total;
            let extent = RunExtent::of(&limit, &ahead);
            self.config.learning_rate.check_extent(&extent)?;
            if step == begin && self.tells() {
                self.compare_extents(&batch, &extent);
            }
            self.learning_rate = self.config.learning_rate.at(self.progress.images, &extent);
            self.tell_single(&batch, step);
            let scalars = self.scalars(step, batch.whole);
            if let Some(diagnosis) = &mut self.diagnosis
                && let Some(found) =
                    self.trainer.ask(|session| diagnosis.look(session, &batch, &scalars))?
            {
                self.events.emit(Event::Diagnosis(found));
                return Ok(());
            }
            let trained = self.trainer.train(&batch, &scalars);
            // What was logged before has come meanwhile.
            self.settle()?;
            if let Err(error) = trained {
                if error.is::<Left>() {
                    self.stop.stop();
                    break;
                }
                return Err(self.failed(error, step));
            }
            self.speed.count(batch.whole);
            let position = Position {
                samples: batch.samples_end,
                batches: batch.number + 1,
                epoch_images: batch.source.epoch_images,
            };
            let epoch_images = batch.pass.images;
            self.step_images = batch.whole as u64;
            self.progress =
                Progress { steps: step + 1, images, position, epoch_images, ..self.progress };
            self.source = Some(Arc::clone(&batch.source));
            if self.diagnosis.is_some() {
                continue;
            }
            if self.is_over(is_due_at, |this| &mut this.log) && self.tells() {
                self.report(total).with_context(|| format!("step {step}"))?;
            }
            self.summarize(&batch, &scalars).with_context(|| format!("step {step}"))?;
            match self.next(ports.has_consumers()) {
                Err(Left { .. }) => {
                    self.stop.stop();
                    break;
                }
                Ok(Next::Step) => {}
                Ok(Next::Evaluate) => {
                    handed_on =
                        self.hand_on(ports).await.with_context(|| format!("step {step}"))?;
                    kept = handed_on;
                }
                Ok(Next::Keep) => {
                    let weights = self.weights().with_context(|| format!("step {step}"))?;
                    self.compare(&weights).with_context(|| format!("step {step}"))?;
                    kept = self.keep(weights, Reason::Period);
                    self.speed.go_on(Instant::now());
                }
            }
        }
        if self.diagnosis.is_none() && self.reported != self.progress.steps && self.tells() {
            let last = self.progress.steps - 1;
            let total = if by_limit { Some(last + 1) } else { self.total_steps };
            self.report(total).with_context(|| format!("step {last}"))?;
        }
        self.settle()?;
        self.end(by_limit, kept, handed_on, ports).await
    }

    /// Says what the first step of a run that goes on makes of a run whose end was moved, or of which
    /// another version counted the epochs.
    fn compare_extents(&self, batch: &Batch, extent: &RunExtent) {
        let Some(resumed) = &self.resumed else { return };
        let counted = self.progress.images_per_epoch();
        if self.progress.steps > 0 && counted != batch.pass.images {
            self.events.emit(Event::Warning(format!(
                "an epoch is now the {} images of a pass that are trained on. Until now this run \
                 counted all {counted}: its epochs, and what is done by them, come earlier",
                batch.pass.images
            )));
        }
        let limit = resumed.limit.and(batch.source.limit.as_ref());
        let ahead =
            StepsAhead { pass: batch.pass, batches: self.batches_before, done: self.progress };
        // Earlier versions counted full steps, and all images of a pass.
        let before = match self.progress.steps > 0 && self.progress.epoch_images == 0 {
            true => {
                let full = batch.pass.batch.saturating_mul(self.batches_before);
                RunExtent::of_full_steps(&limit, counted, full)
            }
            false => RunExtent::of(&limit, &ahead),
        };
        let images = self.progress.images;
        if let Some(stretch) = self.config.learning_rate.stretch(images, &before, extent) {
            let last = images - self.last_step_images(batch.pass).min(images);
            let last = self.config.learning_rate.at(last, &before);
            self.events.emit(Event::Warning(self.stretched(&stretch, last, [&before, extent])));
        }
    }

    /// Says once that statistics of a single image are kept. They are finite, and say little: of one
    /// position the variance is 0.
    fn tell_single(&mut self, batch: &Batch, step: u64) {
        if batch.whole != 1 || self.told_single || !self.tells() {
            return;
        }
        let Some(kept) = self.graph.kept.iter().find(|kept| !kept.frozen) else { return };
        self.told_single = true;
        let full = batch.pass.batch * self.joiner.batches() as u64;
        let help = match full {
            0..=1 => "make `size` of the batcher larger".to_owned(),
            full => format!("`partial: carry` and `partial: drop` make all steps full, of {full}"),
        };
        self.events.emit(Event::Warning(format!(
            "step {step} has a single image, and {} normalises a batch by its own statistics: the \
             output is nearly constant, and the running statistics, by which images are scored, move \
             towards those of that image as far as towards those of a full batch.\nTo train on \
             larger batches, {help}",
            self.graph.layers[kept.layer].name
        )));
    }

    /// The images of the last step before the run stopped.
    fn last_step_images(&self, pass: Pass) -> u64 {
        let end = self.progress.position.batches;
        pass.images_after(end) - pass.images_after(end.saturating_sub(self.batches_before))
    }

    fn stretched(&self, stretch: &Stretch, last: f64, extents: [&RunExtent; 2]) -> String {
        let ends = extents.map(|extent| {
            let images = extent.total_images.unwrap_or_default();
            let epochs = images as f64 / extent.epoch_images.max(1) as f64;
            format!("{} images, {} epochs", thousands(images), (epochs * 1000.0).round() / 1000.0)
        });
        let longer = extents[1].total_images > extents[0].total_images;
        let Stretch { schedule, before, now, over } = stretch;
        let step = self.progress.steps;
        format!(
            "the learning rate's schedule is {}, as it goes on until the run's end: that comes after \
             {}, and was to come after {}. Step {step} has the rate {}; it would have had {}, and \
             step {} had {}.\nTo keep the rates as they were, give the schedule `over: {over}`: \
             `--set 'stages.{}.reducer.learning_rate.{schedule}.over={over}'`",
            if longer { "stretched" } else { "shortened" },
            ends[1],
            ends[0],
            Rate(*now),
            Rate(*before),
            step.saturating_sub(1),
            Rate(last),
            self.stage,
        )
    }

    /// Why a step could not be done. If the run is to end with an adapter that others could do
    /// without, the weights from before the step are kept.
    fn failed(&mut self, error: Error, step: u64) -> Error {
        let Some(Stopped(lost)) = error.downcast_ref() else {
            return error.context(format!("step {step}"));
        };
        if step == 0 {
            return error.context("step 0");
        }
        let stopped = stopped(lost, step);
        match self.weights() {
            Err(error) => error.context("the weights before it could not be read").context(stopped),
            Ok(weights) => {
                self.keep(weights, Reason::End);
                stopped
            }
        }
    }

    /// Whether this is the process that speaks for the job.
    fn tells(&self) -> bool {
        self.lane.job().is_first()
    }

    /// What is to be done with the weights after a step: what the first process of the job finds,
    /// as clocks differ.
    ///
    /// # Errors
    /// [`Left`] if another process is gone.
    fn next(&mut self, can_evaluate: bool) -> Result<Next, Left> {
        let mut next = Next::Step;
        if self.is_over(Clock::is_over, |this| &mut this.evaluate) && can_evaluate {
            next = Next::Evaluate;
        } else if self.is_over(Clock::is_over, |this| &mut this.keep) {
            next = Next::Keep;
        }
        let found = self.lane.meet(next as u64)?;
        let all = [Next::Step, Next::Evaluate, Next::Keep];
        Ok(all.into_iter().find(|next| Some(&(*next as u64)) == found.first()).unwrap_or(next))
    }

    /// Makes sure that all processes of the job have come to the same weights.
    fn compare(&self, weights: &Weights) -> Result<()> {
        if !self.lane.job().is_shared() {
            return Ok(());
        }
        // Who is gone has nothing to be compared. It is found in the next step.
        let Ok(all) = self.lane.meet(u64::from(weights.crc32c())) else { return Ok(()) };
        match all.iter().position(|crc| *crc != all[0]) {
            None => Ok(()),
            Some(rank) => bail!(
                "after {} steps the weights of process {rank} are not those of process 0.\nIf the \
                 machines have different processors, name instructions that all of them have: \
                 GRADFLOW_ISA=avx2. Otherwise a machine computes wrongly: `runtime selftest`",
                weights.progress.steps
            ),
        }
    }

    /// Whether the step just done ends a period of this clock.
    fn is_over(
        &mut self,
        over: impl Fn(&mut Clock, &Progress, u64) -> bool,
        clock: impl Fn(&mut Self) -> &mut Clock,
    ) -> bool {
        let (progress, images) = (self.progress, self.step_images);
        over(clock(self), &progress, images)
    }

    /// The last weights are kept and, if the run has come to its end, evaluated, unless they were
    /// already.
    async fn end(
        &mut self,
        by_limit: bool,
        kept: Option<u64>,
        handed_on: Option<u64>,
        ports: &mut Ports,
    ) -> Result<()> {
        let steps = self.progress.steps;
        let at_last = || format!("after {steps} steps");
        if by_limit && handed_on != Some(steps) && ports.has_consumers() {
            self.hand_on(ports).await.with_context(at_last)?;
        } else if kept != Some(steps) && steps > 0 {
            let weights = self.weights().with_context(at_last)?;
            self.keep(weights, Reason::End);
        }
        Ok(())
    }

    /// Hands the weights on to be evaluated, and keeps them: how good they are may make them the
    /// best so far.
    async fn hand_on(&mut self, ports: &mut Ports) -> Result<Option<u64>> {
        let weights = self.weights()?;
        self.compare(&weights)?;
        self.keep(Arc::clone(&weights), Reason::Evaluation);
        // Nobody evaluating any more is no reason to stop training.
        let _ = ports.send(Item::Weights(weights)).await;
        self.speed.go_on(Instant::now());
        Ok(Some(self.progress.steps))
    }

    fn keep(&mut self, weights: Arc<Weights>, reason: Reason) -> Option<u64> {
        self.events.emit(Event::Checkpoint(Checkpoint { weights, reason }));
        Some(self.progress.steps)
    }

    fn scalars(&self, step: u64, images: usize) -> Step {
        Step {
            step: step as u32,
            learning_rate: self.learning_rate as f32,
            average_decay: average_decay(self.config.moving_average, step),
            seed: kernel_seed(self.seed),
            ..Step::of(images)
        }
    }

    /// Hands on what the step's distributions and pictures are made of, if they are due.
    fn summarize(&mut self, batch: &Batch, step: &Step) -> Result<()> {
        let due = Due {
            histograms: self.is_over(is_due_at, |this| &mut this.summarize),
            images: self.is_over(is_due_at, |this| &mut this.show),
        };
        if due.histograms || due.images {
            // In the order of the steps.
            self.settle()?;
        }
        match &mut self.summaries {
            Some(summaries) => summaries.take(&mut self.trainer, batch, step, due),
            None => Ok(()),
        }
    }

    /// Logs the step just done, as soon as its loss has come: the adapter need not wait for it to be
    /// read.
    fn report(&mut self, total_steps: Option<u64>) -> Result<()> {
        self.settle()?;
        self.trainer.ask(Session::begin_outcome)?;
        let speed = self.speed.take(Instant::now());
        let times = self.trainer.take_times();
        self.reported = self.progress.steps;
        let (progress, learning_rate) = (self.progress, self.learning_rate);
        self.pending = Some(Pending { progress, total_steps, learning_rate, speed, times });
        Ok(())
    }

    /// Hands on what was to be logged and has not come yet.
    fn settle(&mut self) -> Result<()> {
        let Some(line) = self.pending.take() else { return Ok(()) };
        let step = line.progress.steps - 1;
        let at_step = || format!("step {step}");
        let outcome = self.trainer.ask(Session::take_outcome).with_context(at_step)?;
        let loss = self.check(&outcome, step).with_context(at_step)?;
        let Pending { progress, total_steps, learning_rate, speed, times } = line;
        let Rates { images_per_s, batch_s, seconds } = speed;
        let averages = outcome.loss_averages.iter();
        let averages = averages.map(|average| debiased(f64::from(*average), progress.steps));
        let terms = self.graph.loss_terms.iter().zip(&outcome.losses).zip(averages.clone());
        self.events.emit(Event::Step(StepReport {
            step,
            total_steps,
            epoch: progress.epochs(),
            loss,
            loss_average: averages.sum(),
            terms: terms
                .map(|((name, raw), average)| LossTerm {
                    name: name.clone(),
                    raw: f64::from(*raw),
                    average,
                })
                .collect(),
            learning_rate,
            images_per_s,
            batch_s,
            towers: times.map(|times| times.report(seconds)),
        }));
        Ok(())
    }

    /// The sum of the terms of the loss of the step that had this outcome.
    ///
    /// # Errors
    /// [`Diverged`] if a number is not finite, or the loss has blown up.
    fn check(&mut self, outcome: &Outcome, step: u64) -> Result<f64> {
        if let Some((step, tensor)) = outcome.first_not_finite {
            return Err(self.not_finite(step, tensor).into());
        }
        let loss = outcome.losses.iter().map(|term| f64::from(*term)).sum::<f64>();
        let usual = *self.progress.first_loss.get_or_insert(loss.max(1.0));
        let limit = self.config.blow_up * usual;
        if !loss.is_finite() || (limit > 0.0 && loss > limit) {
            let found = format!(
                "its loss is {}, more than {} times the {usual:.4} of the beginning",
                short(loss),
                self.config.blow_up
            );
            return Err(Diverged { step, found, began_bad: true }.into());
        }
        Ok(loss)
    }

    fn not_finite(&self, step: u64, tensor: TensorId) -> Diverged {
        let began_bad = self.graph.losses == Some(tensor);
        let found = match began_bad {
            true => "its loss is not finite".to_owned(),
            false => format!("{} is not finite after it", self.graph.tensor(tensor).name),
        };
        Diverged { step, found, began_bad }
    }

    /// All that a run needs to go on from here. Waits for the adapter.
    fn weights(&mut self) -> Result<Arc<Weights>> {
        if let Some(Resume { weights, .. }) = &self.resumed
            && weights.progress == self.progress
        {
            // There was no step yet, and no loss that says how good they are.
            return Ok(Arc::clone(weights));
        }
        if let Some(summaries) = &mut self.summaries {
            summaries.settle()?;
        }
        self.settle()?;
        // Weights are good only once their flags have been read.
        let outcome = self.trainer.ask(Session::outcome)?;
        // The adapter is done. Reading the weights, and waiting until they are taken, is no step's
        // time.
        self.speed.pause(Instant::now());
        self.check(&outcome, self.progress.steps.saturating_sub(1))?;
        let Some(source) = self.source.clone() else { bail!("nothing was trained on yet") };
        let graph = Arc::clone(&self.graph);
        // What only the optimiser keeps has no flags: all is looked at.
        let mut read = |tensor: TensorId| -> Result<Vec<f32>> {
            let values = self.trainer.read(tensor)?;
            if values.iter().all(|value| value.is_finite()) {
                return Ok(values);
            }
            let last = self.progress.steps.saturating_sub(1);
            Err(self.not_finite(last, tensor).into())
        };
        let raw = graph.parameters.iter().map(|p| read(p.value)).collect::<Result<_>>()?;
        let averages = graph.parameters.iter().map(|p| read(p.average)).collect::<Result<_>>()?;
        let states = graph.states().map(read).collect::<Result<_>>()?;
        let progress = self.progress;
        Ok(Arc::new(Weights { progress, source, graph, raw, averages, states }))
    }
}

/// The batches of a step in what a run goes on from.
fn batches_before(config: &Reducer, context: &Context<'_>) -> u64 {
    let towers = context.run.forms.record().map_or(0, |record| record.towers.len());
    match config.batch {
        BatchOf::Global => 1,
        BatchOf::PerAdapter => towers.max(1) as u64,
    }
}

/// A line of the log whose loss has not been read yet.
struct Pending {
    /// After the step.
    progress: Progress,
    total_steps: Option<u64>,
    learning_rate: f64,
    speed: Rates,
    times: Option<Times>,
}

/// What is done with the weights after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Step = 0,
    Evaluate = 1,
    Keep = 2,
}

/// A loss in a few characters, however large it is.
fn short(loss: f64) -> String {
    if loss.abs() < 1e6 { format!("{loss:.4}") } else { format!("{loss:.3e}") }
}

/// Whether something is due that is counted by the step's own number, as the log is: at 0, 10, 20.
fn is_due_at(clock: &mut Clock, progress: &Progress, batch: u64) -> bool {
    (progress.steps == 1 && !clock.is_never())
        || clock.is_over(&Progress { steps: progress.steps - 1, ..*progress }, batch)
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
