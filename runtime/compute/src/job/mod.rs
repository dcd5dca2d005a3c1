//! The processes that run one pipeline together.
//!
//! All read the same pipeline and draw the same order of images; each computes its own images of
//! every batch. What they exchange goes over lanes, one for each thread that has something to
//! exchange, so that no thread waits for another one's turn. On a lane all processes do the same
//! things in the same order. A process that fails or is stopped leaves its lanes: whoever meets it
//! next on one of them is told so instead of waiting for ever.
//!
//! How numbers get from one process to another is behind [`Ranks`]. Here are a process that is
//! alone, and [`threads`](threads::Threads) for tests.

pub mod alone;
pub mod seats;
pub mod threads;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};

use self::alone::Alone;
use self::seats::Seats;

/// The processes of a job, and what carries numbers between them. They are counted from 0: their
/// ranks. A lane is used by one thread at a time.
pub trait Ranks: fmt::Debug + Send + Sync {
    /// This process.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// The machine of this process.
    fn host(&self) -> String;

    /// Makes lanes until there are so many. All processes do this at the same time.
    fn open(&self, lanes: usize);

    /// Waits until all are there on each of these lanes, and gives what each process brought to
    /// the first one.
    fn meet(&self, lanes: &[usize], mine: [u64; 2]) -> Vec<[u64; 2]>;

    /// The bytes of all processes, whose numbers each knows, in the order of the ranks.
    fn gather(&self, lane: usize, mine: &[u8], lengths: &[usize]) -> Vec<Vec<u8>>;

    /// Replaces numbers by their sums over all processes, each taken in the order of the ranks: the
    /// same bits everywhere, and every time.
    fn sum(&self, lane: usize, values: &mut [f32]);

    /// Ends the connection. Nothing may be exchanged any more.
    fn finish(&self);
}

/// A process has left the job: it failed, or was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Which one, if this one noticed it.
    pub rank: Option<usize>,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rank {
            Some(rank) => write!(f, "process {rank} has left the job"),
            None => f.write_str("the job has ended"),
        }
    }
}

impl std::error::Error for Left {}

/// What a lane is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// The beginning and the end. Nobody leaves it.
    Whole = 0,
    /// What is compared once all stages are built.
    Built = 1,
    /// Statistics of a batch in the middle of a pass.
    Statistics = 2,
}

/// Lanes before those of the stages.
const FIXED: usize = 3;

const PRESENT: u64 = 0;
const LEAVING: u64 = 1;

/// This process's place in a job; by itself if there is no other process.
#[derive(Clone, Debug)]
pub struct Job(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ranks: Box<dyn Ranks>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The stages, which have a lane each.
    stages: Vec<String>,
    /// Of each lane, whether somebody has left it.
    left: Vec<Arc<AtomicBool>>,
    seats: Seats,
    /// What must be alike in all processes.
    alike: Vec<(String, String)>,
}

impl Default for Job {
    fn default() -> Self {
        Self::of(Box::new(Alone))
    }
}

impl Job {
    /// A process by itself: what a program joins that knows of no others.
    ///
    /// # Errors
    /// None.
    pub fn alone() -> Result<Self> {
        Ok(Self::default())
    }

    /// The job of these processes. All of them do this at the same time.
    pub fn of(ranks: Box<dyn Ranks>) -> Self {
        ranks.open(FIXED);
        let left = (0..FIXED).map(|_| Arc::default()).collect();
        let state = Mutex::new(State { left, ..State::default() });
        Self(Arc::new(Inner { ranks, state }))
    }

    /// This process.
    pub fn rank(&self) -> usize {
        self.0.ranks.rank()
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.0.ranks.size()
    }

    /// Whether there are others.
    pub fn is_shared(&self) -> bool {
        self.size() > 1
    }

    /// Whether this is the process that writes the run's folder and speaks for all.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Such as `process 2 of 4 (node17)`.
    pub fn who(&self) -> String {
        format!("process {} of {} ({})", self.rank(), self.size(), self.0.ranks.host())
    }

