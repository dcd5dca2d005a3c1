//! Adam.

use compute::graph::{Extension, Parameter};
use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OptimizerKind, UpdateRule, check_kept};

/// Against the mean of the gradients over the root of their mean square, both corrected for having
/// begun at 0 (Kingma and Ba, "Adam", 2015). At step `t`, counted from 1: `mean = beta1 * mean + (1 -
/// beta1) * gradient`, `square = beta2 * square + (1 - beta2) * gradient^2`, then `weights -= rate *
/// (mean / (1 - beta1^t)) / (sqrt(square / (1 - beta2^t)) + epsilon)`: `epsilon` is added to the root
/// after the correction, as in PyTorch; TensorFlow adds it before. Layers' `weight_decay` is part of
/// the gradient; with `adamw` it is not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Adam {
    /// The decay of the mean of the gradients, 0 to below 1.
    pub beta1: f64,
    /// The decay of the mean of their squares, 0 to below 1.
    pub beta2: f64,
    /// Added to the corrected root, above 0: keeps steps small where gradients are next to nothing.
    pub epsilon: f64,
}

/// The kind.
pub fn kind() -> OptimizerKind {
    OptimizerKind::of::<Adam>(
        "adam",
        "Against the mean of the gradients over the root of their mean square.",
        "{ beta1: 0.9, beta2: 0.999 }",
    )
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

impl Adam {
    /// Adds the step of one parameter, with this decay beside the gradient.
    pub(super) fn lower_with(&self, graph: &mut Extension, parameter: &Parameter, decay: f64) {
        let means = graph.state_of(parameter, "mean");
        let squares = graph.state_of(parameter, "mean_square");
        let length = graph.len(parameter.value);
        graph.update(
            &shaders::adam_update::KERNEL,
            &[parameter.gradient, means, squares, parameter.value],
            shaders::adam_update::constants(length, [self.beta1, self.beta2], self.epsilon, decay),
        );
    }
}

impl UpdateRule for Adam {
    fn check(&self) -> Vec<Mismatch> {
        let mut wrong: Vec<Mismatch> = [("beta1", self.beta1, 0.9), ("beta2", self.beta2, 0.999)]
            .into_iter()
            .filter_map(|(field, kept, usual)| {
                check_kept(field, kept).map(|wrong| wrong.help(format!("{usual} is usual")))
            })
            .collect();
        // In f32, where what is tiny is 0.
        if !(f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&self.epsilon) {
            let found = format!("expected a number above 0, found {}", self.epsilon);
            wrong.push(Mismatch::field("epsilon", found).help("1e-8 is usual"));
        }
        wrong
    }

    fn lower(&self, graph: &mut Extension, parameter: &Parameter) {
        self.lower_with(graph, parameter, 0.0);
    }
}
