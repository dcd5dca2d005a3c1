//! How weights are drawn before the first step.

use compute::graph::Initial;
use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How weights are drawn before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Initializer {
    /// All alike.
    Constant(f64),
    /// Normal with this standard deviation; values beyond two of them are drawn again.
    TruncatedNormal(f64),
}

impl Initializer {
    /// The graph's form of it.
    pub fn initial(self) -> Initial {
        match self {
            Self::Constant(value) => Initial::Constant(value),
            Self::TruncatedNormal(deviation) => Initial::TruncatedNormal(deviation),
        }
    }

    /// Refuses deviations that are none.
    pub fn check(self, field: &str) -> Result<(), Mismatch> {
        match self {
            Self::TruncatedNormal(deviation) if !(deviation >= 0.0 && deviation.is_finite()) => {
                Err(Mismatch::field(field, format!("{deviation} is no standard deviation")))
            }
            Self::Constant(value) if !value.is_finite() => {
                Err(Mismatch::field(field, format!("{value} is no weight")))
            }
            _ => Ok(()),
        }
    }
}

/// Refuses decay factors that would let weights grow.
pub fn check_decay(factor: f64) -> Result<(), Mismatch> {
    if factor >= 0.0 && factor.is_finite() {
        return Ok(());
    }
    Err(Mismatch::field("weight_decay", format!("{factor} is no decay factor"))
        .help("0 for none; the tutorial uses 0.004"))
}
