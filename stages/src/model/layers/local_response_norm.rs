//! Local response normalisation across channels.

use anyhow::Result as AnyResult;
use compute::graph::{GraphBuilder, TensorId};
use compute::kernel::Constants;
use flow::stage::Mismatch;
use onnx::{Attribute, Builder, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::layer::{Layer, LayerKind, first_value, one_input};

/// `y_i = x_i * (bias + alpha * sum of x_j^2 over |j - i| <= radius)^-beta`, over the channels of
/// one pixel (Krizhevsky, Sutskever, Hinton, 2012). `alpha` is TensorFlow's: it is not divided by
/// the window's size.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalResponseNorm {
    /// Channels on either side that count; the window is cut off at the ends.
    #[serde(default = "radius")]
    pub radius: usize,
    /// Added before the power is taken.
    #[serde(default = "bias")]
    pub bias: f64,
    /// Weight of the squares. PyTorch, Caffe and cuDNN divide theirs by the window's size.
    #[serde(default = "alpha")]
    pub alpha: f64,
    /// The power.
    #[serde(default = "beta")]
    pub beta: f64,
}

fn radius() -> usize {
    4
}

fn bias() -> f64 {
    1.0
}

fn alpha() -> f64 {
    0.001 / 9.0
}

fn beta() -> f64 {
    0.75
}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<LocalResponseNorm>(
        "local_response_norm",
        "Divides each value by a power of its neighbours' squares across channels.",
        "{ radius: 4, bias: 1.0, alpha: 0.00011111111, beta: 0.75 }",
    )
}

impl Layer for LocalResponseNorm {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let x = one_input(inputs)?;
        for (field, value, fits) in [
            ("bias", self.bias, self.bias > 0.0 && self.bias.is_finite()),
            ("alpha", self.alpha, self.alpha >= 0.0 && self.alpha.is_finite()),
            ("beta", self.beta, self.beta.is_finite()),
        ] {
            if !fits {
                return Err(Mismatch::field(field, format!("{value} gives no finite scale"))
                    .help("bias must be above 0, alpha not below, beta finite"));
            }
        }
        let shape = graph.shape(x).to_vec();
        let channels = shape.last().copied().unwrap_or(1);
        let constants = Constants::default()
            .with("POSITIONS", shape.iter().product::<usize>() / channels.max(1))
            .with("CHANNELS", channels)
            // No neighbour is further away than there are channels, and sums with this stay small.
            .with("RADIUS", self.radius.min(channels))
            .with_real("BIAS", self.bias)
            .with_real("ALPHA", self.alpha)
            .with_real("BETA", self.beta);
        let y = graph.activation(&shape);
        graph.forward(&shaders::local_response_norm_forward::KERNEL, &[x, y], constants.clone());
        if let (Some(dy), Some(dx)) = (graph.gradient_of(y), graph.gradient_for(x)) {
            let kernel = &shaders::local_response_norm_backward::KERNEL;
            graph.backward(kernel, &[x, dy, dx], constants);
        }
        Ok(y)
    }

    fn onnx(&self, file: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        let x = first_value(inputs)?;
        let channels = x.shape.last().copied().unwrap_or(1);
        let size = 2 * self.radius.min(channels) + 1;
        let attributes = [
            ("size", Attribute::Int(size)),
            // There it is divided by the window's size.
            ("alpha", Attribute::Float(self.alpha * size as f64)),
            ("beta", Attribute::Float(self.beta)),
            ("bias", Attribute::Float(self.bias)),
        ];
        if x.shape.len() == 3 {
            let name = file.node("LRN", &[&x.name], &attributes);
            return Ok(Value { name, ..x.clone() });
        }
        // Numbers without pixels become the channels of a single one.
        let axes = file.indices("axes", &[2, 3]);
        let pixel = file.node("Unsqueeze", &[&x.name, &axes], &[]);
        let normalized = file.node("LRN", &[&pixel], &attributes);
        let name = file.node("Flatten", &[&normalized], &[]);
        Ok(Value { name, ..x.clone() })
    }
}
