//! Max pooling.

use anyhow::Result as AnyResult;
use compute::graph::{GraphBuilder, TensorId};
use flow::stage::Mismatch;
use onnx::{Builder, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::extent::Extent;
use crate::model::layer::{Layer, LayerKind, first_value, image_shape, one_input};
use crate::model::window::{Padding, Window};

/// The largest value in each window, channel by channel. Padding never competes; of equal values
/// the first in reading order gets the gradient.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxPool {
    /// Window size in pixels: one number, or `[height, width]`.
    #[serde(default = "three")]
    pub kernel: Extent,
    /// Step of the window in pixels: one number, or `[vertical, horizontal]`.
    #[serde(default = "two")]
    pub stride: Extent,
    /// What happens at the edge.
    #[serde(default)]
    pub padding: Padding,
}

fn three() -> Extent {
    Extent::square(3)
}

fn two() -> Extent {
    Extent::square(2)
}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<MaxPool>(
        "max_pool",
        "Keeps the largest value in each window.",
        "{ kernel: 3, stride: 2, padding: same }",
    )
}

impl Layer for MaxPool {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let x = one_input(inputs)?;
        let [height, width, channels] = image_shape(graph, x)?;
        let window = Window::new([height, width], self.kernel, self.stride, self.padding)?;
        let shape = [window.output[0], window.output[1], channels];
        let constants = window.constants().with("CHANNELS", channels);
        let y = graph.activation(&shape);
        let winners = graph.indices("winners", &shape);
        graph.forward(&shaders::max_pool_forward::KERNEL, &[x, y, winners], constants.clone());
        if let (Some(dy), Some(dx)) = (graph.gradient_of(y), graph.gradient_for(x)) {
            graph.backward(&shaders::max_pool_backward::KERNEL, &[dy, winners, dx], constants);
        }
        Ok(y)
    }

    fn onnx(&self, file: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        let x = first_value(inputs)?;
        let (window, channels) = Window::over(x, self.kernel, self.stride, self.padding)?;
        let attributes = window.onnx();
        let name = file.node("MaxPool", &[&x.name], &attributes);
        Ok(window.output_value(name, channels))
    }
}
