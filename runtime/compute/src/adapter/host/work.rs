//! Runs what a plan says.

use std::ops::Range;

use rayon::prelude::*;

use super::Number;
use super::memory::{Local, Memory, Place, numbers, numbers_mut};
use super::plan::{Group, Plan, Sliced, op};
use crate::graph::{Graph, Op, TensorId};
use crate::isa::Isa;
use crate::kernel::{Access, Args, Dtype, Extent, Pass, Slot, Step};
use crate::precision::Precision;

/// A plan and all that it needs.
pub(super) struct Work<'a, T> {
    pub(super) graph: &'a Graph,
    pub(super) plan: &'a Plan,
    pub(super) memory: &'a Memory<T>,
    pub(super) step: &'a Step,
    pub(super) isa: Isa,
    pub(super) precision: Precision,
}

/// What of the batch a call of a kernel gets.
#[derive(Clone)]
struct Share<'a> {
    images: Range<usize>,
    /// The group whose local tensors lie in the thread's memory.
    group: Option<&'a Sliced>,
}

impl<T: Number> Work<'_, T> {
    /// To be called on a thread of the adapter's.
    pub(super) fn run(&self) {
        for group in &self.plan.groups {
            match group {
                Group::Whole(at) => {
                    let Some(op) = op(self.graph, *at) else { continue };
                    let images = 0..self.step.images as usize;
                    // SAFETY: no other kernel runs, and the memory belongs to this replica.
                    unsafe {
                        self.call(op, &Share { images, group: None }, None, Pass::begin());
                    }
                }
                Group::Sliced(group) => self.run_sliced(group),
            }
        }
    }

    fn run_sliced(&self, group: &Sliced) {
        let images = self.step.images as usize;
        let pass = Pass::begin();
        self.clear_parts(group);
        let tasks = (0..images.div_ceil(group.task)).into_par_iter().with_max_len(1);
        tasks.for_each(|task| {
            let end = ((task + 1) * group.task).min(images);
            self.memory.on_thread(|local| {
                let mut first = task * group.task;
                while first < end {
                    // A part of a sum begins with a slice.
                    let parts = group.parts.iter().map(|part| (first / part + 1) * part);
                    let last = parts.fold((first + group.at_once).min(end), usize::min);
                    let share = Share { images: first..last, group: Some(group) };
                    for op in group.ops.iter().filter_map(|at| op(self.graph, *at)) {
                        // SAFETY: what is written are numbers of these images, parts of sums over
                        // them, and this thread's memory; a task has all images of a part, and no
                        // image is in two tasks. What is only read, nobody writes meanwhile.
                        unsafe { self.call(op, &share, Some(local), pass) };
                    }
                    first = last;
                }
            });
        });
    }

    /// Sets to 0 the sums that a group adds to.
    fn clear_parts(&self, group: &Sliced) {
        for op in group.ops.iter().filter_map(|at| op(self.graph, *at)) {
            for (binding, tensor) in op.kernel.bindings.iter().zip(&op.tensors) {
                if let (Extent::PerPart(_), Place::Real(first, len)) =
                    (binding.extent, self.memory.of(*tensor))
                {
                    // SAFETY: no kernel runs.
                    let sums = unsafe { numbers_mut((first, len), 0..len) };
                    sums.fill(T::default());
                }
            }
        }
    }

    /// Calls a kernel.
    ///
    /// # Safety
    /// While it runs, nobody else writes what it binds of this share, or reads what it writes.
    unsafe fn call(&self, op: &Op, share: &Share<'_>, local: Option<&mut Local<T>>, pass: Pass) {
        let step = Step { images: share.images.len() as u32, ..*self.step };
        let (reals, indices) = match local {
            Some(local) => (
                Place::Real(local.reals.as_mut_ptr(), local.reals.len()),
                Place::Index(local.indices.as_mut_ptr(), local.indices.len()),
            ),
            None => (Place::Absent, Place::Absent),
        };
        let bindings = op.kernel.bindings.iter().zip(&op.tensors);
        let slots = bindings.map(|(binding, id)| {
            let own = match self.graph.tensor(*id).dtype {
                Dtype::Real => reals,
                Dtype::Index => indices,
            };
            let (place, range) = self.locate(op, binding.extent, *id, share, own);
            // SAFETY: the caller's promise; a kernel never binds a tensor twice when it writes it.
            let slot = unsafe {
                match (place, binding.access) {
                    (Place::Real(first, len), Access::Read) => {
                        Slot::Read(numbers((first, len), range))
                    }
                    (Place::Real(first, len), Access::Write) => {
                        Slot::Write(numbers_mut((first, len), range))
                    }
                    (Place::Index(first, len), Access::Read) => {
                        Slot::ReadIndex(numbers((first, len), range))
                    }
                    (Place::Index(first, len), Access::Write) => {
                        Slot::WriteIndex(numbers_mut((first, len), range))
                    }
                    (Place::Absent, _) => Slot::Taken,
                }
            };
            (binding.name, slot)
        });
        let mut args = Args::new(&op.constants, &step, slots).within(self.isa, pass);
        args.precision = self.precision;
        T::form(op.kernel)(&mut args);
    }

    /// Where what a kernel binds of a share lies: in the replica's memory, or in the thread's own.
    fn locate(
        &self,
        op: &Op,
        extent: Extent,
        id: TensorId,
        share: &Share<'_>,
        own: Place<T>,
    ) -> (Place<T>, Range<usize>) {
        let len = self.graph.tensor(id).len();
        let Share { images, group } = share;
        match (extent, group) {
            (Extent::PerImage, Some(group)) => {
                match group.locals.iter().find(|(tensor, _)| *tensor == id) {
                    Some((_, place)) => {
                        let first = place * group.at_once;
                        (own, first..first + images.len() * len)
                    }
                    None => (self.memory.of(id), images.start * len..images.end * len),
                }
            }
            (Extent::PerImage, None) => (self.memory.of(id), images.start * len..images.end * len),
            (Extent::PerPart(parts), Some(_)) => {
                let parts = op.constants.size(parts);
                let part = images.start / (self.step.images as usize).div_ceil(parts);
                let len = len / parts;
                (self.memory.of(id), part * len..(part + 1) * len)
            }
            _ => (self.memory.of(id), 0..len),
        }
    }
}
