//! Leaves the images of other processes to them.

use crate::item::{Batch, Item, Pixels};

use compute::job::Job;

/// Goes along with a flow, at a place where all images are there, and takes away what other processes
/// of the job compute: whole batches are cut, and images that are not in a batch yet lose their
/// pixels, so that nothing is done to them on the way.
#[derive(Debug)]
pub(crate) struct Dealer {
    job: Job,
    /// Images that have passed.
    position: u64,
}

impl Dealer {
    /// For a flow that begins at this image.
    pub(crate) fn new(job: Job, position: u64) -> Self {
        Self { job, position }
    }

    /// What is left of an item for this process.
    pub(crate) fn deal(&mut self, item: Item) -> Item {
        let seats = self.job.seats();
        match item {
            Item::Block(mut block) => {
                for sample in &mut block.samples {
                    if !seats.has(self.position) {
                        sample.image.pixels = Pixels::Elsewhere;
                    }
                    self.position += 1;
                }
                Item::Block(block)
            }
            // Each batch is dealt from its own beginning: where it lies in the flow need not be known.
            Item::Batch(batch) => Item::Batch(kept(batch, |at| seats.has(at as u64))),
            other => other,
        }
    }
}

/// The images of a batch at these positions.
fn kept(mut batch: Batch, keep: impl Fn(usize) -> bool) -> Batch {
    let each: usize = batch.shape.iter().product();
    let images = batch.ids.len();
    // In place: the memory stays the batch's.
    let mut end = 0;
    for at in (0..images).filter(|at| keep(*at)) {
        batch.images.copy_within(at * each..(at + 1) * each, end);
        end += each;
    }
    batch.images.truncate(end);
    let positions = 0..images;
    let mut at = positions.clone();
    batch.ids.retain(|_| at.next().is_some_and(&keep));
    let mut at = positions;
    batch.labels.retain(|_| at.next().is_some_and(&keep));
    batch
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::item::{Block, Image, Label, Sample, SampleId, Source};
    use compute::job::seats::Seats;
    use compute::pass::Pass;

    fn source() -> Arc<Source> {
        Arc::new(Source {
            description: String::new(),
            epoch_images: 10,
            split: String::new(),
            classes: Vec::new(),
            stands_in_for: None,
            limit: None,
            in_a_row: None,
        })
    }

    fn dealer(position: u64) -> Dealer {
        let job = Job::default();
        job.take_seats(Seats::new(&[1, 1, 1], 1));
        Dealer::new(job, position)
    }

    #[test]
    fn images_of_others_lose_their_pixels_along_the_whole_flow() {
        let sample = |index| Sample {
            id: SampleId { epoch: 0, index },
            label: Label::Class(0),
            image: Image { shape: [1, 1, 1], pixels: Pixels::F32(vec![0.0]) },
        };
        let block = |first: u64| {
            let samples = (first..first + 4).map(sample).collect();
            Item::Block(Block { source: source(), samples, ends_epoch: false })
        };
        // The flow begins at its image 2: those at 4, 7 and 10 are its own.
        let mut dealer = dealer(2);
        let mut own = Vec::new();
        for first in [0, 4] {
            let Item::Block(block) = dealer.deal(block(first)) else { panic!("a block") };
            let here = |sample: &&Sample| sample.image.pixels != Pixels::Elsewhere;
            own.extend(block.samples.iter().filter(here).map(|sample| sample.id.index));
        }
        assert_eq!(own, [2, 5]);
    }

    #[test]
    fn whole_batches_are_cut() {
        let batch = Batch {
            source: source(),
            number: 0,
            ids: (0..5).map(|index| SampleId { epoch: 0, index }).collect(),
            labels: (0..5).map(Label::Class).collect(),
            shape: [1, 1, 2],
            images: (0..10).map(|value| value as f32).collect(),
            whole: 5,
            ends_epoch: false,
            pass: Pass::open(10, 5),
            samples_end: 5,
        };
        let Item::Batch(own) = dealer(7).deal(Item::Batch(batch)) else { panic!("a batch") };
        assert_eq!(own.ids.iter().map(|id| id.index).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(own.labels, [Label::Class(1), Label::Class(4)]);
        assert_eq!(own.images, [2.0, 3.0, 8.0, 9.0]);
        assert_eq!(own.whole, 5);
    }
}
