//! Adam with a weight decay of its own.

use compute::graph::{Extension, Parameter};
use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Rule;
use super::adam::Adam;

/// As `adam`, its correction and `epsilon` included, and beside it `weights -= rate * weight_decay * weights`, with the `weight_decay` of
/// each layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AdamW(Adam);

impl Rule for AdamW {
    fn check(&self) -> Vec<Mismatch> {
        self.0.check()
    }

    fn decays(&self) -> bool {
        true
    }

    fn lower(&self, graph: &mut Extension, parameter: &Parameter) {
        self.0.lower_with(graph, parameter, parameter.weight_decay);
    }
}
