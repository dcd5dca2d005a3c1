//! Softmax between layers.

use anyhow::Result as AnyResult;
use compute::graph::{GraphBuilder, TensorId};
use compute::kernel::Constants;
use flow::lint::Lint;
use flow::stage::Mismatch;
use onnx::{Attribute, Builder, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lints::ACTIVATION_BEFORE_LOSS;
use crate::model::layer::{Layer, LayerKind, first_value, one_input};

/// `e^x / sum of e^x` over the channels of each pixel, or over all numbers of a dense layer. The loss
/// `softmax_cross_entropy` has its own and takes logits: this is for what comes before them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Softmax {}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<Softmax>("softmax", "Makes shares that add up to 1 of the channels.", "{}")
}

impl Layer for Softmax {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let x = one_input(inputs)?;
        let shape = graph.shape(x).to_vec();
        let channels = shape.last().copied().unwrap_or(1);
        let constants = Constants::default()
            .with("POSITIONS", shape.iter().product::<usize>() / channels.max(1))
            .with("CHANNELS", channels);
        let y = graph.activation(&shape);
        graph.forward(&shaders::softmax_forward::KERNEL, &[x, y], constants.clone());
        if let (Some(dy), Some(dx)) = (graph.gradient_of(y), graph.gradient_for(x)) {
            graph.backward(&shaders::softmax_backward::KERNEL, &[y, dy, dx], constants);
        }
        Ok(y)
    }

    fn before_loss(&self) -> Option<(&'static Lint, &'static str)> {
        let told = "the loss has a softmax of its own and takes scores of any size: after this one they are between 0 and 1";
        Some((&ACTIVATION_BEFORE_LOSS, told))
    }

    fn onnx(&self, file: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        let x = first_value(inputs)?;
        // The channels, which come after the images.
        let name = file.node("Softmax", &[&x.name], &[("axis", Attribute::Int(1))]);
        Ok(Value { name, ..x.clone() })
    }
}
