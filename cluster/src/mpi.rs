//! Processes that an MPI launcher has started. Nothing else names the crate `mpi`.
//!
//! All collectives are those that do not block: they are asked for, and whoever waits for one tries
//! again and again whether it is done, giving the core away in between, which another process of
//! the same machine may need. A lane is a communicator of its own.
//!
//! Sums are not taken by MPI. Its all-reduce may add in any order, another one for another number
//! of processes, length of message or version, and floating-point sums have other bits then. Here
//! each process is sent one block of the numbers by all, which it adds in the order of the ranks;
//! then all have the sums of all blocks. That moves as many bytes as the best all-reduce does:
//! `2 (n - 1) / n` of the numbers to and from each of `n` processes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use compute::job::{Job, Ranks};
use mpi::Threading;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::request::{Request, Scope, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives as _};

/// What launchers tell their processes: Open MPI, those that speak PMIx, those that speak PMI.
const LAUNCHERS: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"];

/// Numbers that are summed at a time: 1 MiB, or more where that would be less than 16 KiB for each
/// process, as each message has its price. While one piece is added up, others are on their way.
const PIECE: usize = 1 << 18;
const LEAST_BLOCK: usize = 1 << 12;

/// Pieces that are on their way at the same time: what they take in memory is bounded.
const WINDOW: usize = 16;

/// Bytes that are gathered at a time, from all processes together: MPI counts them in 31 bits.
const GATHERED: usize = 1 << 30;

/// How long a wait asks without a break; afterwards it sleeps for a moment each time. Yielding
/// instead would cost a whole time slice, some ms, wherever anything else wants the core.
const EAGER: Duration = Duration::from_micros(100);
const NAP: Duration = Duration::from_micros(20);

/// Whether this process was started by a launcher.
pub(crate) fn is_launched() -> bool {
    LAUNCHERS.iter().any(|name| std::env::var_os(name).is_some())
}

/// The job of all processes that were started together.
pub(crate) fn join() -> Result<Job> {
    let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Multiple) else {
        bail!("MPI is in use already");
    };
    ensure!(
        threading >= Threading::Multiple,
        "this MPI lets only one thread of a process speak at a time, and a run needs several.\n\
         Use one that was built with MPI_THREAD_MULTIPLE, as Open MPI and MPICH are by default"
    );
    let world = universe.world();
    let (rank, size) = (world.rank() as usize, world.size() as usize);
    let host = mpi::environment::processor_name().unwrap_or_else(|_| "unknown host".to_owned());
    let connection = Mutex::new(Connection { channels: Vec::new(), universe: Some(universe) });
    let pieces = Mutex::default();
    Ok(Job::of(Box::new(Mpi { rank, size, host, connection, pieces })))
}

#[derive(Debug)]
struct Mpi {
    rank: usize,
    size: usize,
    host: String,
    connection: Mutex<Connection>,
    /// Kept from sum to sum: fresh memory takes longer than to fill it.
    pieces: Mutex<Vec<Piece>>,
}

struct Connection {
    /// One for each lane. They go before the universe does.
    channels: Vec<Arc<Channel>>,
    universe: Option<Universe>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} lanes", self.channels.len())
    }
}

struct Channel(SimpleCommunicator);

// SAFETY: a communicator is a handle that MPI_THREAD_MULTIPLE, without which nobody joins, lets any
// thread use; on one communicator threads take turns, as a lane belongs to one thread at a time.
unsafe impl Send for Channel {}
// SAFETY: as above.
unsafe impl Sync for Channel {}

impl Mpi {
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn channel(&self, lane: usize) -> Arc<Channel> {
        Arc::clone(&self.connection().channels[lane])
    }
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn host(&self) -> String {
        self.host.clone()
    }

    fn open(&self, lanes: usize) {
        let mut connection = self.connection();
        let Some(world) = connection.universe.as_ref().map(Universe::world) else { return };
        while connection.channels.len() < lanes {
            connection.channels.push(Arc::new(Channel(world.duplicate())));
        }
    }

    fn meet(&self, lanes: &[usize], mine: [u64; 2]) -> Vec<[u64; 2]> {
        let channels: Vec<_> = lanes.iter().map(|lane| self.channel(*lane)).collect();
        let mut all = vec![vec![0_u64; 2 * self.size]; lanes.len()];
        scope(|scope| {
            let asked = channels.iter().zip(&mut all).map(|(channel, all)| {
                channel.0.immediate_all_gather_into(scope, &mine[..], &mut all[..])
            });
            // All are under way before the first is waited for.
            let asked: Vec<_> = asked.collect();
            for request in asked {
                wait(request);
            }
        });
        let first = all.first().map_or(&[] as &[u64], Vec::as_slice);
        first.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect()
    }

