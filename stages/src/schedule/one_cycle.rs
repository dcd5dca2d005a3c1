//! A rate that rises to a peak and falls far below where it began.

use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::length::Length;
use super::{Curve, RunExtent, ScheduleKind, between, check_rate, ease};

/// From `start` up to `peak` in the share `rise` of the images, and down to `final`, where it stays,
/// each along half a wave of a cosine: `a + (b - a) * (1 - cos(pi * share)) / 2`, `share` being how
/// much of that way has passed (Smith and Topin, 2019, in the form of PyTorch's OneCycleLR).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneCycle {
    /// The highest rate.
    pub peak: f64,
    /// The rate at first. `peak` / 25 if absent.
    #[serde(default)]
    pub start: Option<f64>,
    /// The rate at the end. `peak` / 10,000 if absent.
    #[serde(rename = "final", default)]
    pub last: Option<f64>,
    /// The share of the length in which it rises, between 0 and 1.
    #[serde(default = "rise")]
    pub rise: f64,
    /// The length of rise and fall together. Until the run's end if absent.
    #[serde(default)]
    pub over: Option<Length>,
    /// The length in which the rate is multiplied by the share of it that has passed, `images seen /
    /// length`: 0 at the first step. The curve goes on meanwhile, it does not begin later.
    #[serde(default)]
    pub warm_up: Option<Length>,
}

fn rise() -> f64 {
    0.3
}

/// The kind.
pub fn kind() -> ScheduleKind {
    ScheduleKind::of::<OneCycle>(
        "one_cycle",
        "Up to a peak and far down again, each along half a wave.",
        "{ peak: 0.4 }",
    )
}

impl OneCycle {
    fn start(&self) -> f64 {
        self.start.unwrap_or(self.peak / 25.0)
    }

    fn last(&self) -> f64 {
        self.last.unwrap_or(self.peak / 1e4)
    }
}

impl Curve for OneCycle {
    fn check(&self) -> Vec<Mismatch> {
        let rates = [
            check_rate("peak", self.peak),
            self.start.and_then(|rate| check_rate("start", rate)),
            self.last.and_then(|rate| check_rate("final", rate)),
        ];
        let rise = (!(self.rise > 0.0 && self.rise < 1.0)).then(|| {
            let found = format!("expected a share between 0 and 1, found {}", self.rise);
            Mismatch::field("rise", found).help("0.3 is usual")
        });
        let over = self.over.and_then(|length| length.check("over"));
        rates.into_iter().flatten().chain(rise).chain(over).collect()
    }

    fn rate(&self, images: f64, extent: &RunExtent) -> f64 {
        let share = extent.share(images, self.over);
        if share < self.rise {
            between(self.start(), self.peak, ease(share / self.rise))
        } else {
            let fallen = (share - self.rise) / (1.0 - self.rise);
            between(self.peak, self.last(), ease(fallen))
        }
    }

    fn warm_up(&self) -> Option<Length> {
        self.warm_up
    }

    fn needs_end(&self) -> bool {
        self.over.is_none()
    }
}
