//! A step of several towers.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};

use super::journal::Change;
use super::rendezvous::Abandoned;
use super::shares::split;
use super::tower::{Answer, Part, Task};
use super::{Lost, NoneLeft, OnLoss, Stopped, Towers};
use crate::graph::TensorId;
use crate::item::Batch;
use crate::job::Left;
use crate::kernel::Step;

/// The sums of the parts of all towers, and for how long each of them was at work.
pub(super) struct Sums {
    pub(super) losses: Vec<f32>,
    pub(super) gradients: Vec<Vec<f32>>,
    pub(super) states: Vec<Vec<f32>>,
    busy: Vec<Duration>,
}

impl Sums {
    pub(super) fn of(losses: Vec<f32>, gradients: Vec<Vec<f32>>, states: Vec<Vec<f32>>) -> Self {
        Self { losses, gradients, states, busy: Vec::new() }
    }
}

/// A tower that failed, by its position, and why.
type Failed = (usize, Error);

impl Towers {
    /// One step: the loss and the gradient of all towers, then the update.
    ///
    /// # Errors
    /// [`NoneLeft`] if no adapter is left. Until then a step that an adapter does not finish is done
    /// again by the others, unless a loss is to end the run. [`Left`] if another process of the job
    /// is gone; the weights are then those from before the step.
    pub fn train(&mut self, batch: &Arc<Batch>, step: &Step) -> Result<()> {
        let start = Instant::now();
        let number = u64::from(step.step);
        self.step = number;
        self.begin(number);
        let own = self.own(batch, step)?;
        let exchanging = Instant::now();
        let sums = self.across(own)?;
        self.times.exchange += exchanging.elapsed();
        let busy_s: Vec<f64> = sums.busy.iter().map(Duration::as_secs_f64).collect();
        self.apply(&sums, step)?;
        self.times.step += start.elapsed();
        self.times.steps += 1;
        if batch.ids.len() == self.batch {
            self.balance(number + 1, &busy_s);
        }
        Ok(())
    }

    /// The sums of all towers of this process; `None` if it has no images of this batch.
    fn own(&mut self, batch: &Arc<Batch>, step: &Step) -> Result<Option<Sums>> {
        loop {
            let micro_batches = self.deal(batch.ids.len());
            let rounds = micro_batches.iter().map(Vec::len).max().unwrap_or(0);
            let idle = self.idle_rounds(rounds)?;
            let sums = match rounds {
                0 if self.lane.job().is_shared() => Ok(None),
                _ => self.gather(batch, &micro_batches, step).map(Some),
            };
            match sums {
                Ok(sums) => {
                    self.stand_by(idle)?;
                    return Ok(sums);
                }
                Err(failed) => self.let_go(u64::from(step.step), failed)?,
            }
        }
    }

    /// Takes the shares that are given for a step, or writes down those that the run begins with.
    fn begin(&mut self, step: u64) {
        let mut given = None;
        while let Some(change) = self.given.next_if(|change| change.step <= step) {
            given = Some(change);
        }
        if let Some(Change { shares, .. }) = &given {
            let share = |name: &String| shares.get(name).map_or(0.0, |images| *images as f64);
            self.weights = self.towers.iter().map(|tower| share(&tower.name)).collect();
        }
        if !self.written {
            self.written = true;
            // Nothing better is known to begin with, whether or not it could be written down.
            let _ = self.watch.shares(&self.change(step, &self.weights));
        } else if given.is_some() {
            let _ = self.watch.shares(&self.change(step, &self.weights));
        }
    }

    fn change(&self, step: u64, weights: &[f64]) -> Change {
        let names = self.towers.iter().map(|tower| tower.name.clone());
        Change { step, shares: names.zip(split(self.batch, weights)).collect() }
    }

