//! Which images of a flow each process of a job computes.

use std::ops::Range;

/// Images are dealt one after the other to all adapters of the job, process by process: image `p` of
/// the flow to adapter `p mod all`. So a process knows its images before they are put together to
/// batches, and of every batch each adapter has as many as any other, or one less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seats {
    all: usize,
    mine: Range<usize>,
}

impl Default for Seats {
    /// All images are this process's.
    fn default() -> Self {
        Self { all: 1, mine: 0..1 }
    }
}

impl Seats {
    /// For the process `rank` of a job whose processes have so many adapters each.
    pub fn new(adapters: &[usize], rank: usize) -> Self {
        let first: usize = adapters.iter().take(rank).sum();
        let own = adapters.get(rank).copied().unwrap_or_default();
        Self { all: adapters.iter().sum(), mine: first..first + own }
    }

    /// Adapters of the job.
    pub fn all(&self) -> usize {
        self.all
    }

    /// The first of this process's adapters, counted over the job.
    pub fn first(&self) -> usize {
        self.mine.start
    }

    /// Whether an image of the flow is this process's, by its position.
    pub fn has(&self, position: u64) -> bool {
        self.mine.contains(&((position % self.all.max(1) as u64) as usize))
    }

    /// The most images that this process has of a batch of so many.
    pub fn most(&self, images: usize) -> usize {
        images.min(self.mine.len() * images.div_ceil(self.all.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_has_one_process_and_adapters_have_equal_parts() {
        let adapters = [1, 2, 1];
        let seats: Vec<Seats> = (0..3).map(|rank| Seats::new(&adapters, rank)).collect();
        for (first, images) in [(0, 128), (128, 128), (3, 7), (10, 1)] {
            let own = |seats: &Seats| (first..first + images).filter(|p| seats.has(*p)).count();
            let counts: Vec<usize> = seats.iter().map(own).collect();
            assert_eq!(counts.iter().sum::<usize>(), images as usize);
            for ((seats, count), adapters) in seats.iter().zip(counts).zip(adapters) {
                let each = images as usize / 4;
                assert!((adapters * each..=adapters * (each + 1)).contains(&count), "{count}");
                assert!(count <= seats.most(images as usize), "{count}");
            }
        }
        assert_eq!(seats.iter().map(Seats::first).collect::<Vec<_>>(), [0, 1, 3]);
        assert!((0..9).all(|position| Seats::default().has(position)));
    }
}
