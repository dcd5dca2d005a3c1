//! Adam with a weight decay of its own.

use compute::graph::{Extension, Parameter};
use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::adam::Adam;
use super::{OptimizerKind, UpdateRule};

/// As `adam`, its correction and `epsilon` included, and beside it `weights -= rate * weight_decay * weights`, with the `weight_decay` of
/// each layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AdamW(Adam);

/// The kind.
pub fn kind() -> OptimizerKind {
    OptimizerKind::of::<AdamW>(
        "adamw",
        "As `adam`, with a weight decay that does not go through the gradients: layers' \
         `weight_decay` shrinks their weights by `rate * weight_decay` each step and adds no term \
         to the loss.",
        "{ beta1: 0.9, beta2: 0.999 }",
    )
}

impl UpdateRule for AdamW {
    fn check(&self) -> Vec<Mismatch> {
        self.0.check()
    }

    fn decays(&self) -> bool {
        true
    }

    fn without_decay(&self) -> Option<&'static str> {
        Some("adam")
    }

    fn lower(&self, graph: &mut Extension, parameter: &Parameter) {
        self.0.lower_with(graph, parameter, parameter.weight_decay);
    }
}
