//! Where what comes of a step lies, one number after the other: gradients in the order in which they
//! become final, then the losses, then what layers keep.

use std::ops::Range;

use super::{PASSES, bound};
use crate::graph::{Bucket, Graph, Role, TensorId};
use crate::kernel::Access;

/// The numbers that towers hand out in a step.
#[derive(Debug)]
pub(super) struct Layout {
    /// The tensors, and where each lies.
    pub(super) tensors: Vec<(TensorId, Range<usize>)>,
    /// Numbers that are added up. What layers keep comes after them and is the first tower's.
    pub(super) summed: usize,
    /// Where each bucket ends.
    pub(super) ends: Vec<usize>,
    buckets: Vec<Bucket>,
}

impl Layout {
    /// With gradients in buckets of at least so many bytes.
    pub(super) fn new(graph: &Graph, least_bytes: usize) -> Self {
        let buckets = with_rest(graph, graph.buckets(least_bytes));
        let mut end = 0;
        let mut place = |id: &TensorId| {
            let first = end;
            end += graph.tensor(*id).len();
            (*id, first..end)
        };
        let (mut tensors, mut ends) = (Vec::new(), Vec::new());
        for bucket in &buckets {
            tensors.extend(bucket.tensors.iter().map(&mut place));
            ends.push(tensors.last().map_or(0, |(_, range)| range.end));
        }
        let is_state = |id: TensorId| matches!(graph.tensor(id).role, Role::State(_));
        let first_state = tensors.iter().find(|(id, _)| is_state(*id));
        let all = ends.last().copied().unwrap_or(0);
        let summed = first_state.map_or(all, |(_, range)| range.start);
        Self { tensors, summed, ends, buckets }
    }

    /// What a tower reads back: in these buckets, or all at once where its adapter hands nothing
    /// out while it computes.
    pub(super) fn buckets(&self, graph: &Graph, overlaps: bool) -> Vec<Bucket> {
        match overlaps {
            true => self.buckets.clone(),
            false => with_rest(graph, graph.buckets(usize::MAX)),
        }
    }

    /// All numbers.
    pub(super) fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }
}

/// Adds to the last bucket what is not needed earlier.
fn with_rest(graph: &Graph, mut buckets: Vec<Bucket>) -> Vec<Bucket> {
    let mut states = bound(graph, &PASSES, |access| access != Access::Read);
    states.retain(|id| matches!(graph.tensor(*id).role, Role::State(_)));
    if let Some(last) = buckets.last_mut() {
        last.tensors.extend(graph.losses.into_iter().chain(states));
    }
    buckets
}
