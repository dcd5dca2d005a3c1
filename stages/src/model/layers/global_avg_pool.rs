//! The mean over all pixels.

use anyhow::Result as AnyResult;
use compute::graph::{GraphBuilder, TensorId};
use flow::stage::Mismatch;
use onnx::{Builder, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::extent::Extent;
use crate::model::layer::{
    Layer, LayerKind, Linearity, first_value, image_shape, image_value, one_input,
};
use crate::model::window::{Padding, Window};

/// The mean of each channel over all pixels: `[height, width, channels]` to `[channels]`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlobalAvgPool {}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<GlobalAvgPool>(
        "global_avg_pool",
        "Takes the mean of each channel over all pixels.",
        "{}",
    )
}

impl Layer for GlobalAvgPool {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let x = one_input(inputs)?;
        let [height, width, channels] = image_shape(graph, x)?;
        // A single window, which has all of the image.
        let all = Extent { height, width };
        let window = Window::new([height, width], all, all, Padding::Valid)?;
        let y = graph.activation(&[channels]);
        super::avg_pool::lower(graph, x, y, window.constants().with("CHANNELS", channels));
        Ok(y)
    }

    fn linearity(&self) -> Linearity {
        Linearity::Keeps
    }

    fn onnx(&self, file: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        let x = first_value(inputs)?;
        let [_, _, channels] = image_value(x)?;
        let means = file.node("GlobalAveragePool", &[&x.name], &[]);
        let name = file.node("Flatten", &[&means], &[]);
        Ok(Value { name, shape: vec![channels] })
    }
}
