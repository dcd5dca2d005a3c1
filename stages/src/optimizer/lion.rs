//! Lion.

use compute::graph::{Extension, Parameter};
use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OptimizerKind, UpdateRule, check_kept};

/// By the same amount for each weight, against the sign of a mean of the gradients (Chen et al., "Symbolic
/// Discovery of Optimization Algorithms", 2023): `weights -= rate * (sign(beta1 * mean + (1 - beta1) *
/// gradient) + weight_decay * weights)`, with the `weight_decay` of each layer, then `mean = beta2 * mean +
/// (1 - beta2) * gradient`. The sign of 0 is 0. Its authors take rates 3 to 10 times lower than for
/// `adamw`, and decays higher by as much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lion {
    /// The share of the mean in the direction of a step, 0 to below 1.
    pub beta1: f64,
    /// The decay of the mean of the gradients, 0 to below 1.
    pub beta2: f64,
}

impl Default for Lion {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.99 }
    }
}

/// The kind.
pub fn kind() -> OptimizerKind {
    OptimizerKind::of::<Lion>(
        "lion",
        "By the same amount for each weight, against the sign of a mean of the gradients, with a weight \
         decay like that of `adamw`.",
        "{ beta1: 0.9, beta2: 0.99 }",
    )
}

impl UpdateRule for Lion {
    fn check(&self) -> Vec<Mismatch> {
        [("beta1", self.beta1, 0.9), ("beta2", self.beta2, 0.99)]
            .into_iter()
            .filter_map(|(field, kept, usual)| {
                check_kept(field, kept).map(|wrong| wrong.help(format!("{usual} is usual")))
            })
            .collect()
    }

    fn decays(&self) -> bool {
        true
    }

    fn lower(&self, graph: &mut Extension, parameter: &Parameter) {
        let mean = graph.state_of(parameter, "mean");
        let length = graph.len(parameter.value);
        let betas = [self.beta1, self.beta2];
        graph.update(
            &shaders::lion_update::KERNEL,
            &[parameter.gradient, mean, parameter.value],
            shaders::lion_update::constants(length, betas, parameter.weight_decay),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn betas_out_of_range_are_told_all_at_once() {
        let fields = |text| -> Vec<String> {
            let lion: Lion = serde_json::from_str(text).expect("an optimiser");
            lion.check().iter().map(|wrong| wrong.field.join(".")).collect()
        };
        assert_eq!(fields("{}"), [""; 0]);
        assert_eq!(fields(r#"{ "beta1": 0, "beta2": 0 }"#), [""; 0]);
        assert_eq!(fields(r#"{ "beta1": 1, "beta2": -0.1 }"#), ["beta1", "beta2"]);
    }
}
