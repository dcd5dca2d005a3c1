//! How a pass over the data is cut into batches, and what that makes of a run's steps.

use crate::progress::Progress;

/// What a batcher makes of a pass over the data. All passes of a run are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Images of a pass that come in a batch: an epoch of training.
    pub images: u64,
    /// Images of a full batch.
    pub batch: u64,
    /// Whether the last batch of a pass ends with it, however small it is. If not, batches run on
    /// across passes.
    pub is_closed: bool,
}

impl Pass {
    /// Full batches, of which one may span two passes.
    pub fn open(images: u64, batch: u64) -> Self {
        Self { images, batch, is_closed: false }
    }

    /// Batches that end with their pass; the last may be smaller.
    pub fn closed(images: u64, batch: u64) -> Self {
        Self { images, batch, is_closed: true }
    }

    /// Full batches that end with their pass, without the images that fill none.
    pub fn full(images: u64, batch: u64) -> Self {
        let batch = batch.max(1);
        Self::open(images / batch * batch, batch)
    }

    /// The images in so many batches from the first on.
    pub fn images_after(&self, batches: u64) -> u64 {
        let (images, batch) = (self.images.max(1), self.batch.max(1));
        if !self.is_closed {
            return batches.saturating_mul(batch);
        }
        let each = images.div_ceil(batch);
        let rest = (batches % each).saturating_mul(batch).min(images);
        (batches / each).saturating_mul(images).saturating_add(rest)
    }

    /// The most batches from the first on that have no more images than these.
    pub fn batches_within(&self, images: u64) -> u64 {
        let batch = self.batch.max(1);
        if !self.is_closed {
            return images / batch;
        }
        let whole = self.images.max(1);
        (images / whole).saturating_mul(whole.div_ceil(batch)) + images % whole / batch
    }
}

/// The steps of a run from some point on, each of the same number of batches.
#[derive(Clone, Copy, Debug)]
pub struct StepsAhead {
    /// The flow's batches.
    pub pass: Pass,
    /// Batches of a step.
    pub batches: u64,
    /// What is behind.
    pub done: Progress,
}

impl StepsAhead {
    /// The images of the run once so many steps are done, those behind included.
    pub fn images_after(&self, steps: u64) -> u64 {
        let ahead = steps.saturating_sub(self.done.steps);
        let begin = self.done.position.batches;
        let end = begin.saturating_add(ahead.saturating_mul(self.batches));
        let images = self.pass.images_after(end).saturating_sub(self.pass.images_after(begin));
        self.done.images.saturating_add(images)
    }

    /// The steps of a run that sees no more images than these, those behind included.
    pub fn steps_within(&self, images: u64) -> u64 {
        let ahead = images.saturating_sub(self.done.images);
        let begin = self.done.position.batches;
        let end = self.pass.batches_within(self.pass.images_after(begin).saturating_add(ahead));
        let steps = end.saturating_sub(begin) / self.batches.max(1);
        self.done.steps.saturating_add(steps)
    }
}

/// Whole images in so many epochs. A product that misses a whole number by rounding alone, such as
/// 0.29 * 100, is that number.
pub fn images_in(epochs: f64, epoch_images: u64) -> u64 {
    let exact = epochs * epoch_images as f64;
    let nearest = exact.round();
    let is_whole = (exact - nearest).abs() <= nearest * 1e-12;
    (if is_whole { nearest } else { exact.floor() }) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Position;

    /// The images after each of the first batches, counted one by one.
    fn counted(sizes: &[u64], passes: usize) -> Vec<u64> {
        let all = sizes.iter().copied().cycle().take(sizes.len() * passes);
        std::iter::once(0)
            .chain(all.scan(0, |sum, size| {
                *sum += size;
                Some(*sum)
            }))
            .collect()
    }

    #[test]
    fn batches_are_counted_as_they_come() {
        for (pass, sizes) in [
            (Pass::open(31, 16), vec![16]),
            (Pass::full(31, 16), vec![16]),
            (Pass::full(50, 16), vec![16, 16, 16]),
            (Pass::closed(31, 16), vec![16, 15]),
            (Pass::closed(32, 16), vec![16, 16]),
            (Pass::closed(17, 16), vec![16, 1]),
            (Pass::closed(5, 16), vec![5]),
            (Pass::closed(3, 1), vec![1, 1, 1]),
        ] {
            let after = counted(&sizes, 5);
            for (batches, images) in (0..).zip(&after) {
                assert_eq!(pass.images_after(batches), *images, "{pass:?}, {batches} batches");
            }
            for images in 0..=after[after.len() - 1] {
                let within = after.iter().rposition(|after| *after <= images).expect("0 is within");
                assert_eq!(pass.batches_within(images), within as u64, "{pass:?}, {images} images");
            }
        }
        assert_eq!(Pass::full(31, 16).images, 16);
        assert_eq!(Pass::full(15, 16).images, 0);
    }

    #[test]
    fn steps_of_several_batches_go_on_from_where_the_run_is() {
        // 17 images in batches of 16: 16, 1, 16, 1, ..
        let pass = Pass::closed(17, 16);
        let steps = StepsAhead { pass, batches: 2, done: Progress::default() };
        assert_eq!([0, 1, 3].map(|steps_done| steps.images_after(steps_done)), [0, 17, 51]);
        assert_eq!([0, 16, 17, 50, 51].map(|images| steps.steps_within(images)), [0, 0, 1, 2, 3]);
        // Three steps of a batch each, and two from there on.
        let position = Position { batches: 3, ..Position::default() };
        let done = Progress { steps: 3, images: 33, position, ..Progress::default() };
        let steps = StepsAhead { pass, batches: 2, done };
        assert_eq!([3, 4, 5].map(|steps_done| steps.images_after(steps_done)), [33, 50, 67]);
        assert_eq!([20, 33, 49, 50, 68].map(|images| steps.steps_within(images)), [3, 3, 3, 4, 5]);
    }

    #[test]
    fn huge_runs_do_not_overflow() {
        for pass in [Pass::open(u64::MAX, 7), Pass::closed(3, u64::MAX), Pass::closed(0, 0)] {
            let steps = StepsAhead { pass, batches: u64::MAX, done: Progress::default() };
            assert!(steps.images_after(u64::MAX) >= steps.images_after(1));
            assert!(steps.steps_within(u64::MAX) >= steps.steps_within(1));
        }
    }

    #[test]
    fn epochs_are_whole_images() {
        assert_eq!(images_in(0.29, 100), 29);
        assert_eq!(images_in(1.1, 10), 11);
        assert_eq!(images_in(0.5, 29), 14);
        assert_eq!(images_in(3.0, 17), 51);
        assert_eq!(images_in(1e300, 17), u64::MAX);
    }
}
