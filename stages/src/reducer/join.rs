//! Several batches of the pipeline as the batch of one step.

use std::sync::Arc;

use compute::reuse::Lent;
use flow::item::Batch;

/// Gathers batches until they make a step.
#[derive(Debug)]
pub(super) struct Joiner {
    batches: usize,
    waiting: Vec<Batch>,
}

impl Joiner {
    /// For steps of so many batches.
    pub(super) fn new(batches: usize) -> Self {
        Self { batches: batches.max(1), waiting: Vec::new() }
    }

    /// Batches of a step.
    pub(super) fn batches(&self) -> usize {
        self.batches
    }

    /// Takes a batch, and gives that of a step if it is whole now.
    pub(super) fn add(&mut self, batch: Batch) -> Option<Arc<Batch>> {
        if self.batches <= 1 {
            return Some(Arc::new(batch));
        }
        self.waiting.push(batch);
        if self.waiting.len() < self.batches {
            return None;
        }
        joined(std::mem::take(&mut self.waiting)).map(Arc::new)
    }
}

/// The images of all, in order, in one batch that ends where the last one does.
fn joined(batches: Vec<Batch>) -> Option<Batch> {
    let ends_epoch = batches.iter().any(|batch| batch.ends_epoch);
    let whole = batches.iter().map(|batch| batch.whole).sum();
    let (mut ids, mut labels, mut images) = (Vec::new(), Vec::new(), Lent::default());
    images.reserve_exact(batches.iter().map(|batch| batch.images.len()).sum());
    let mut last = None;
    for mut batch in batches {
        ids.append(&mut batch.ids);
        labels.append(&mut batch.labels);
        images.append(&mut batch.images);
        last = Some(batch);
    }
    Some(Batch { ids, labels, images, whole, ends_epoch, ..last? })
}

#[cfg(test)]
mod tests {
    use compute::pass::Pass;
    use flow::item::{Label, SampleId, Source};

    use super::*;

    fn batch(number: u64, ends_epoch: bool) -> Batch {
        let source = Source {
            description: String::new(),
            epoch_images: 4,
            split: String::new(),
            classes: Vec::new(),
            stands_in_for: None,
            limit: None,
            in_a_row: None,
        };
        Batch {
            source: Arc::new(source),
            number,
            ids: vec![SampleId { epoch: 0, index: number }],
            labels: vec![Label::Class(0)],
            shape: [1, 1, 2],
            images: vec![number as f32; 2].into(),
            whole: 1,
            ends_epoch,
            pass: Pass::open(4, 1),
            samples_end: number + 1,
        }
    }

    #[test]
    fn a_step_takes_as_many_batches_as_there_are_adapters() {
        let mut joiner = Joiner::new(2);
        assert!(joiner.add(batch(0, true)).is_none());
        let step = joiner.add(batch(1, false)).expect("two");
        assert_eq!(step.images, [0.0, 0.0, 1.0, 1.0]);
        assert_eq!((step.ids.len(), step.labels.len(), step.whole), (2, 2, 2));
        assert_eq!((step.number, step.samples_end, step.ends_epoch), (1, 2, true));
        assert!(joiner.add(batch(2, false)).is_none());
        assert_eq!(Joiner::new(1).add(batch(5, false)).expect("one").number, 5);
    }
}
