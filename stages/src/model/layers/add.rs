//! The sum of two layers' outputs.

use anyhow::Result as AnyResult;
use compute::graph::{GraphBuilder, TensorId};
use compute::kernel::Constants;
use flow::stage::Mismatch;
use onnx::{Builder, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::layer::{Layer, LayerKind, first_value};

/// Adds two outputs of the same shape, named by `from: [one, other]` (residual networks).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Add {}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<Add>("add", "Adds the outputs of two earlier layers.", "{}")
}

impl Layer for Add {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let [left, right] = inputs else {
            return Err(Mismatch::field("from", "add takes two inputs")
                .help("write `from: [one_layer, other_layer]`"));
        };
        let shape = graph.shape(*left).to_vec();
        if shape != graph.shape(*right) {
            return Err(Mismatch::field(
                "from",
                format!("add takes two of one shape, not {shape:?} and {:?}", graph.shape(*right)),
            ));
        }
        let length = shape.iter().product();
        let constants = Constants::default().with("LENGTH", length);
        let y = graph.activation(&shape);
        graph.forward(&shaders::add_forward::KERNEL, &[*left, *right, y], constants.clone());
        let Some(dy) = graph.gradient_of(y) else { return Ok(y) };
        for input in [*left, *right] {
            if let Some(dx) = graph.gradient_for(input) {
                graph.backward(&shaders::copy::KERNEL, &[dy, dx], constants.clone());
            }
        }
        Ok(y)
    }

    fn onnx(&self, file: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        let name = file.node("Add", &names, &[]);
        Ok(Value { name, ..first_value(inputs)?.clone() })
    }
}
