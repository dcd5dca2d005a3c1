//! The sums of the parts of all towers, taken as they arrive.

use std::ops::Range;
use std::sync::Arc;

use super::layout::Layout;

/// The numbers of a step. Each is summed in the order of the towers, whatever comes first: once the
/// towers before have added theirs to it.
#[derive(Debug)]
pub(super) struct Sums {
    layout: Arc<Layout>,
    values: Vec<f32>,
    /// So many from the front are what the step takes, whatever becomes of the towers.
    settled: usize,
    parts: Vec<Part>,
}

/// What has arrived of a tower, from the front.
#[derive(Debug, Default)]
struct Part {
    /// The words of its buckets.
    buckets: Vec<Vec<u32>>,
    arrived: usize,
    added: usize,
}

impl Sums {
    pub(super) fn new(layout: &Arc<Layout>) -> Self {
        let values = vec![0.0; layout.len()];
        Self { layout: Arc::clone(layout), values, settled: 0, parts: Vec::new() }
    }

    /// Begins a step.
    pub(super) fn clear(&mut self) {
        self.settled = 0;
    }

    /// Begins to add up the parts of so many towers. Of an earlier try at the same step nothing
    /// counts but what is settled.
    pub(super) fn begin(&mut self, towers: usize) {
        let settled = self.settled;
        let part = || Part { added: settled, ..Part::default() };
        self.parts = std::iter::repeat_with(part).take(towers).collect();
    }

    /// Begins a step without any image here.
    pub(super) fn zero(&mut self) {
        self.values.fill(0.0);
        self.parts.clear();
    }

    /// Takes the next bucket of a tower, by its place among those of the step. Gives how many
    /// numbers from the front are summed over all of them.
    pub(super) fn arrived(&mut self, tower: usize, words: Vec<u32>) -> usize {
        let Some(part) = self.parts.get_mut(tower) else { return self.settled };
        part.arrived = (part.arrived + words.len()).min(self.values.len());
        part.buckets.push(words);
        let mut limit = self.values.len();
        for (at, part) in self.parts.iter_mut().enumerate() {
            // What layers keep is the first tower's.
            let end = if at == 0 { usize::MAX } else { self.layout.summed };
            limit = limit.min(part.arrived);
            let ready = part.added..limit.min(end);
            if !ready.is_empty() {
                part.add_to(&mut self.values, &ready, at == 0);
            }
            part.added = part.added.max(limit);
        }
        limit
    }

    /// The vectors of a tower's buckets, to be filled again.
    pub(super) fn take_room(&mut self, tower: usize) -> Vec<Vec<u32>> {
        self.parts.get_mut(tower).map(|part| std::mem::take(&mut part.buckets)).unwrap_or_default()
    }

    /// All numbers.
    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    /// The next numbers to be settled, up to here.
    pub(super) fn unsettled(&mut self, end: usize) -> &mut [f32] {
        let begin = self.settled.min(end);
        &mut self.values[begin..end]
    }

    /// What layers keep.
    pub(super) fn states_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.layout.summed..]
    }

    /// What is there up to here stays as it is until the next step.
    pub(super) fn settle(&mut self, end: usize) {
        self.settled = end;
    }
}

impl Part {
    /// Adds a range of its numbers; the first tower's are taken as they are.
    fn add_to(&self, values: &mut [f32], range: &Range<usize>, is_first: bool) {
        let mut begin = 0;
        for words in &self.buckets {
            let end = begin + words.len();
            let (first, last) = (range.start.max(begin), range.end.min(end));
            if first < last {
                let numbers: &[f32] = bytemuck::cast_slice(&words[first - begin..last - begin]);
                let to = &mut values[first..last];
                match is_first {
                    true => to.copy_from_slice(numbers),
                    false => to.iter_mut().zip(numbers).for_each(|(to, value)| *to += value),
                }
            }
            begin = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Parameter, Role, Tensor, TensorId};
    use crate::kernel::{Dtype, Extent};

    /// Six numbers of a gradient.
    fn sums() -> Sums {
        let tensor = Tensor {
            name: String::new(),
            dtype: Dtype::Real,
            shape: vec![6],
            extent: Extent::Summed,
            role: Role::ParameterGradient(TensorId(0)),
        };
        let id = TensorId(0);
        let parameter =
            Parameter { value: id, gradient: id, average: id, weight_decay: 0.0, layer: 0 };
        let graph =
            Graph { tensors: vec![tensor], parameters: vec![parameter], ..Graph::default() };
        Sums::new(&Arc::new(Layout::new(&graph, 1)))
    }

    fn words(value: f32, count: usize) -> Vec<u32> {
        vec![value.to_bits(); count]
    }

    /// Not associative: 1 is lost beside 1e8 unless the large ones cancel before.
    const PARTS: [f32; 3] = [1e8, 1.0, -1e8];

    #[test]
    fn sums_are_taken_in_the_order_of_the_towers_whatever_comes_first() {
        let arrivals: [&[(usize, usize)]; 4] = [
            &[(0, 6), (1, 6), (2, 6)],
            &[(2, 6), (1, 6), (0, 6)],
            &[(1, 2), (2, 3), (0, 1), (2, 3), (0, 4), (1, 4), (0, 1)],
            &[(2, 1), (2, 5), (0, 3), (0, 3), (1, 1), (1, 5)],
        ];
        for arrivals in arrivals {
            let mut sums = sums();
            sums.begin(3);
            let mut arrived = [0; 3];
            for (tower, count) in arrivals {
                arrived[*tower] += count;
                let summed = sums.arrived(*tower, words(PARTS[*tower], *count));
                assert_eq!(Some(summed), arrived.into_iter().min(), "{arrivals:?}");
            }
            assert_eq!(sums.values(), [(1e8_f32 + 1.0) - 1e8; 6], "{arrivals:?}");
        }
    }

    #[test]
    fn nothing_of_a_try_that_failed_counts_but_what_is_settled() {
        let mut sums = sums();
        sums.begin(2);
        assert_eq!(sums.arrived(0, words(1.0, 6)), 0);
        assert_eq!(sums.arrived(1, words(2.0, 3)), 3);
        // Others know these two already.
        sums.unsettled(2).fill(50.0);
        sums.settle(2);
        sums.begin(1);
        assert_eq!(sums.arrived(0, words(7.0, 6)), 6);
        assert_eq!(sums.values(), [50.0, 50.0, 7.0, 7.0, 7.0, 7.0]);
        sums.clear();
        sums.begin(1);
        sums.arrived(0, words(-0.0, 6));
        assert!(sums.values().iter().all(|value| value.to_bits() == (-0.0_f32).to_bits()));
    }
}
