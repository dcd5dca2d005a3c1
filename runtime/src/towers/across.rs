//! A step of several processes: the sums of all of them, added up.

use anyhow::Result;

use super::Towers;
use super::rendezvous::over_all;
use super::step::Sums;
use crate::graph::TensorId;
use crate::job::Left;

impl Towers {
    /// The sums of all processes of the job, each taken in the order of their ranks, so that all of
    /// them have the same bits. What layers keep comes from the first process with images.
    ///
    /// # Errors
    /// [`Left`] if a process is gone.
    pub(super) fn across(&mut self, own: Option<Sums>) -> Result<Sums> {
        let zeros = |id: &TensorId| vec![0.0; self.holder.graph().tensor(*id).len()];
        let here = own.is_some();
        let mut sums = own.unwrap_or_else(|| {
            let losses = self.reads.losses.iter().flat_map(zeros).collect();
            Sums::of(losses, self.reads.gradients.iter().map(zeros).collect(), Vec::new())
        });
        if !self.lane.job().is_shared() {
            return Ok(sums);
        }
        let taking_part = self.lane.meet(u64::from(here))?;
        self.exchanged.clear();
        parts(&mut sums).for_each(|part| self.exchanged.extend_from_slice(part));
        self.lane.sum(&mut self.exchanged);
        let mut rest = self.exchanged.as_slice();
        for part in parts(&mut sums) {
            let (values, after) = rest.split_at(part.len());
            part.copy_from_slice(values);
            rest = after;
        }
        if !self.reads.states.is_empty() {
            let first = taking_part.iter().position(|here| *here == 1).unwrap_or_default();
            sums.states = self.states_of(first, &sums.states)?;
        }
        Ok(sums)
    }

    fn states_of(&self, rank: usize, own: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, Left> {
        let mine = if rank == self.lane.job().rank() { own.concat() } else { Vec::new() };
        let mut values = self.lane.gather_reals(&mine)?.swap_remove(rank).into_iter();
        let next =
            |id: &TensorId| values.by_ref().take(self.holder.graph().tensor(*id).len()).collect();
        Ok(self.reads.states.iter().map(next).collect())
    }

    /// How many rounds of means over a batch other processes will take after the last of these.
    ///
    /// # Errors
    /// [`Left`] if a process is gone.
    pub(super) fn idle_rounds(&self, rounds: usize) -> Result<usize, Left> {
        if self.reduces == 0 || !self.lane.job().is_shared() {
            return Ok(0);
        }
        let most = self.lane.meet(rounds as u64)?.into_iter().max().unwrap_or_default();
        Ok(most as usize - rounds)
    }

    /// Takes part in so many rounds without images.
    ///
    /// # Errors
    /// [`Left`] if a process is gone.
    pub(super) fn stand_by(&self, rounds: usize) -> Result<(), Left> {
        let others = self.lane.job().statistics();
        (0..rounds * self.reduces).try_for_each(|_| over_all(&others, &[]).map(drop))
    }
}

/// All that is added up, in a fixed order.
fn parts(sums: &mut Sums) -> impl Iterator<Item = &mut [f32]> {
    let gradients = sums.gradients.iter_mut();
    std::iter::once(&mut sums.losses).chain(gradients).map(Vec::as_mut_slice)
}
