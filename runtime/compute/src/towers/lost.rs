//! An adapter that computes no more.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An adapter failed in the middle of a step: its device was lost, its memory ran out, its driver
/// gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Such as `tower_1 (vulkan/llvmpipe)`, or the adapter alone where there is but one.
    pub who: String,
    /// The step, from 0.
    pub step: u64,
    /// What its driver said.
    pub cause: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed in step {}: {}", self.who, self.step, self.cause)
    }
}

/// No adapter is left that knows the weights. Whoever has them from an earlier step may go on from
/// there, with a device that is created anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoneLeft(pub Lost);

impl fmt::Display for NoneLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for NoneLeft {}

/// An adapter was lost and the run is to end. The weights are those from before the step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped(pub Lost);

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Stopped {}

/// What is done when one of several adapters is lost, or the only one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnLoss {
    /// The step is done again by the others. If none is left, the run goes on after its last
    /// checkpoint with a device that is created anew.
    #[default]
    Continue,
    /// The run ends. With several adapters the weights are kept as they were before the step.
    Stop,
}
