//! Two-dimensional convolution with a bias.

use anyhow::Result as AnyResult;
use compute::graph::{GraphBuilder, TensorId};
use flow::stage::Mismatch;
use onnx::{Builder, Tensor, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::extent::Extent;
use crate::model::initializer::{Initializer, check_decay};
use crate::model::layer::{
    Layer, LayerKind, Linearity, elements, first_value, image_shape, one_input,
};
use crate::model::splits;
use crate::model::window::{Padding, Window};

/// Convolution: `[height, width, in]` to `[height', width', channels]`.
///
/// Weights are `[kernel height, kernel width, in, channels]`, biases `[channels]`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    /// Output channels.
    pub channels: usize,
    /// Window size in pixels: one number, or `[height, width]`.
    pub kernel: Extent,
    /// Step of the window in pixels: one number, or `[vertical, horizontal]`.
    #[serde(default = "one")]
    pub stride: Extent,
    /// What happens at the edge.
    #[serde(default)]
    pub padding: Padding,
    /// The first weights. The tutorial's later version has standard deviation 0.05, that of 2015
    /// had 0.0001.
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
    Initializer::TruncatedNormal(0.05)
}

fn biases() -> Initializer {
    Initializer::Constant(0.0)
}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<Conv2d>(
        "conv2d",
        "Slides a window over the image and takes weighted sums, plus a bias.",
        "{ channels: 64, kernel: 5, padding: same, weights: { truncated_normal: 0.05 } }",
    )
}

impl Layer for Conv2d {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let x = one_input(inputs)?;
        let [height, width, channels] = image_shape(graph, x)?;
        if self.channels == 0 {
            return Err(Mismatch::field("channels", "a layer needs at least 1 channel"));
        }
        self.weights.check("weights")?;
        self.biases.check("biases")?;
        check_decay(self.weight_decay)?;
        let window = Window::new([height, width], self.kernel, self.stride, self.padding)?;
        let [out_height, out_width] = window.output;
        let shape = [window.kernel[0], window.kernel[1], channels, self.channels];
        let taps = elements("kernel", &shape[..3])?;
        let length = elements("channels", &shape)?;
        elements("channels", &[out_height, out_width, self.channels])?;
        let weights = graph.parameter("weights", &shape, self.weights.initial(), self.weight_decay);
        let biases = graph.parameter("biases", &[self.channels], self.biases.initial(), 0.0);
        let y = graph.activation(&[out_height, out_width, self.channels]);

        graph.count_multiply_adds(out_height * out_width * taps * self.channels);
        let constants = window.in_one_row().constants();
        let constants = constants.with("IN_CHANNELS", channels).with("OUT_CHANNELS", self.channels);
        graph.forward(
            &shaders::conv2d_forward::KERNEL,
            &[x, weights.value, biases.value, y],
            constants.clone(),
        );

        let Some(dy) = graph.gradient_of(y) else { return Ok(y) };
        if let Some(dw) = weights.gradient {
            let parts = splits(length);
            let partials = graph.partial("weights/partials", &[parts, length]);
            graph.backward(
                &shaders::conv2d_backward_weights::KERNEL,
                &[x, dy, partials],
                constants.clone().with("SPLITS", parts),
            );
            super::sum(graph, partials, dw, parts, length);
        }
        super::bias_gradient(graph, dy, biases.gradient, out_height * out_width, self.channels);
        if let Some(dx) = graph.gradient_for(x) {
            graph.backward(
                &shaders::conv2d_backward_input::KERNEL,
                &[dy, weights.value, dx],
                constants,
            );
        }
        Ok(y)
    }

    fn linearity(&self) -> Linearity {
        Linearity::Mixes
    }

    fn onnx(&self, file: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        let x = first_value(inputs)?;
        let (window, channels) = Window::over(x, self.kernel, self.stride, self.padding)?;
        let (taps, weights) = (window.kernel[0] * window.kernel[1], file.weights("weights")?);
        // [taps, in, out] becomes [out, in, taps].
        let mut values = Vec::with_capacity(weights.values.len());
        for output in 0..self.channels {
            for input in 0..channels {
                let place = |tap| (tap * channels + input) * self.channels + output;
                values.extend((0..taps).map(|tap| weights.values[place(tap)]));
            }
        }
        let shape = vec![self.channels, channels, window.kernel[0], window.kernel[1]];
        let weights = file.constant("weights", &Tensor { shape, values });
        let biases = file.weights("biases")?;
        let biases = file.constant("biases", &biases);
        let name = file.node("Conv", &[&x.name, &weights, &biases], &window.onnx());
        Ok(window.output_value(name, self.channels))
    }
}
