//! A fully connected layer.

use anyhow::Result as AnyResult;
use compute::graph::{GraphBuilder, TensorId};
use compute::kernel::Constants;
use flow::stage::Mismatch;
use onnx::{Builder, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::initializer::{Initializer, check_decay};
use crate::model::layer::{
    Layer, LayerKind, Linearity, elements, first_value, image_value, one_input,
};

/// Fully connected: any shape, flattened in the order height, width, channels, to `[units]`.
///
/// Weights are `[in, units]`, biases `[units]`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    /// Outputs.
    pub units: usize,
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

fn weights() -> Initializer {
    Initializer::TruncatedNormal(0.04)
}

fn biases() -> Initializer {
    Initializer::Constant(0.0)
}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<Dense>(
        "dense",
        "Multiplies all inputs by a matrix and adds a bias (the tutorial's local3 and local4).",
        "{ units: 384, weights: { truncated_normal: 0.04 }, weight_decay: 0.004 }",
    )
}

impl Layer for Dense {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let x = one_input(inputs)?;
        if self.units == 0 {
            return Err(Mismatch::field("units", "a layer needs at least 1 unit"));
        }
        self.weights.check("weights")?;
        self.biases.check("biases")?;
        check_decay(self.weight_decay)?;
        let inputs = graph.shape(x).iter().product();
        let shape = [inputs, self.units];
        elements("units", &shape)?;
        let weights = graph.parameter("weights", &shape, self.weights.initial(), self.weight_decay);
        let biases = graph.parameter("biases", &[self.units], self.biases.initial(), 0.0);
        let y = graph.activation(&[self.units]);

        graph.count_multiply_adds(inputs * self.units);
        let constants = Constants::default().with("INPUTS", inputs).with("OUTPUTS", self.units);
        graph.forward(
            &shaders::dense_forward::KERNEL,
            &[x, weights.value, biases.value, y],
            constants.clone(),
        );

        let Some(dy) = graph.gradient_of(y) else { return Ok(y) };
        if let Some(dw) = weights.gradient {
            let kernel = &shaders::dense_backward_weights::KERNEL;
            graph.backward(kernel, &[x, dy, dw], constants.clone());
        }
        super::bias_gradient(graph, dy, biases.gradient, 1, self.units);
        if let Some(dx) = graph.gradient_for(x) {
            graph.backward(
                &shaders::dense_backward_input::KERNEL,
                &[dy, weights.value, dx],
                constants,
            );
        }
        Ok(y)
    }

    fn linearity(&self) -> Linearity {
        Linearity::Mixes
    }

    fn is_dense(&self) -> bool {
        true
    }

    fn onnx(&self, file: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        let x = first_value(inputs)?;
        let mut weights = file.weights("weights")?;
        let mut flat = x.name.clone();
        if let Ok([height, width, channels]) = image_value(x) {
            // Rows in the order in which numbers lie there: channels first.
            let (pixels, rows) = (height * width, std::mem::take(&mut weights.values));
            for channel in 0..channels {
                for pixel in 0..pixels {
                    let first = (pixel * channels + channel) * self.units;
                    weights.values.extend_from_slice(&rows[first..first + self.units]);
                }
            }
            flat = file.node("Flatten", &[&x.name], &[]);
        }
        let weights = file.constant("weights", &weights);
        let biases = file.weights("biases")?;
        let biases = file.constant("biases", &biases);
        let name = file.node("Gemm", &[&flat, &weights, &biases], &[]);
        Ok(Value { name, shape: vec![self.units] })
    }
}
