//! Average pooling.

use anyhow::Result as AnyResult;
use compute::graph::{GraphBuilder, TensorId};
use compute::kernel::Constants;
use flow::stage::Mismatch;
use onnx::{Attribute, Builder, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::extent::Extent;
use crate::model::layer::{Layer, LayerKind, Linearity, first_value, image_shape, one_input};
use crate::model::window::{Padding, Window};

/// The mean of each window, channel by channel. Padding does not count: at the edge, a window's sum is
/// divided by the pixels that lie inside the image, as in TensorFlow.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AvgPool {
    /// Window size in pixels: one number, or `[height, width]`.
    #[serde(default = "two")]
    pub kernel: Extent,
    /// Step of the window in pixels: one number, or `[vertical, horizontal]`.
    #[serde(default = "two")]
    pub stride: Extent,
    /// What happens at the edge.
    #[serde(default)]
    pub padding: Padding,
}

fn two() -> Extent {
    Extent::square(2)
}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<AvgPool>(
        "avg_pool",
        "Takes the mean of each window.",
        "{ kernel: 2, stride: 2, padding: same }",
    )
}

impl Layer for AvgPool {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let x = one_input(inputs)?;
        let [height, width, channels] = image_shape(graph, x)?;
        let window = Window::new([height, width], self.kernel, self.stride, self.padding)?;
        let y = graph.activation(&[window.output[0], window.output[1], channels]);
        lower(graph, x, y, window.constants().with("CHANNELS", channels));
        Ok(y)
    }

    fn linearity(&self) -> Linearity {
        Linearity::Keeps
    }

    fn onnx(&self, file: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        let x = first_value(inputs)?;
        let (window, channels) = Window::over(x, self.kernel, self.stride, self.padding)?;
        let mut attributes = window.onnx();
        attributes.push(("count_include_pad", Attribute::Int(0)));
        let name = file.node("AveragePool", &[&x.name], &attributes);
        Ok(window.output_value(name, channels))
    }
}

/// Both passes of an average over windows.
pub(super) fn lower(graph: &mut GraphBuilder, x: TensorId, y: TensorId, constants: Constants) {
    graph.forward(&shaders::avg_pool_forward::KERNEL, &[x, y], constants.clone());
    if let (Some(dy), Some(dx)) = (graph.gradient_of(y), graph.gradient_for(x)) {
        graph.backward(&shaders::avg_pool_backward::KERNEL, &[dy, dx], constants);
    }
}
