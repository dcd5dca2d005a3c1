//! The rectifier.

use anyhow::Result as AnyResult;
use runtime::graph::{GraphBuilder, TensorId};
use runtime::kernel::Constants;
use runtime::onnx::{Builder, Value};
use runtime::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

    fn onnx(&self, file: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        let x = first_value(inputs)?;
        let name = file.node("Relu", &[&x.name], &[]);
        Ok(Value { name, ..x.clone() })
    }
}
