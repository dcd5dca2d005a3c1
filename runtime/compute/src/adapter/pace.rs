//! Into which submits the dispatches of a step are cut, so that none takes long: drivers reset a
//! device that seems to hang, and a screen behind it stands still meanwhile.

use std::ops::Range;

/// The longest that a submit is to take, in seconds.
const BUDGET_S: f64 = 0.5;

/// How often a dispatch is timed. The first time drivers still compile.
const TIMINGS: u8 = 2;

/// How long a dispatch takes, by timing the first ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    timings: u8,
    images: usize,
    seconds: f64,
}

impl Pace {
    /// The seconds that so many images will take; `None` while that is to be found out.
    pub(super) fn seconds(&self, images: usize) -> Option<f64> {
        (self.timings >= TIMINGS && images <= self.images).then_some(self.seconds)
    }

    /// Takes note of a timing.
    pub(super) fn took(&mut self, images: usize, seconds: f64) {
        if images > self.images || self.timings == 0 {
            *self = Self { timings: 1, images, seconds };
        } else if images == self.images {
            self.timings = self.timings.saturating_add(1);
            self.seconds = self.seconds.min(seconds);
        }
    }
}

/// The stretches of dispatches that are submitted together: as many as fit the budget, at least
/// one, and any of unknown length alone.
pub(super) fn cut(
    seconds: impl IntoIterator<Item = Option<f64>>,
) -> impl Iterator<Item = Range<usize>> {
    let mut seconds = seconds.into_iter().enumerate().peekable();
    std::iter::from_fn(move || {
        let (first, began) = seconds.next()?;
        let mut range = first..first + 1;
        let mut total = began.unwrap_or(f64::INFINITY);
        while let Some((_, next)) =
            seconds.next_if(|(_, next)| next.is_some_and(|next| total + next <= BUDGET_S))
        {
            total += next.unwrap_or_default();
            range.end += 1;
        }
        Some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last dispatch of each submit.
    fn cuts(seconds: &[Option<f64>]) -> Vec<(usize, usize)> {
        cut(seconds.iter().copied()).map(|range| (range.start, range.end - 1)).collect()
    }

    #[test]
    fn no_submit_is_longer_than_the_budget() {
        assert_eq!(cuts(&[]), []);
        assert_eq!(cuts(&[Some(0.125); 4]), [(0, 3)]);
        assert_eq!(cuts(&[Some(0.125); 9]), [(0, 3), (4, 7), (8, 8)]);
        // What is longer by itself cannot be cut.
        assert_eq!(
            cuts(&[Some(0.25), Some(2.0), Some(0.25), Some(0.25)]),
            [(0, 0), (1, 1), (2, 3)]
        );
    }

    #[test]
    fn what_is_not_known_runs_alone() {
        let some = Some(0.001);
        assert_eq!(cuts(&[some, some, None, None, some, some]), [(0, 1), (2, 2), (3, 3), (4, 5)]);
    }

    #[test]
    fn a_pace_is_known_once_it_was_timed_twice_with_as_many_images() {
        let mut pace = Pace::default();
        assert_eq!(pace.seconds(8), None);
        // The first time, something is compiled.
        pace.took(8, 0.9);
        assert_eq!(pace.seconds(8), None);
        pace.took(8, 0.1);
        assert_eq!((pace.seconds(8), pace.seconds(3)), (Some(0.1), Some(0.1)));
        // More may take longer, fewer say nothing.
        assert_eq!(pace.seconds(9), None);
        pace.took(3, 0.01);
        assert_eq!(pace.seconds(8), Some(0.1));
        pace.took(9, 0.2);
        assert_eq!((pace.seconds(9), pace.seconds(8)), (None, None));
        pace.took(9, 0.2);
        assert_eq!(pace.seconds(9), Some(0.2));
    }
}
