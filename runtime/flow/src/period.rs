//! How often something is done while training.

use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::item::Progress;
use config::mismatch::Mismatch;

/// How often: `{ steps: 100 }`, `{ epochs: 1 }`, `{ seconds: 600 }`, or several of them, of which
/// each counts. `{}` is never.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// Steps of the optimiser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Passes over what is trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Seconds of this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl Period {
    /// Every so many steps.
    pub fn steps(steps: u64) -> Self {
        Self { steps: Some(steps), ..Self::default() }
    }

    /// Every so many passes over the training data.
    pub fn epochs(epochs: f64) -> Self {
        Self { epochs: Some(epochs), ..Self::default() }
    }

    /// Whether it is never over.
    pub fn is_never(&self) -> bool {
        *self == Self::default()
    }

    /// What is wrong with the period that stands in this field.
    pub fn mistakes(&self, field: &str) -> Vec<Mismatch> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let parts = [
            ("steps", self.steps.is_none_or(|steps| steps > 0)),
            ("epochs", self.epochs.is_none_or(positive)),
            ("seconds", self.seconds.is_none_or(positive)),
        ];
        parts
            .into_iter()
            .filter(|(_, right)| !right)
            .map(|(part, _)| {
                Mismatch::field(&format!("{field}.{part}"), "expected a number above 0")
                    .help(format!("`{field}: {{}}` stands for never"))
            })
            .collect()
    }
}

/// Tells when a period is over.
#[derive(Debug)]
pub struct Clock {
    period: Period,
    since: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn new(period: Period) -> Self {
        Self { period, since: Instant::now() }
    }

    /// Whether no period ever ends.
    pub fn is_never(&self) -> bool {
        self.period.is_never()
    }

    /// Whether the last step, which had so many images, has ended a period.
    pub fn is_over(&mut self, progress: &Progress, batch: u64) -> bool {
        let limit = self.period.seconds.unwrap_or(f64::INFINITY);
        let by_time = self.since.elapsed().as_secs_f64() >= limit;
        if by_time {
            self.since = Instant::now();
        }
        by_time || self.is_over_by_number(progress, batch)
    }

    /// Depends on the step alone, so that a resumed run does the same things after the same steps.
    fn is_over_by_number(&self, progress: &Progress, batch: u64) -> bool {
        let Progress { steps, images, .. } = *progress;
        if steps == 0 {
            return false;
        }
        let by_steps = self.period.steps.is_some_and(|every| steps.is_multiple_of(every));
        let by_epochs = self.period.epochs.is_some_and(|every| {
            let period = every * progress.images_per_epoch() as f64;
            // What misses the end of a period by rounding alone has reached it.
            let periods = |images: u64| (images as f64 / period * (1.0 + 1e-12)).floor();
            periods(images) > periods(images.saturating_sub(batch))
        });
        by_steps || by_epochs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Position;

    /// The steps of 4 images after which a period is over, 10 images being an epoch.
    fn over(period: Period) -> Vec<u64> {
        let mut clock = Clock::new(period);
        let position = Position { epoch_images: 10, ..Position::default() };
        let at =
            |steps: u64| Progress { steps, images: 4 * steps, position, ..Progress::default() };
        (0..=10).filter(|steps| clock.is_over(&at(*steps), 4)).collect()
    }

    #[test]
    fn periods_end_by_number() {
        assert_eq!(over(Period::steps(3)), [3, 6, 9]);
        // After 12, 20, 32 and 40 images.
        assert_eq!(over(Period::epochs(1.0)), [3, 5, 8, 10]);
        let both = Period { steps: Some(4), ..Period::epochs(2.0) };
        assert_eq!(over(both), [4, 5, 8, 10]);
        assert_eq!(over(Period::default()), [0; 0]);
        let always = Period { seconds: Some(1e-9), ..Period::default() };
        assert_eq!(over(always).len(), 11);
    }

    #[test]
    fn a_period_ends_once_whatever_the_size_of_its_last_batch() {
        // 17 images in batches of 16: the second of each epoch has one.
        let mut clock = Clock::new(Period::epochs(1.0));
        let mut progress = Progress { epoch_images: 17, ..Progress::default() };
        let over = [16, 1].repeat(4).into_iter().map(|batch| {
            progress.steps += 1;
            progress.images += batch;
            clock.is_over(&progress, batch)
        });
        assert_eq!(over.collect::<Vec<_>>(), [false, true].repeat(4));
        // 1.1 * 10 is a little more than 11.
        let mut clock = Clock::new(Period::epochs(1.1));
        let at = |images| Progress { steps: 1, images, epoch_images: 10, ..Progress::default() };
        assert_eq!([10, 11, 12].map(|images| clock.is_over(&at(images), 1)), [false, true, false]);
    }

    #[test]
    fn periods_of_nothing_are_refused() {
        let wrong = Period { steps: Some(0), epochs: Some(f64::NAN), seconds: Some(-1.0) };
        let fields: Vec<String> =
            wrong.mistakes("every").iter().map(|mistake| mistake.field.join(".")).collect();
        assert_eq!(fields, ["every.steps", "every.epochs", "every.seconds"]);
        assert!(Period::epochs(0.5).mistakes("every").is_empty());
    }
}
