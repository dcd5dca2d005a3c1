//! A convolution whose weights are others at each position.

use compute::graph::{GraphBuilder, TensorId};
use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::extent::Extent;
use crate::model::initializer::{Initializer, check_decay};
use crate::model::layer::{Layer, LayerKind, Linearity, elements, image_shape, one_input};
use crate::model::window::{Padding, Window};

/// Like a convolution, but each position has weights and biases of its own (cuda-convnet's local
/// layer with unshared biases): `[height, width, in]` to `[height', width', channels]`.
///
/// Weights are `[height', width', kernel height, kernel width, in, channels]`, biases `[height',
/// width', channels]`. Weights that only meet padding are among them; they have no gradient.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocallyConnected {
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
    Initializer::TruncatedNormal(0.04)
}

fn biases() -> Initializer {
    Initializer::Constant(0.0)
}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<LocallyConnected>(
        "locally_connected",
        "Takes weighted sums of windows as `conv2d` does, with other weights at each position.",
        "{ channels: 64, kernel: 3, weights: { truncated_normal: 0.04 }, weight_decay: 0.004 }",
    )
}

impl Layer for LocallyConnected {
    fn linearity(&self) -> Linearity {
        Linearity::Mixes
    }

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
        let [kernel_height, kernel_width] = window.kernel;
        let shape = [out_height, out_width, kernel_height, kernel_width, channels, self.channels];
        elements("kernel", &shape[..5])?;
        let length = elements("channels", &shape)?;
        let output = [out_height, out_width, self.channels];
        let outputs = elements("channels", &output)?;
        let weights = graph.parameter("weights", &shape, self.weights.initial(), self.weight_decay);
        let biases = graph.parameter("biases", &output, self.biases.initial(), 0.0);
        let y = graph.activation(&output);

        graph.count_multiply_adds(length);
        let constants =
            window.constants().with("IN_CHANNELS", channels).with("OUT_CHANNELS", self.channels);
        graph.forward(
            &shaders::locally_connected_forward::KERNEL,
            &[x, weights.value, biases.value, y],
            constants.clone(),
        );

        let Some(dy) = graph.gradient_of(y) else { return Ok(y) };
        if let Some(dw) = weights.gradient {
            let kernel = &shaders::locally_connected_backward_weights::KERNEL;
            graph.backward(kernel, &[x, dy, dw], constants.clone());
        }
        // Biases of their own at each position: those of a single position with all channels.
        super::bias_gradient(graph, dy, biases.gradient, 1, outputs);
        if let Some(dx) = graph.gradient_for(x) {
            graph.backward(
                &shaders::locally_connected_backward_input::KERNEL,
                &[dy, weights.value, dx],
                constants,
            );
        }
        Ok(y)
    }
}