    /// The micro-batches of each tower; none for one that sits out.
    ///
    /// Where statistics of a batch are taken by all, each needs as many micro-batches as the
    /// others. A tower whose share has fewer images than that leaves them to the others.
    fn deal(&self, images: usize) -> Vec<Vec<Range<usize>>> {
        let mut weights = self.weights.clone();
        loop {
            let shares = split(images, &weights);
            let mut counts: Vec<usize> = shares
                .iter()
                .zip(&self.towers)
                .map(|(share, tower)| share.div_ceil(tower.micro_batch))
                .collect();
            if self.reduces > 0 {
                let most = counts.iter().copied().max().unwrap_or(0);
                counts.fill(most);
                let too_small = |at: &usize| weights[*at] > 0.0 && shares[*at] < most;
                if let Some(at) = (0..weights.len()).find(too_small) {
                    weights[at] = 0.0;
                    continue;
                }
            }
            let mut first = 0;
            let cut = |(share, count): (usize, usize)| {
                let start = first;
                first += share;
                (0..count.min(share))
                    .map(|part| start + share * part / count..start + share * (part + 1) / count)
                    .collect()
            };
            return shares.into_iter().zip(counts).map(cut).collect();
        }
    }

    /// Has all towers compute their parts, and sums these in the order of the towers. The sum of
    /// the first ones is taken while later ones are still at work.
    fn gather(
        &mut self,
        batch: &Arc<Batch>,
        micro_batches: &[Vec<Range<usize>>],
        step: &Step,
    ) -> Result<Sums, Vec<Failed>> {
        let taking_part = (0..self.towers.len()).filter(|at| !micro_batches[*at].is_empty());
        let taking_part: Vec<usize> = taking_part.collect();
        let numbers = taking_part.iter().map(|at| self.towers[*at].number).collect();
        self.rendezvous.begin(numbers);
        let ask = |at: &usize| {
            let task = Task {
                batch: Arc::clone(batch),
                micro_batches: micro_batches[*at].clone(),
                step: *step,
                reads: Arc::clone(&self.reads),
            };
            let guard = self.rendezvous.guard();
            self.towers[*at].ask(move |session| {
                let part = task.run(session)?;
                guard.went_well();
                Ok(part)
            })
        };
        let answers: Vec<Answer<Part>> = taking_part.iter().map(ask).collect();
        let mut failed: Vec<Failed> = Vec::new();
        let mut sums: Option<Sums> = None;
        let (mut first_done, mut last_done) = (None::<Instant>, None::<Instant>);
        let mut busy = vec![Duration::ZERO; self.towers.len()];
        for (at, answer) in taking_part.into_iter().zip(answers) {
            // What went wrong on the way to the adapter comes first.
            let uploaded = self.towers[at].upload.take().map_or(Ok(()), Answer::wait);
            let part = match uploaded.and_then(|()| answer.wait()) {
                Ok(part) => part,
                Err(error) => {
                    failed.push((at, error));
                    continue;
                }
            };
            first_done = Some(first_done.map_or(part.done, |first| first.min(part.done)));
            last_done = Some(last_done.map_or(part.done, |last| last.max(part.done)));
            busy[at] = part.compute + part.copy;
            let images = micro_batches[at].iter().map(ExactSizeIterator::len).sum();
            self.times.add(&self.towers[at].name, images, part.compute, part.copy);
            let reducing = Instant::now();
            match &mut sums {
                None => {
                    let Part { losses, gradients, states, .. } = part;
                    sums = Some(Sums::of(losses, gradients, states));
                }
                Some(sums) => {
                    add(&mut sums.losses, &part.losses);
                    sums.gradients.iter_mut().zip(&part.gradients).for_each(|(to, g)| add(to, g));
                }
            }
            self.times.reduce += reducing.elapsed();
        }
        // Whoever only stopped because another one failed has lost nothing.
        failed.retain(|(_, error)| !error.is::<Abandoned>());
        if let (Some(first), Some(last)) = (first_done, last_done) {
            self.times.wait += last - first;
        }
        match sums {
            Some(sums) if failed.is_empty() => Ok(Sums { busy, ..sums }),
            _ => Err(failed),
        }
    }

