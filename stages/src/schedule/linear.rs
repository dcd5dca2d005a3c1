//! A rate that changes in a straight line.

use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::length::Length;
use super::{Curve, RunExtent, ScheduleKind, between, check_rate};

/// In a straight line from `initial` to `final`, where it stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Linear {
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
    ScheduleKind::of::<Linear>(
        "linear",
        "In a straight line from one rate to another.",
        "{ initial: 0.1, final: 0.01 }",
    )
}

impl Curve for Linear {
    fn check(&self) -> Vec<Mismatch> {
        let rates = [check_rate("initial", self.initial), check_rate("final", self.last)];
        let over = self.over.and_then(|length| length.check("over"));
        rates.into_iter().flatten().chain(over).collect()
    }

    fn rate(&self, images: f64, extent: &RunExtent) -> f64 {
        between(self.initial, self.last, extent.share(images, self.over))
    }

    fn warm_up(&self) -> Option<Length> {
        self.warm_up
    }

    fn needs_end(&self) -> bool {
        self.over.is_none()
    }
}