    fn gather(&self, lane: usize, mine: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
        let channel = self.channel(lane);
        let mut all: Vec<Vec<u8>> = lengths.iter().map(|len| Vec::with_capacity(*len)).collect();
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let at_once = GATHERED / self.size;
        for begin in (0..longest).step_by(at_once) {
            let part = |len: usize| begin.min(len)..(begin + at_once).min(len);
            let counts: Vec<i32> = lengths.iter().map(|len| part(*len).len() as i32).collect();
            let places: Vec<i32> = counts
                .iter()
                .scan(0, |next, count| {
                    *next += count;
                    Some(*next - count)
                })
                .collect();
            let mut parts = vec![0_u8; counts.iter().map(|count| *count as usize).sum()];
            let mine = &mine[part(mine.len())];
            let mut into = PartitionMut::new(&mut parts[..], counts.as_slice(), places.as_slice());
            scope(|scope| {
                let request = channel.0.immediate_all_gather_varcount_into(scope, mine, &mut into);
                wait(request);
            });
            for ((to, count), place) in all.iter_mut().zip(&counts).zip(&places) {
                let (count, place) = (*count as usize, *place as usize);
                to.extend_from_slice(&parts[place..place + count]);
            }
        }
        all
    }

    fn sum(&self, lane: usize, values: &mut [f32]) {
        let channel = self.channel(lane);
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let piece = PIECE.max(self.size * LEAST_BLOCK);
        for window in values.chunks_mut(WINDOW * piece) {
            let count = window.len().div_ceil(piece);
            if pieces.len() < count {
                pieces.resize_with(count, Piece::default);
            }
            sum(&channel.0, self.size, window, piece, &mut pieces[..count]);
        }
    }

    fn finish(&self) {
        let mut connection = self.connection();
        connection.channels.clear();
        connection.universe = None;
    }
}

/// Some numbers on their way: a block of them for each process.
#[derive(Debug, Default)]
struct Piece {
    sent: Vec<f32>,
    /// This process's block, from each process.
    received: Vec<f32>,
    summed: Vec<f32>,
    gathered: Vec<f32>,
}

impl Piece {
    fn fill(&mut self, values: &[f32], processes: usize) {
        let block = values.len().div_ceil(processes);
        self.sent.clear();
        self.sent.extend_from_slice(values);
        self.sent.resize(block * processes, 0.0);
        self.received.resize(block * processes, 0.0);
        self.summed.resize(block, 0.0);
        self.gathered.resize(block * processes, 0.0);
    }
}

/// Sums that are taken in the order of the ranks, of so many numbers in each piece.
fn sum(
    world: &SimpleCommunicator,
    processes: usize,
    values: &mut [f32],
    each: usize,
    pieces: &mut [Piece],
) {
    let parts = values.chunks(each).zip(&mut *pieces);
    parts.for_each(|(values, piece)| piece.fill(values, processes));
    scope(|scope| {
        let asked = pieces.iter_mut().map(|piece| {
            let Piece { sent, received, summed, gathered } = piece;
            let blocks = world.immediate_all_to_all_into(scope, &sent[..], &mut received[..]);
            (blocks, summed, gathered)
        });
        let asked: Vec<_> = asked.collect();
        let mut gathering = Vec::new();
        for (blocks, summed, gathered) in asked {
            let mut blocks = wait(blocks).chunks_exact(summed.len());
            summed.copy_from_slice(blocks.next().unwrap_or_default());
            for block in blocks {
                summed.iter_mut().zip(block).for_each(|(sum, value)| *sum += value);
            }
            let gathered = &mut gathered[..];
            gathering.push(world.immediate_all_gather_into(scope, &summed[..], gathered));
        }
        for request in gathering {
            wait(request);
        }
    });
    for (values, piece) in values.chunks_mut(each).zip(pieces) {
        values.copy_from_slice(&piece.gathered[..values.len()]);
    }
}

/// Waits until something is done, and leaves the core to others meanwhile.
fn wait<'a, D: ?Sized, S: Scope<'a>>(mut request: Request<'a, D, S>) -> &'a D {
    let begin = Instant::now();
    loop {
        match request.test_with_data() {
            Ok((_, data)) => return data,
            Err(pending) => request = pending,
        }
        match begin.elapsed() < EAGER {
            true => std::hint::spin_loop(),
            false => thread::sleep(NAP),
        }
    }
}
