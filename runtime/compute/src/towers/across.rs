//! A step of several processes: the sums of all of them, added up.

use std::time::Instant;

use super::Towers;
use super::rendezvous::over_all;
use crate::job::Left;

impl Towers {
    /// Adds up over all processes of the job what is summed over the towers of this one up to here,
    /// bucket by bucket, each in the order of the ranks, so that all have the same bits. All do this
    /// with the same buckets in the same order. What layers keep comes with the last one, from the
    /// first process with images.
    ///
    /// It waits for the others, while the adapters go on with earlier layers.
    ///
    /// # Errors
    /// [`Left`] if a process is gone.
    pub(super) fn across(&mut self, summed: usize, has_images: bool) -> Result<(), Left> {
        let all = self.layout.len();
        if !self.lane.job().is_shared() {
            return Ok(());
        }
        let start = Instant::now();
        while self.exchanged < self.layout.ends.len() {
            let end = self.layout.ends[self.exchanged];
            if end > summed {
                break;
            }
            // Each may have left since the last bucket.
            let taking_part = self.lane.meet(u64::from(has_images))?;
            self.lane.sum(self.sums.unsettled(end.min(self.layout.summed)));
            self.exchanged += 1;
            if self.exchanged == self.layout.ends.len() && self.layout.summed < all {
                let first = taking_part.iter().position(|here| *here == 1).unwrap_or_default();
                self.states_of(first)?;
            }
            self.sums.settle(end);
        }
        if summed == all {
            self.times.exchange += start.elapsed();
        }
        Ok(())
    }

    /// Takes over what the layers of this process keep.
    fn states_of(&mut self, rank: usize) -> Result<(), Left> {
        let summed = self.layout.summed;
        let own = &self.sums.values()[summed..];
        let mine = if rank == self.lane.job().rank() { own } else { &[] };
        let theirs = self.lane.gather_reals(mine)?.swap_remove(rank);
        self.sums.states_mut().copy_from_slice(&theirs);
        Ok(())
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
