//! Where the numbers of tensors lie while kernels run on several threads.

use std::ops::Range;
use std::sync::{Mutex, PoisonError, TryLockError};

use super::Buffer;
use super::plan::{Group, Plan};
use crate::aligned::Aligned;
use crate::graph::TensorId;

/// The memory of a replica as kernels see it.
#[derive(Debug)]
pub(super) struct Memory<T> {
    places: Vec<Place<T>>,
    /// One for each thread.
    threads: Vec<Mutex<Local<T>>>,
}

/// What lies in the memory of a thread.
#[derive(Debug)]
pub(super) struct Local<T> {
    pub(super) reals: Aligned<T>,
    pub(super) indices: Aligned<u32>,
}

/// The numbers of a tensor, wherever they are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<T> {
    Real(*mut T, usize),
    Index(*mut u32, usize),
    Absent,
}

// SAFETY: a place is only turned into a slice by `numbers` and `numbers_mut`, whose callers promise
// that no other thread changes what they take.
unsafe impl<T: Send> Send for Place<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Place<T> {}

impl<T: Copy + Default> Memory<T> {
    pub(super) fn new(threads: usize) -> Self {
        let local = || Local { reals: Aligned::default(), indices: Aligned::default() };
        let threads = (0..threads).map(|_| Mutex::new(local())).collect();
        Self { places: Vec::new(), threads }
    }

    /// Notes where all tensors lie: valid until the buffers are used otherwise.
    pub(super) fn place(&mut self, buffers: &mut [Buffer<T>]) {
        self.places.clear();
        self.places.extend(buffers.iter_mut().map(|buffer| match buffer {
            Buffer::Real(values) => Place::Real(values.as_mut_ptr(), values.len()),
            Buffer::Index(values) => Place::Index(values.as_mut_ptr(), values.len()),
            Buffer::Absent => Place::Absent,
        }));
    }

    pub(super) fn of(&self, tensor: TensorId) -> Place<T> {
        self.places[tensor.0]
    }

    /// Makes room for the local tensors of a plan on all threads.
    pub(super) fn reserve(&mut self, plan: &Plan) {
        let len = plan.groups.iter().map(|group| match group {
            Group::Sliced(group) => group.local_len * group.at_once,
            Group::Whole(_) => 0,
        });
        let len = len.max().unwrap_or(0);
        for local in &mut self.threads {
            let local = local.get_mut().unwrap_or_else(PoisonError::into_inner);
            if local.reals.len() < len {
                *local = Local { reals: Aligned::zeros(len), indices: Aligned::zeros(len) };
            }
        }
    }

    /// Lends the memory of the thread at hand.
    ///
    /// # Panics
    /// If the thread has it already: the work waited for other threads and was given more of its
    /// kind meanwhile. That is a kernel's programming error.
    pub(super) fn on_thread<R>(&self, work: impl FnOnce(&mut Local<T>) -> R) -> R {
        let thread = rayon::current_thread_index().unwrap_or(0);
        match self.threads[thread].try_lock() {
            Ok(mut local) => work(&mut local),
            // The panic that poisoned it has ended that run; what it holds is of no later one.
            Err(TryLockError::Poisoned(poisoned)) => work(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                panic!("a kernel that takes some images at a time made use of other threads")
            }
        }
    }
}

/// Some numbers of a tensor.
///
/// # Safety
/// Nobody writes them for the lifetime of the slice.
///
/// # Panics
/// If the tensor has fewer.
pub(super) unsafe fn numbers<'a, T>((first, len): (*mut T, usize), range: Range<usize>) -> &'a [T] {
    assert!(range.start <= range.end && range.end <= len, "{range:?} of {len} numbers");
    // SAFETY: the range lies in the tensor; the rest is the caller's promise.
    unsafe { std::slice::from_raw_parts(first.add(range.start), range.len()) }
}

/// Some numbers of a tensor, to write.
///
/// # Safety
/// Nobody else reads or writes them for the lifetime of the slice.
///
/// # Panics
/// If the tensor has fewer.
pub(super) unsafe fn numbers_mut<'a, T>(
    (first, len): (*mut T, usize),
    range: Range<usize>,
) -> &'a mut [T] {
    assert!(range.start <= range.end && range.end <= len, "{range:?} of {len} numbers");
    // SAFETY: the range lies in the tensor; the rest is the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(first.add(range.start), range.len()) }
}
