//! Gaussian error linear units.

use anyhow::Result as AnyResult;
use compute::graph::{GraphBuilder, TensorId};
use compute::kernel::Constants;
use flow::lint::Lint;
use flow::stage::Mismatch;
use onnx::{Builder, Tensor, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lints::ACTIVATION_BEFORE_LOSS;
use crate::model::layer::{Layer, LayerKind, first_value, one_input};

/// `x * P(normal number < x)`, any shape (Hendrycks, Gimpel, 2016). By the error function itself, which is
/// PyTorch's default; not by its approximation with `tanh`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gelu {}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<Gelu>(
        "gelu",
        "Weighs each value by the share of normal numbers below it.",
        "{}",
    )
}

impl Layer for Gelu {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let x = one_input(inputs)?;
        let shape = graph.shape(x).to_vec();
        let constants = Constants::default().with("LENGTH", shape.iter().product());
        let y = graph.activation(&shape);
        graph.forward(&shaders::gelu_forward::KERNEL, &[x, y], constants.clone());
        if let (Some(dy), Some(dx)) = (graph.gradient_of(y), graph.gradient_for(x)) {
            graph.backward(&shaders::gelu_backward::KERNEL, &[x, dy, dx], constants);
        }
        Ok(y)
    }

    fn before_loss(&self) -> Option<(&'static Lint, &'static str)> {
        let told = "a gelu before the loss takes away nearly all negative scores";
        Some((&ACTIVATION_BEFORE_LOSS, told))
    }

    /// By the error function: the operator `Gelu` came later than most runtimes.
    fn onnx(&self, file: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        let x = first_value(inputs)?;
        let number = |file: &mut Builder, name: &str, value: f32| {
            file.constant(name, &Tensor { shape: Vec::new(), values: vec![value] })
        };
        let scale = number(file, "scale", std::f32::consts::FRAC_1_SQRT_2);
        let (one, half) = (number(file, "one", 1.0), number(file, "half", 0.5));
        let scaled = file.node("Mul", &[&x.name, &scale], &[]);
        let erf = file.node("Erf", &[&scaled], &[]);
        let twice = file.node("Add", &[&erf, &one], &[]);
        let share = file.node("Mul", &[&twice, &half], &[]);
        let name = file.node("Mul", &[&x.name, &share], &[]);
        Ok(Value { name, ..x.clone() })
    }
}
