//! Two-dimensional convolution of each channel by itself.

use anyhow::Result as AnyResult;
use compute::graph::{GraphBuilder, TensorId};
use flow::stage::Mismatch;
use onnx::{Attribute, Builder, Tensor, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::extent::Extent;
use crate::model::initializer::{Initializer, check_decay};
use crate::model::layer::{
    Layer, LayerKind, Linearity, elements, first_value, image_shape, one_input,
};
use crate::model::splits;
use crate::model::window::{Padding, Window};

/// Convolution of each channel by itself: `[height, width, channels]` to `[height', width',
/// channels]`. With a `conv2d` of kernel 1 after it, a separable convolution (Howard et al., 2017,
/// "MobileNets").
///
/// Weights are `[kernel height, kernel width, channels]`, biases `[channels]`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DepthwiseConv2d {
    /// Window size in pixels: one number, or `[height, width]`.
    pub kernel: Extent,
    /// Step of the window in pixels: one number, or `[vertical, horizontal]`.
    #[serde(default = "one")]
    pub stride: Extent,
    /// What happens at the edge.
    #[serde(default)]
    pub padding: Padding,
    /// The first weights.
    #[serde(default = "weights")]
    pub weights: Initializer,
    /// The first biases.
    #[serde(default = "biases")]
    pub biases: Initializer,
    /// Adds `weight_decay / 2 * sum of squared weights` to the loss. With the optimisers `adamw`
    /// and `lion` it shrinks the weights in each step instead.
    #[serde(default)]
    pub weight_decay: f64,
}

fn one() -> Extent {
    Extent::square(1)
}

fn weights() -> Initializer {
    Initializer::TruncatedNormal(0.3)
}

fn biases() -> Initializer {
    Initializer::Constant(0.0)
}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<DepthwiseConv2d>(
        "depthwise_conv2d",
        "Slides a window over each channel by itself and takes weighted sums, plus a bias.",
        "{ kernel: 3, padding: same, weights: { truncated_normal: 0.3 } }",
    )
}

impl Layer for DepthwiseConv2d {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let x = one_input(inputs)?;
        let [height, width, channels] = image_shape(graph, x)?;
        self.weights.check("weights")?;
        self.biases.check("biases")?;
        check_decay(self.weight_decay)?;
        let window = Window::new([height, width], self.kernel, self.stride, self.padding)?;
        let [out_height, out_width] = window.output;
        let shape = [window.kernel[0], window.kernel[1], channels];
        let length = elements("kernel", &shape)?;
        let weights = graph.parameter("weights", &shape, self.weights.initial(), self.weight_decay);
        let biases = graph.parameter("biases", &[channels], self.biases.initial(), 0.0);
        let y = graph.activation(&[out_height, out_width, channels]);

        graph.count_multiply_adds(out_height * out_width * length);
        let constants = window.constants().with("CHANNELS", channels);
        graph.forward(
            &shaders::depthwise_conv2d_forward::KERNEL,
            &[x, weights.value, biases.value, y],
            constants.clone(),
        );

        let Some(dy) = graph.gradient_of(y) else { return Ok(y) };
        if let Some(dw) = weights.gradient {
            let parts = splits(length);
            let partials = graph.partial("weights/partials", &[parts, length]);
            graph.backward(
                &shaders::depthwise_conv2d_backward_weights::KERNEL,
                &[x, dy, partials],
                constants.clone().with("SPLITS", parts),
            );
            super::sum(graph, partials, dw, parts, length);
        }
        super::bias_gradient(graph, dy, biases.gradient, out_height * out_width, channels);
        if let Some(dx) = graph.gradient_for(x) {
            graph.backward(
                &shaders::depthwise_conv2d_backward_input::KERNEL,
                &[dy, weights.value, dx],
                constants,
            );
        }
        Ok(y)
    }

    fn linearity(&self) -> Linearity {
        Linearity::Keeps
    }

    fn onnx(&self, file: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        let x = first_value(inputs)?;
        let (window, channels) = Window::over(x, self.kernel, self.stride, self.padding)?;
        let weights = file.weights("weights")?;
        // [taps, channels] becomes [channels, 1, taps]: as many groups as there are channels.
        let of_channel = |channel| weights.values.iter().skip(channel).step_by(channels);
        let values = (0..channels).flat_map(of_channel).copied().collect();
        let shape = vec![channels, 1, window.kernel[0], window.kernel[1]];
        let weights = file.constant("weights", &Tensor { shape, values });
        let biases = file.weights("biases")?;
        let biases = file.constant("biases", &biases);
        let mut attributes = window.onnx();
        attributes.push(("group", Attribute::Int(channels)));
        let name = file.node("Conv", &[&x.name, &weights, &biases], &attributes);
        Ok(window.output_value(name, channels))
    }
}
