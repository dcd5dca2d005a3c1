//! A job whose processes are threads of one process: what a job does is tested without any others.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use super::{Job, Ranks};

/// One thread's place among the others.
#[derive(Clone, Debug)]
pub struct Threads {
    rank: usize,
    size: usize,
    shared: Arc<Shared>,
}

/// What each brings, by lane and the number of the exchange on it.
type Brought = HashMap<(usize, u64), Vec<Option<Vec<u8>>>>;

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<Exchanges>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Exchanges {
    brought: Brought,
    /// The exchanges of each thread on each lane so far.
    done: HashMap<(usize, usize), u64>,
    /// Of each exchange, how many have seen all of it.
    seen: HashMap<(usize, u64), usize>,
}

impl Threads {
    /// Puts something on some lanes.
    fn bring(&self, lanes: &[usize], mine: &[u8]) -> Vec<(usize, u64)> {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut exchanges = Vec::new();
        for lane in lanes {
            let number = state.done.entry((self.rank, *lane)).or_default();
            let exchange = (*lane, *number);
            *number += 1;
            let all = state.brought.entry(exchange).or_insert_with(|| vec![None; self.size]);
            all[self.rank] = Some(mine.to_vec());
            exchanges.push(exchange);
        }
        self.shared.changed.notify_all();
        exchanges
    }

    /// What all have brought.
    fn take(&self, exchange: (usize, u64)) -> Vec<Vec<u8>> {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let here = state.brought.get(&exchange);
            if let Some(all) = here.and_then(|all| all.iter().cloned().collect::<Option<Vec<_>>>())
            {
                let seen = state.seen.entry(exchange).or_default();
                *seen += 1;
                if *seen == self.size {
                    state.seen.remove(&exchange);
                    state.brought.remove(&exchange);
                }
                return all;
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Ranks for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn host(&self) -> String {
        format!("thread {}", self.rank)
    }

    fn open(&self, _: usize) {}

    fn meet(&self, lanes: &[usize], mine: [u64; 2]) -> Vec<[u64; 2]> {
        let exchanges = self.bring(lanes, bytemuck::cast_slice(&mine));
        let all: Vec<Vec<Vec<u8>>> = exchanges.into_iter().map(|one| self.take(one)).collect();
        let first = all.into_iter().next().unwrap_or_default();
        first.iter().map(|bytes| bytemuck::pod_read_unaligned(bytes)).collect()
    }

    fn gather(&self, lane: usize, mine: &[u8], _: &[usize]) -> Vec<Vec<u8>> {
        let exchange = self.bring(&[lane], mine)[0];
        self.take(exchange)
    }

    fn sum(&self, lane: usize, values: &mut [f32]) {
        let all = self.gather(lane, bytemuck::cast_slice(values), &[]);
        for (rank, theirs) in all.iter().enumerate() {
            let theirs = theirs.chunks_exact(size_of::<f32>()).map(bytemuck::pod_read_unaligned);
            for (sum, value) in values.iter_mut().zip(theirs) {
                let value: f32 = value;
                *sum = if rank == 0 { value } else { *sum + value };
            }
        }
    }

    fn finish(&self) {}
}

/// Does the same in so many threads that are a job together; gives what came of it, by rank.
///
/// # Panics
/// If one of them does.
pub fn together<T: Send>(size: usize, work: impl Fn(Job) -> T + Sync) -> Vec<T> {
    let shared = Arc::<Shared>::default();
    thread::scope(|scope| {
        let work = &work;
        let start = |rank| {
            let ranks = Threads { rank, size, shared: Arc::clone(&shared) };
            scope.spawn(move || work(Job::of(Box::new(ranks))))
        };
        let threads: Vec<_> = (0..size).map(start).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, T>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}
