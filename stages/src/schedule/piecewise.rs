//! One rate after another.

use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::length::Length;
use super::{Curve, RunExtent, ScheduleKind, check_rate};

/// `initial`, and after each of some lengths, counted from the start of the run, another rate:
/// `{ initial: 0.1, then: [ { after: { epochs: 30 }, rate: 0.01 } ] }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Piecewise {
    /// The rate at first.
    pub initial: f64,
    /// The other rates, in the order in which they come.
    #[serde(default)]
    pub then: Vec<Piece>,
    /// The length in which the rate is multiplied by the share of it that has passed, `images seen /
    /// length`: 0 at the first step. The curve goes on meanwhile, it does not begin later.
    #[serde(default)]
    pub warm_up: Option<Length>,
}

/// A rate from some point on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// How far into the run it begins: all pieces in images, or all in epochs.
    pub after: Length,
    /// The rate.
    pub rate: f64,
}

/// The kind.
pub fn kind() -> ScheduleKind {
    ScheduleKind::of::<Piecewise>(
        "piecewise",
        "One rate after another.",
        "{ initial: 0.1, then: [{ after: { epochs: 60 }, rate: 0.01 }] }",
    )
}

impl Curve for Piecewise {
    fn check(&self) -> Vec<Mismatch> {
        let mut wrong: Vec<Mismatch> = check_rate("initial", self.initial).into_iter().collect();
        for (at, piece) in self.then.iter().enumerate() {
            let field = format!("then.{at}.after");
            let before = at.checked_sub(1).map(|before| self.then[before].after);
            wrong.extend(piece.after.check(&field));
            wrong.extend(before.and_then(|before| check_order(&field, before, piece.after)));
            wrong.extend(check_rate(&format!("then.{at}.rate"), piece.rate));
        }
        wrong
    }

    fn rate(&self, images: f64, extent: &RunExtent) -> f64 {
        let has_begun = |piece: &&Piece| piece.after.images(extent.epoch_images) <= images;
        self.then.iter().rfind(has_begun).map_or(self.initial, |piece| piece.rate)
    }

    fn warm_up(&self) -> Option<Length> {
        self.warm_up
    }
}

/// Refuses a piece that does not begin after the one before it.
fn check_order(field: &str, before: Length, after: Length) -> Option<Mismatch> {
    let is_later = match (before, after) {
        (Length::Images(before), Length::Images(after)) => before < after,
        (Length::Epochs(before), Length::Epochs(after)) => before < after,
        _ => {
            return Some(
                Mismatch::field(field, "expected the unit of the piece before, found another")
                    .help("write all pieces in `images`, or all in `epochs`"),
            );
        }
    };
    let wrong = Mismatch::field(field, "expected a piece later than the one before it");
    (!is_later).then(|| wrong.help("put the pieces in the order in which they come"))
}