    /// Applies the update to the weights, and sends them on their way to the towers.
    fn apply(&mut self, sums: &Sums, step: &Step) -> Result<()> {
        let start = Instant::now();
        let reads = Arc::clone(&self.reads);
        self.ask(|holder| {
            let gradients = reads.gradients.iter().zip(&sums.gradients);
            let states = reads.states.iter().zip(&sums.states);
            let losses = reads.losses.iter().zip(std::iter::once(&sums.losses));
            for (id, values) in gradients.chain(states).chain(losses) {
                holder.write(*id, values)?;
            }
            holder.update(step)
        })?;
        // With what layers keep: a tower that sat out knows nothing of it, and where each has taken
        // statistics of its own, those of the first count.
        let changed = self.changing.clone();
        self.send(&changed)?;
        self.times.update += start.elapsed();
        Ok(())
    }

    /// Sends all that replicas must know of the weights to all towers.
    pub(super) fn send_all(&mut self) -> Result<()> {
        let all = self.spread.clone();
        self.send(&all)
    }

    /// Sends these tensors to all towers. What fails on the way is found in the next step.
    fn send(&mut self, tensors: &[TensorId]) -> Result<()> {
        let values: Vec<(TensorId, Vec<f32>)> = self.ask(|holder| {
            let read = |id: &TensorId| Ok((*id, holder.read(*id)?));
            tensors.iter().map(read).collect()
        })?;
        let values = Arc::new(values);
        for tower in &mut self.towers {
            // An earlier upload that failed is no less a failure for a later one.
            let before = tower.upload.take();
            let values = Arc::clone(&values);
            tower.upload = Some(tower.ask(move |session| {
                before.map_or(Ok(()), Answer::wait)?;
                values.iter().try_for_each(|(id, values)| session.write(*id, values))
            }));
        }
        Ok(())
    }

    /// Goes on without the towers that failed.
    fn let_go(&mut self, step: u64, failed: Vec<Failed>) -> Result<()> {
        if failed.is_empty() {
            return Err(anyhow!("no tower takes part in step {step}"));
        }
        if let Some(left) = failed.iter().find_map(|(_, error)| error.downcast_ref::<Left>()) {
            return Err(Error::new(*left));
        }
        let mut last = None;
        // The last first: what comes before stays where it is.
        for (at, error) in failed.into_iter().rev() {
            let tower = self.towers.remove(at);
            self.weights.remove(at);
            if let Some(balancer) = &mut self.balancer {
                balancer.forget(at);
            }
            let lost = Lost { who: tower.who(), step, cause: format!("{error:#}") };
            tower.abandon();
            self.watch.lost(&lost);
            last = Some(lost);
        }
        let lost = last.ok_or_else(|| anyhow!("no tower failed in step {step}"))?;
        // Others wait in the middle of this step for what the lost one had.
        if self.reduces > 0 && self.lane.job().is_shared() {
            return Err(anyhow!("{lost}"));
        }
        match self.on_loss {
            OnLoss::Stop => Err(Error::new(Stopped(lost))),
            OnLoss::Continue if self.towers.is_empty() => Err(Error::new(NoneLeft(lost))),
            OnLoss::Continue => {
                // Layers may have changed what they keep.
                self.send_all()?;
                // Shares that are given for later steps count on a tower that is gone.
                self.given = Vec::new().into_iter().peekable();
                let _ = self.watch.shares(&self.change(step, &self.weights));
                Ok(())
            }
        }
    }

    /// Looks whether other shares would be better from this step on.
    fn balance(&mut self, step: u64, busy_s: &[f64]) {
        if self.given.peek().is_some() {
            return;
        }
        let shares = split(self.batch, &self.weights);
        let Some(balancer) = &mut self.balancer else { return };
        let Some(better) = balancer.observe(&shares, busy_s) else { return };
        let weights: Vec<f64> = better.iter().map(|images| *images as f64).collect();
        if self.watch.shares(&self.change(step, &weights)) {
            self.weights = weights;
        }
    }
}

fn add(to: &mut [f32], values: &[f32]) {
    to.iter_mut().zip(values).for_each(|(to, value)| *to += value);
}
