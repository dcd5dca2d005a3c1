//! A rate that falls with the root of the images seen.

use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::length::Length;
use super::{Curve, RunExtent, ScheduleKind, check_rate};

/// `initial` at first, and then `initial * sqrt(after / images seen)` once more than `after` have been
/// seen: slower and slower, without an end (Vaswani et al., "Attention is all you need", 2017, who warm
/// up over `after`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InverseSqrt {
    /// The rate at first.
    pub initial: f64,
    /// The length after which the rate falls: at four times this length it is half of `initial`.
    pub after: Length,
    /// The length in which the rate is multiplied by the share of it that has passed, `images seen /
    /// length`: 0 at the first step. The curve goes on meanwhile, it does not begin later.
    #[serde(default)]
    pub warm_up: Option<Length>,
}

/// The kind.
pub fn kind() -> ScheduleKind {
    ScheduleKind::of::<InverseSqrt>(
        "inverse_sqrt",
        "With the inverse root of the images seen, after a while in which it stays.",
        "{ initial: 0.1, after: { epochs: 5 }, warm_up: { epochs: 5 } }",
    )
}

impl Curve for InverseSqrt {
    fn check(&self) -> Vec<Mismatch> {
        check_rate("initial", self.initial).into_iter().chain(self.after.check("after")).collect()
    }

    fn rate(&self, images: f64, extent: &RunExtent) -> f64 {
        let after = self.after.images(extent.epoch_images);
        self.initial * (after / images.max(after)).sqrt()
    }

    fn warm_up(&self) -> Option<Length> {
        self.warm_up
    }
}
