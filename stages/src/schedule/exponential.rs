//! A rate that is multiplied by a factor again and again.

use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::length::Length;
use super::{Curve, RunExtent, ScheduleKind, check_rate};

/// `initial * factor^(images seen / every)`; with `staircase` the power is rounded down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exponential {
    /// The rate at first.
    pub initial: f64,
    /// What the rate is multiplied by in each of the lengths below, above 0.
    pub factor: f64,
    /// The length in which the rate is multiplied once.
    pub every: Length,
    /// Whether it is multiplied at the end of each length, as in the tutorial, and not smoothly.
    #[serde(default)]
    pub staircase: bool,
    /// The length in which the rate is multiplied by the share of it that has passed, `images seen /
    /// length`: 0 at the first step. The curve goes on meanwhile, it does not begin later.
    #[serde(default)]
    pub warm_up: Option<Length>,
}

/// The kind.
pub fn kind() -> ScheduleKind {
    ScheduleKind::of::<Exponential>(
        "exponential",
        "Multiplied by a factor again and again, smoothly or in steps.",
        "{ initial: 0.1, factor: 0.1, every: { epochs: 350 }, staircase: true }",
    )
}

impl Curve for Exponential {
    fn check(&self) -> Vec<Mismatch> {
        let factor = (!(self.factor > 0.0 && self.factor.is_finite())).then(|| {
            let found = format!("expected a factor above 0, found {}", self.factor);
            Mismatch::field("factor", found).help("the tutorial uses 0.1")
        });
        let initial = check_rate("initial", self.initial);
        initial.into_iter().chain(factor).chain(self.every.check("every")).collect()
    }

    fn rate(&self, images: f64, extent: &RunExtent) -> f64 {
        let mut times = images / self.every.images(extent.epoch_images);
        if self.staircase {
            times = times.floor();
        }
        // Divided by the inverse: 0.1 / 10 is 0.01, and 0.1 * 0.1 is a little more.
        self.initial / (1.0 / self.factor).powf(times)
    }

    fn warm_up(&self) -> Option<Length> {
        self.warm_up
    }
}
