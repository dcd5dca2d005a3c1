//! A step of several towers.

use std::ops::Range;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use anyhow::{Error, Result, anyhow};

use super::rendezvous::Abandoned;
use super::report::Change;
use super::shares::split;
use super::tower::{Answer, Task, Worked};
use super::{Lost, NoneLeft, OnLoss, Stopped, Towers};
use crate::batch::Batch;
use crate::graph::TensorId;
use crate::job::Left;
use crate::kernel::Step;

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
        self.sums.clear();
        self.exchanged = 0;
        let busy_s = self.gradient(batch, step)?;
        self.apply(step)?;
        self.times.step += start.elapsed();
        self.times.steps += 1;
        if batch.ids.len() == self.batch {
            self.balance(number + 1, &busy_s);
        }
        Ok(())
    }

    /// The sums of all towers of all processes; gives for how many seconds each tower was at work.
    fn gradient(&mut self, batch: &Arc<Batch>, step: &Step) -> Result<Vec<f64>> {
        let all = self.layout.len();
        loop {
            let micro_batches = self.deal(batch.ids.len());
            let rounds = micro_batches.iter().map(Vec::len).max().unwrap_or(0);
            let idle = self.idle_rounds(rounds)?;
            if rounds == 0 && self.lane.job().is_shared() {
                self.stand_by(idle)?;
                self.sums.zero();
                self.across(all, false)?;
                return Ok(vec![0.0; self.towers.len()]);
            }
            // Where processes meet in the middle of a pass, one that waited here for another's sums
            // could not tell it that its own tower, for which that one waits, has failed.
            match self.gather(batch, &micro_batches, step, self.reduces == 0) {
                Ok(busy_s) => {
                    self.stand_by(idle)?;
                    self.across(all, true)?;
                    return Ok(busy_s);
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

    /// Has all towers compute their parts, and sums these in the order of the towers, as far as they
    /// have arrived while adapters are still at work. Where processes add up their sums, they do so
    /// with each bucket that is summed here, `at_once` or not yet.
    fn gather(
        &mut self,
        batch: &Arc<Batch>,
        micro_batches: &[Vec<Range<usize>>],
        step: &Step,
        at_once: bool,
    ) -> Result<Vec<f64>, Vec<Failed>> {
        let taking_part = (0..self.towers.len()).filter(|at| !micro_batches[*at].is_empty());
        let taking_part: Vec<usize> = taking_part.collect();
        let numbers = taking_part.iter().map(|at| self.towers[*at].number).collect();
        self.rendezvous.begin(numbers);
        self.sums.begin(taking_part.len());
        // No tower waits until another one's are summed.
        let (arrivals, arrived) = mpsc::sync_channel(taking_part.len() * self.layout.ends.len());
        let ask = |(place, at): (usize, &usize)| {
            let tower = &mut self.towers[*at];
            let task = Task {
                batch: Arc::clone(batch),
                micro_batches: micro_batches[*at].clone(),
                step: *step,
                upload: tower.upload.take(),
                room: std::mem::take(&mut tower.room),
                place,
                arrivals: arrivals.clone(),
            };
            let guard = self.rendezvous.guard();
            tower.ask(move |session| {
                let worked = task.run(session)?;
                guard.went_well();
                Ok(worked)
            })
        };
        let answers: Vec<Answer<Worked>> = taking_part.iter().enumerate().map(ask).collect();
        drop(arrivals);
        let mut failed: Vec<Failed> = Vec::new();
        // This ends when all towers have, in whatever way.
        for (place, words) in arrived {
            let reducing = Instant::now();
            let summed = self.sums.arrived(place, words);
            self.times.reduce += reducing.elapsed();
            if at_once && let Err(left) = self.across(summed, true) {
                return Err(vec![(taking_part[place], Error::new(left))]);
            }
        }
        let mut done: Vec<Instant> = Vec::new();
        let mut busy_s = vec![0.0; self.towers.len()];
        for (place, (at, answer)) in taking_part.into_iter().zip(answers).enumerate() {
            let tower = &mut self.towers[at];
            tower.room = self.sums.take_room(place);
            match answer.wait() {
                Ok(worked) => {
                    done.push(worked.done);
                    busy_s[at] = (worked.compute + worked.copy).as_secs_f64();
                    let images = micro_batches[at].iter().map(ExactSizeIterator::len).sum();
                    self.times.add(&tower.name, images, worked.compute, worked.copy);
                }
                Err(error) => failed.push((at, error)),
            }
        }
        let found_none = done.is_empty();
        // Whoever only stopped because another one failed has lost nothing.
        failed.retain(|(_, error)| !error.is::<Abandoned>());
        if let (Some(first), Some(last)) = (done.iter().min(), done.iter().max()) {
            self.times.wait += *last - *first;
        }
        if failed.is_empty() && !found_none { Ok(busy_s) } else { Err(failed) }
    }

    /// Applies the update to the weights, and sends them on their way to the towers.
    fn apply(&mut self, step: &Step) -> Result<()> {
        let start = Instant::now();
        let (holder, sums) = (&mut self.holder, self.sums.values());
        let mut tensors = self.layout.tensors.iter();
        let written = tensors.try_for_each(|(id, place)| holder.write(*id, &sums[place.clone()]));
        let applied = written.and_then(|()| holder.update(step));
        applied.map_err(|error| self.without_holder(error))?;
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
                values.iter().try_for_each(|(id, values)| session.write(*id, values))?;
                // All of them in one submit, before the next batch is there.
                session.flush()
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
