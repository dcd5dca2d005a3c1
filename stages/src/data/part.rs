//! The images of a data set that one reader gives out.

use std::sync::Arc;

use anyhow::Result;
use flow::item::{Sample, SampleId};
use flow::reports::with_label;

use super::dataset::{Dataset, Shared};

/// Some images of a data set, in this order.
#[derive(Clone, Debug)]
pub struct Part {
    data: Arc<Shared>,
    images: Vec<usize>,
}

impl Part {
    /// All of the images.
    pub fn whole(data: Arc<Shared>) -> Self {
        let images = (0..data.labels().len()).collect();
        Self { data, images }
    }

    /// Those of these numbers.
    pub fn new(data: Arc<Shared>, images: Vec<usize>) -> Self {
        Self { data, images }
    }

    /// The data set.
    pub fn data(&self) -> &dyn Dataset {
        &**self.data
    }

    /// How many images there are.
    pub fn count(&self) -> usize {
        self.images.len()
    }

    /// The class of each.
    pub fn labels(&self) -> Vec<u32> {
        let labels = self.data.labels();
        self.images.iter().map(|image| labels[*image]).collect()
    }

    /// The CRC-32C of all pixels, then all labels: whether two runs read the same.
    pub fn crc32c(&self) -> u32 {
        let labels = self.data.labels();
        let pixels = self.data.crc32c(&self.images);
        self.images.iter().fold(pixels, |crc, image| with_label(crc, labels[*image]))
    }

    /// The images of these numbers, counted within this part, in this pass over it.
    ///
    /// # Errors
    /// If one cannot be read any more.
    ///
    /// # Panics
    /// If there are no such images.
    pub fn read(&self, epoch: u64, numbers: std::ops::Range<usize>) -> Result<Vec<Sample>> {
        let first = SampleId { epoch, index: numbers.start as u64 };
        self.data.read(&self.images[numbers], first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::in_memory::InMemory;

    #[test]
    fn a_part_has_numbers_and_a_checksum_of_its_own() {
        let data = InMemory {
            name: String::new(),
            shape: [1, 1, 1],
            classes: (0..400).map(|class| class.to_string()).collect(),
            labels: vec![3, 255, 7, 399],
            pixels: vec![10, 20, 30, 40].into(),
            warning: None,
            originals: None,
        };
        let data = Arc::new(Shared(Box::new(data)));
        let part = Part::new(Arc::clone(&data), vec![2, 0, 1]);
        assert_eq!((part.count(), part.labels()), (3, vec![7, 3, 255]));
        // A byte for each label, as it always was; four for those that were not possible.
        assert_eq!(part.crc32c(), crc32c::crc32c(&[30, 10, 20, 7, 3, 255]));
        let last = Part::new(Arc::clone(&data), vec![3]);
        assert_eq!(last.crc32c(), crc32c::crc32c(&[40, 0x8f, 1, 0, 0]));
        let samples = part.read(4, 1..3).expect("there");
        let ids: Vec<_> = samples.iter().map(|sample| (sample.id.epoch, sample.id.index)).collect();
        assert_eq!(ids, [(4, 1), (4, 2)]);
        assert_eq!(Part::whole(data).labels(), [3, 255, 7, 399]);
    }
}
