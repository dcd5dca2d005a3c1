//! The rectifier.

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

/// `max(x, 0)`, any shape.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Relu {}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<Relu>("relu", "Replaces negative values by 0.", "{}")
}

impl Layer for Relu {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let x = one_input(inputs)?;
        let shape = graph.shape(x).to_vec();
        let constants = Constants::default().with("LENGTH", shape.iter().product());
        let y = graph.activation(&shape);
        graph.forward(&shaders::relu_forward::KERNEL, &[x, y], constants.clone());
        if let (Some(dy), Some(dx)) = (graph.gradient_of(y), graph.gradient_for(x)) {
            graph.backward(&shaders::relu_backward::KERNEL, &[y, dy, dx], constants);
        }
        Ok(y)
    }

    fn before_loss(&self) -> Option<(&'static Lint, &'static str)> {
        let told = "a relu before the loss takes away all negative scores";
        Some((&ACTIVATION_BEFORE_LOSS, told))
    }

    fn onnx(&self, file: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        let x = first_value(inputs)?;
        let name = file.node("Relu", &[&x.name], &[]);
        Ok(Value { name, ..x.clone() })
    }
}
