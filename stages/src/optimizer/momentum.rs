//! Gradient descent with momentum.

use compute::graph::{Extension, Parameter};
use compute::kernel::Constants;
use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OptimizerKind, UpdateRule, check_kept};

/// `sum = momentum * sum + gradients`, then `weights -= rate * sum`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Momentum {
    /// What is left of the sum after a step, 0 to below 1.
    pub momentum: f64,
    /// Nesterov's form: steps against `momentum * sum + gradients`, with the new sum.
    pub nesterov: bool,
}

/// The kind.
pub fn kind() -> OptimizerKind {
    OptimizerKind::of::<Momentum>(
        "momentum",
        "Against a decaying sum of the gradients.",
        "{ momentum: 0.9, nesterov: true }",
    )
}

impl Default for Momentum {
    fn default() -> Self {
        Self { momentum: 0.9, nesterov: false }
    }
}

impl UpdateRule for Momentum {
    fn check(&self) -> Vec<Mismatch> {
        let wrong = check_kept("momentum", self.momentum);
        wrong.map(|wrong| wrong.help("0.9 is usual; 0 is plain `sgd`")).into_iter().collect()
    }

    fn lower(&self, graph: &mut Extension, parameter: &Parameter) {
        let sum = graph.state_of(parameter, "momentum");
        graph.update(
            &shaders::momentum_update::KERNEL,
            &[parameter.gradient, sum, parameter.value],
            Constants::default()
                .with("LENGTH", graph.len(parameter.value))
                .with_real("MOMENTUM", self.momentum)
                .with("NESTEROV", usize::from(self.nesterov)),
        );
    }
}
