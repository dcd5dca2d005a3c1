//! Where the threads of all towers meet to take the statistics of a batch together.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};

use crate::job::{Lane, Left};
use crate::session::Peers;

/// Why a tower stopped in the middle of a step: another one did. It has lost nothing itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abandoned;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another tower failed in the same step")
    }
}

impl std::error::Error for Abandoned {}

/// A meeting point. The means are summed in the order of the towers, whoever comes first.
#[derive(Debug, Default)]
pub(super) struct Rendezvous {
    state: Mutex<State>,
    changed: Condvar,
    /// Where the towers of other processes meet these.
    others: Option<Lane>,
}

#[derive(Debug, Default)]
struct State {
    /// The towers of this step, in order.
    towers: Vec<usize>,
    /// What each of them brought, with its images.
    brought: Vec<Option<(Vec<f32>, usize)>>,
    /// Meetings so far, and what came of the last one.
    meetings: u64,
    mean: Arc<[f32]>,
    abandoned: bool,
}

impl Rendezvous {
    /// A meeting point of all towers, those of other processes included if there are any.
    pub(super) fn new(others: Option<Lane>) -> Self {
        Self { others, ..Self::default() }
    }

    /// Begins a step of these towers.
    pub(super) fn begin(&self, towers: Vec<usize>) {
        let mut state = self.lock();
        state.brought = vec![None; towers.len()];
        state.towers = towers;
        state.abandoned = false;
    }

    /// Lets everybody go who waits in this step, or will.
    fn abandon(&self) {
        self.lock().abandoned = true;
        self.changed.notify_all();
    }

    /// Abandons the step when it goes, unless it is told that all went well.
    pub(super) fn guard(self: &Arc<Self>) -> Guard {
        Guard(Some(Arc::clone(self)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meet(&self, tower: usize, values: &mut [f32], images: usize) -> Result<()> {
        let mut state = self.lock();
        ensure!(!state.abandoned, Abandoned);
        let Some(place) = state.towers.iter().position(|known| *known == tower) else {
            // It computes by itself.
            return Ok(());
        };
        state.brought[place] = Some((values.to_vec(), images));
        if state.brought.iter().all(Option::is_some) {
            let sums = sums(&state.brought);
            state.brought.fill(None);
            state.mean = match &self.others {
                None => mean(&sums),
                // Everybody here waits for it. Whoever fails there lets them go.
                Some(others) => mean(&over_all(others, &sums)?),
            };
            state.meetings += 1;
            self.changed.notify_all();
        } else {
            let meeting = state.meetings;
            while state.meetings == meeting && !state.abandoned {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            ensure!(state.meetings != meeting, Abandoned);
        }
        // Nobody can have met again: this tower would have had to be there.
        values.copy_from_slice(&state.mean);
        Ok(())
    }
}

/// Lets nobody wait for a tower that failed, or whose thread panicked.
pub(super) struct Guard(Option<Arc<Rendezvous>>);

impl Guard {
    pub(super) fn went_well(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(rendezvous) = &self.0 {
            rendezvous.abandon();
        }
    }
}

/// The images of all, and the sums over them.
fn sums(brought: &[Option<(Vec<f32>, usize)>]) -> Vec<f64> {
    let mut sums: Vec<f64> = vec![0.0];
    for (values, images) in brought.iter().flatten() {
        sums.resize(1 + values.len(), 0.0);
        sums[0] += *images as f64;
        let weighted = values.iter().map(|value| f64::from(*value) * *images as f64);
        sums[1..].iter_mut().zip(weighted).for_each(|(sum, value)| *sum += value);
    }
    sums
}

fn mean(sums: &[f64]) -> Arc<[f32]> {
    let images = sums[0].max(1.0);
    sums[1..].iter().map(|sum| (sum / images) as f32).collect()
}

/// The same of all processes, in the order of their ranks. One that has no images brings nothing.
pub(super) fn over_all(others: &Lane, sums: &[f64]) -> Result<Vec<f64>, Left> {
    let mut all: Vec<f64> = Vec::new();
    for theirs in others.gather(bytemuck::cast_slice(sums))? {
        let theirs = theirs.chunks_exact(size_of::<f64>()).map(bytemuck::pod_read_unaligned);
        let theirs: Vec<f64> = theirs.collect();
        all.resize(all.len().max(theirs.len()), 0.0);
        all.iter_mut().zip(theirs).for_each(|(sum, value)| *sum += value);
    }
    Ok(all)
}

/// A tower's place at the meeting point.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) tower: usize,
    pub(super) rendezvous: Arc<Rendezvous>,
}

impl Peers for Place {
    fn mean(&mut self, values: &mut [f32], images: usize) -> Result<()> {
        self.rendezvous.meet(self.tower, values, images)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// What each tower gets that brings its own number, with so many images.
    fn met(rendezvous: &Arc<Rendezvous>, brought: &[(usize, f32, usize)]) -> Vec<Result<f32>> {
        let threads: Vec<_> = brought
            .iter()
            .map(|(tower, value, images)| {
                let mut place = Place { tower: *tower, rendezvous: Arc::clone(rendezvous) };
                let (mut values, images) = ([*value], *images);
                thread::spawn(move || place.mean(&mut values, images).map(|()| values[0]))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    }

    #[test]
    fn means_are_weighted_by_images_and_the_same_for_all() {
        let rendezvous = Arc::new(Rendezvous::default());
        rendezvous.begin(vec![0, 2]);
        for _ in 0..50 {
            let got = met(&rendezvous, &[(0, 1.0, 3), (2, 5.0, 1)]);
            assert!(got.iter().all(|mean| *mean.as_ref().expect("both came") == 2.0), "{got:?}");
        }
        rendezvous.begin(vec![1]);
        rendezvous.guard().went_well();
        let alone = met(&rendezvous, &[(1, 7.0, 4)]);
        assert_eq!(*alone[0].as_ref().expect("it is alone"), 7.0);
    }

    #[test]
    fn nobody_waits_for_a_tower_that_failed() {
        let rendezvous = Arc::new(Rendezvous::default());
        rendezvous.begin(vec![0, 1]);
        let guard = rendezvous.guard();
        let failing = thread::spawn(move || {
            let _guard = guard;
            panic!("as an adapter may");
        });
        let waited = met(&rendezvous, &[(0, 1.0, 1)]);
        assert!(failing.join().is_err());
        let error = waited[0].as_ref().expect_err("the other never comes");
        assert!(error.is::<Abandoned>(), "{error}");
    }
}
