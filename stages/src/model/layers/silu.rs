//! Sigmoid linear units.

use anyhow::Result as AnyResult;
use compute::graph::{GraphBuilder, TensorId};
use compute::kernel::Constants;
use flow::lint::Lint;
use flow::stage::Mismatch;
use onnx::{Builder, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lints::ACTIVATION_BEFORE_LOSS;
use crate::model::layer::{Layer, LayerKind, first_value, one_input};

/// `x / (1 + e^-x)`, any shape; also called swish (Elfwing et al., 2017).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Silu {}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<Silu>("silu", "Weighs each value by its sigmoid.", "{}")
}

impl Layer for Silu {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let x = one_input(inputs)?;
        let shape = graph.shape(x).to_vec();
        let constants = Constants::default().with("LENGTH", shape.iter().product());
        let y = graph.activation(&shape);
        graph.forward(&shaders::silu_forward::KERNEL, &[x, y], constants.clone());
        if let (Some(dy), Some(dx)) = (graph.gradient_of(y), graph.gradient_for(x)) {
            graph.backward(&shaders::silu_backward::KERNEL, &[x, dy, dx], constants);
        }
        Ok(y)
    }

    fn before_loss(&self) -> Option<(&'static Lint, &'static str)> {
        let told = "a silu before the loss takes away nearly all negative scores";
        Some((&ACTIVATION_BEFORE_LOSS, told))
    }

    fn onnx(&self, file: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        let x = first_value(inputs)?;
        let share = file.node("Sigmoid", &[&x.name], &[]);
        let name = file.node("Mul", &[&x.name, &share], &[]);
        Ok(Value { name, ..x.clone() })
    }
}