    /// Begins a run of these stages. All processes do this at the same time.
    pub fn begin<'a>(&self, stages: impl Iterator<Item = &'a str>) {
        let mut state = self.state();
        state.stages = stages.map(str::to_owned).collect();
        let lanes = FIXED + state.stages.len();
        state.left = (0..lanes).map(|_| Arc::default()).collect();
        state.seats = Seats::default();
        state.alike.clear();
        self.0.ranks.open(lanes);
    }

    /// Leaves all lanes that nobody has left yet, and waits until the others do so as well.
    pub fn leave(&self) {
        let lanes: Vec<usize> = {
            let state = self.state();
            let lanes = state.left.iter().enumerate().skip(Use::Built as usize);
            lanes.filter(|(_, left)| !left.swap(true, Ordering::SeqCst)).map(|(at, _)| at).collect()
        };
        if !lanes.is_empty() {
            self.0.ranks.meet(&lanes, [LEAVING, 0]);
        }
    }

    /// Ends the connection to the others.
    pub fn finish(&self) {
        self.0.ranks.finish();
    }

    /// The lane of the beginning and the end.
    pub fn whole(&self) -> Lane {
        self.lane(Use::Whole as usize)
    }

    /// The lane of statistics in the middle of a pass.
    pub fn statistics(&self) -> Lane {
        self.lane(Use::Statistics as usize)
    }

    /// The lane of a stage.
    ///
    /// # Errors
    /// If the run has no such stage.
    pub fn lane_of(&self, stage: &str) -> Result<Lane> {
        if !self.is_shared() {
            return Ok(self.whole());
        }
        let at = self.state().stages.iter().position(|known| known == stage);
        match at {
            Some(at) => Ok(self.lane(FIXED + at)),
            None => bail!("the job has no stage {stage}"),
        }
    }

    fn lane(&self, index: usize) -> Lane {
        let left = Arc::clone(&self.state().left[index]);
        Lane { job: self.clone(), index, left }
    }

    /// Which images of each batch are this process's.
    pub fn seats(&self) -> Seats {
        self.state().seats.clone()
    }

    /// Says which they are.
    pub fn take_seats(&self, seats: Seats) {
        self.state().seats = seats;
    }

    /// Notes what all processes must have alike, to be compared before the first step.
    pub fn alike(&self, what: impl Into<String>, value: impl Into<String>) {
        self.state().alike.push((what.into(), value.into()));
    }

    /// Compares what was noted.
    ///
    /// # Errors
    /// What another process has that the first one has not; [`Left`] if one is gone.
    pub fn compare(&self) -> Result<()> {
        if !self.is_shared() {
            return Ok(());
        }
        let mine = std::mem::take(&mut self.state().alike);
        let all = self.lane(Use::Built as usize).gather(&serde_json::to_vec(&mine)?)?;
        let mut first: Vec<(String, String)> = Vec::new();
        for (rank, theirs) in all.iter().enumerate() {
            let theirs: Vec<(String, String)> = serde_json::from_slice(theirs)?;
            if rank == 0 {
                first = theirs;
            } else if let Some(difference) = difference(&first, &theirs) {
                bail!("process {rank} has {difference}");
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics while it holds the lock.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What differs first, for people.
fn difference(first: &[(String, String)], other: &[(String, String)]) -> Option<String> {
    let value = |of: &[(String, String)], what: &str| {
        let found = of.iter().find(|(known, _)| known == what);
        found.map_or_else(|| "nothing".to_owned(), |(_, value)| value.clone())
    };
    let names = first.iter().chain(other).map(|(what, _)| what);
    let differs = |what: &&String| value(first, what) != value(other, what);
    let what = names.into_iter().find(differs)?;
    Some(format!(
        "another {what} than process 0: {}, where that has {}",
        value(other, what),
        value(first, what)
    ))
}

/// What the same thread of all processes exchanges, one thing after the other.
#[derive(Clone, Debug)]
pub struct Lane {
    job: Job,
    index: usize,
    left: Arc<AtomicBool>,
}

impl Default for Lane {
    /// That of a process by itself.
    fn default() -> Self {
        Job::default().whole()
    }
}

impl Lane {
    /// The job.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// A number of each process, in the order of the ranks.
    ///
    /// # Errors
    /// [`Left`] if a process is gone.
    pub fn meet(&self, mine: u64) -> Result<Vec<u64>, Left> {
        if self.left.load(Ordering::SeqCst) {
            return Err(Left { rank: None });
        }
        let all = self.job.0.ranks.meet(&[self.index], [PRESENT, mine]);
        if let Some(rank) = all.iter().position(|[state, _]| *state == LEAVING) {
            self.left.store(true, Ordering::SeqCst);
            return Err(Left { rank: Some(rank) });
        }
        Ok(all.into_iter().map(|[_, value]| value).collect())
    }

    /// The bytes of each process, in the order of the ranks.
    ///
    /// # Errors
    /// [`Left`] if a process is gone.
    pub fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>, Left> {
        let lengths = self.meet(mine.len() as u64)?;
        let lengths: Vec<usize> = lengths.into_iter().map(|length| length as usize).collect();
        Ok(self.job.0.ranks.gather(self.index, mine, &lengths))
    }

    /// The numbers of each process, in the order of the ranks.
    ///
    /// # Errors
    /// [`Left`] if a process is gone.
    pub fn gather_reals(&self, mine: &[f32]) -> Result<Vec<Vec<f32>>, Left> {
        let all = self.gather(bytemuck::cast_slice(mine))?;
        let reals = |bytes: &Vec<u8>| {
            bytes.chunks_exact(size_of::<f32>()).map(bytemuck::pod_read_unaligned).collect()
        };
        Ok(all.iter().map(reals).collect())
    }

    /// Replaces numbers by their sums over all processes, in the order of the ranks. All have just
    /// met here: nobody can have left.
    pub fn sum(&self, values: &mut [f32]) {
        self.job.0.ranks.sum(self.index, values);
    }
}

#[cfg(test)]
mod tests {
    use super::threads::together;
    use super::*;

    const STAGES: [&str; 2] = ["train", "score"];

    #[test]
    fn all_processes_see_the_same_in_the_same_order() {
        let seen = together(3, |job| {
            job.begin(STAGES.into_iter());
            let lane = job.lane_of("train").expect("it is there");
            let numbers = lane.meet(10 + job.rank() as u64).expect("all are there");
            let bytes = lane.gather(&vec![job.rank() as u8; job.rank()]).expect("all are there");
            // Not associative: 1 is lost beside 1e8 unless the large ones cancel before.
            let mut sums = vec![[1e8, 1.0, -1e8][job.rank()]; 5];
            lane.sum(&mut sums);
            job.leave();
            (numbers, bytes, sums)
        });
        for (numbers, bytes, sums) in seen {
            assert_eq!(numbers, [10, 11, 12]);
            assert_eq!(bytes, [vec![], vec![1], vec![2, 2]]);
            assert_eq!(sums, [(1e8_f32 + 1.0) - 1e8; 5]);
        }
    }

    #[test]
    fn nobody_waits_for_a_process_that_has_left() {
        let met = together(3, |job| {
            job.begin(STAGES.into_iter());
            let [train, score] = STAGES.map(|stage| job.lane_of(stage).expect("it is there"));
            let mut met = 0;
            if job.rank() != 1 {
                while train.meet(0).is_ok() {
                    met += 1;
                }
                assert_eq!(train.meet(0), Err(Left { rank: None }));
                assert_eq!(score.meet(0), Err(Left { rank: Some(1) }));
            } else {
                train.meet(0).expect("all are there");
                train.meet(0).expect("all are there");
            }
            job.leave();
            // All meet again in the next run.
            job.begin(STAGES.into_iter());
            let again = job.lane_of("train").expect("it is there").meet(7);
            assert_eq!(again, Ok(vec![7; 3]));
            job.leave();
            met
        });
        assert_eq!(met, [2, 0, 2]);
    }

    #[test]
    fn what_is_not_alike_is_told() {
        let told = together(2, |job| {
            job.begin(STAGES.into_iter());
            job.alike("data of read", "CIFAR-10");
            job.alike("instructions", ["avx2", "avx512"][job.rank()]);
            let told = job.compare().map_err(|error| error.to_string());
            job.leave();
            told
        });
        let expected = "process 1 has another instructions than process 0: avx512, where that has \
                        avx2";
        assert!(told.iter().all(|told| told == &Err(expected.to_owned())), "{told:?}");
    }
}
