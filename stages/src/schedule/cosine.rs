//! A rate that changes along half a wave.

use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::length::Length;
use super::{Curve, RunExtent, ScheduleKind, between, check_rate, ease};

/// From `initial` to `final`, where it stays, along half a wave of a cosine: `initial + (final -
/// initial) * (1 - cos(pi * share)) / 2`, `share` being how much of the length has passed (Loshchilov
/// and Hutter, "SGDR", 2017, without restarts).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cosine {
    /// The rate at first.
    pub initial: f64,
    /// The rate at the end.
    #[serde(rename = "final", default)]
    pub last: f64,
    /// The length of the change. Until the run's end if absent.
    #[serde(default)]
    pub over: Option<Length>,
    /// The length in which the rate is multiplied by the share of it that has passed, `images seen /
    /// length`: 0 at the first step. The curve goes on meanwhile, it does not begin later.
    #[serde(default)]
    pub warm_up: Option<Length>,
}

/// The kind.
pub fn kind() -> ScheduleKind {
    ScheduleKind::of::<Cosine>(
        "cosine",
        "From one rate to another along half a wave: slow, fast, slow.",
        "{ initial: 0.1, warm_up: { epochs: 2 } }",
    )
}

impl Curve for Cosine {
    fn check(&self) -> Vec<Mismatch> {
        let rates = [check_rate("initial", self.initial), check_rate("final", self.last)];
        let over = self.over.and_then(|length| length.check("over"));
        rates.into_iter().flatten().chain(over).collect()
    }

    fn rate(&self, images: f64, extent: &RunExtent) -> f64 {
        between(self.initial, self.last, ease(extent.share(images, self.over)))
    }

    fn warm_up(&self) -> Option<Length> {
        self.warm_up
    }

    fn needs_end(&self) -> bool {
        self.over.is_none()
    }
}
