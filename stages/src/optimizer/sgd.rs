//! Plain gradient descent.

use compute::graph::{Extension, Parameter};
use compute::kernel::Constants;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OptimizerKind, UpdateRule};

/// `weights -= rate * gradients`, as in the tutorial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sgd {}

/// The kind.
pub fn kind() -> OptimizerKind {
    OptimizerKind::of::<Sgd>("sgd", "Against the gradient: `weights -= rate * gradients`.", "{}")
}

impl UpdateRule for Sgd {
    fn lower(&self, graph: &mut Extension, parameter: &Parameter) {
        graph.update(
            &shaders::sgd_update::KERNEL,
            &[parameter.gradient, parameter.value],
            Constants::default().with("LENGTH", graph.len(parameter.value)),
        );
    }
}
