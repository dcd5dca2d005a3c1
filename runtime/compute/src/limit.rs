//! How long a run goes on.

use serde::{Deserialize, Serialize};

use crate::pass::{StepsAhead, images_in};

/// How long a run goes on; the limit reached first counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Passes over what is trained on, in whole images.
    pub epochs: Option<f64>,
    /// Steps of the optimiser.
    pub steps: Option<u64>,
}

impl Limit {
    /// Both limits: what is reached first counts.
    pub fn and(&self, other: Option<&Self>) -> Self {
        let first = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let other = other.copied().unwrap_or_default();
        Self {
            epochs: first(self.epochs, other.epochs),
            steps: self.steps.into_iter().chain(other.steps).min(),
        }
    }

    /// Whether one more step is within the limit: the `step`-th, counted from 0, with which
    /// `images` will have been seen.
    pub fn allows(&self, step: u64, images: u64, epoch_images: u64) -> bool {
        self.steps.is_none_or(|steps| step < steps)
            && self.epochs.is_none_or(|epochs| images <= images_in(epochs, epoch_images))
    }

    /// Steps of the whole run, if it has an end.
    pub fn total_steps(&self, ahead: &StepsAhead) -> Option<u64> {
        let images = self.epochs.map(|epochs| images_in(epochs, ahead.pass.images));
        let by_epochs = images.map(|images| ahead.steps_within(images));
        by_epochs.into_iter().chain(self.steps).min()
    }

    /// Images of the whole run, if it has an end. With a limit in epochs they are those of the
    /// epochs, of which the last few may fill no step.
    pub fn total_images(&self, ahead: &StepsAhead) -> Option<u64> {
        let by_epochs = self.epochs.map(|epochs| images_in(epochs, ahead.pass.images));
        let by_steps = self.steps.map(|steps| ahead.images_after(steps));
        by_epochs.into_iter().chain(by_steps).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pass::Pass;
    use crate::progress::Progress;

    #[test]
    fn a_run_ends_at_whichever_limit_comes_first() {
        let limit = Limit { epochs: Some(1.0), steps: Some(500) };
        // The tutorial's 390.625 batches an epoch: 390 are whole.
        let ahead =
            StepsAhead { pass: Pass::open(50_000, 128), batches: 1, done: Progress::default() };
        assert_eq!(limit.total_steps(&ahead), Some(390));
        assert_eq!(limit.total_images(&ahead), Some(50_000));
        assert!(limit.allows(389, 390 * 128, 50_000));
        assert!(!limit.allows(390, 391 * 128, 50_000));
        let limit = Limit { steps: Some(5), ..limit };
        assert!(limit.allows(4, 640, 50_000) && !limit.allows(5, 768, 50_000));
        assert_eq!((limit.total_steps(&ahead), limit.total_images(&ahead)), (Some(5), Some(640)));
        let own = Limit { epochs: Some(0.5), steps: None };
        let both = Limit { epochs: Some(0.5), steps: Some(5) };
        assert_eq!(limit.and(Some(&own)), both);
        assert_eq!(limit.and(None), limit);
        assert!(Limit::default().allows(u64::MAX, u64::MAX, 1));
        assert_eq!(Limit::default().total_steps(&ahead), None);
    }
}
