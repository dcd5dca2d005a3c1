//! Dropout.

use anyhow::Result as AnyResult;
use base::random::key_of;
use compute::graph::{GraphBuilder, TensorId};
use flow::lint::Lint;
use flow::stage::Mismatch;
use onnx::{Builder, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lints::DROPOUT_BEFORE_LOSS;
use crate::model::layer::{Layer, LayerKind, Linearity, first_value, one_input};

/// In training, makes each number 0 with probability `rate` and divides the others by `1 - rate`
/// (Srivastava et al., 2014, scaled as PyTorch and Keras do); in scoring, changes nothing. What is
/// dropped is keyed by a seed that is drawn from the run's for kernels, and by the layer's name, the
/// image and the epoch: neither batches nor adapters change it, and a run that goes on drops the same.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dropout {
    /// The share that is dropped, 0 to below 1.
    #[serde(default = "half")]
    pub rate: f64,
}

fn half() -> f64 {
    0.5
}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<Dropout>(
        "dropout",
        "In training, makes some numbers 0 at random and scales the others.",
        "{ rate: 0.5 }",
    )
}

impl Layer for Dropout {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let x = one_input(inputs)?;
        if !(0.0..1.0).contains(&self.rate) {
            let found = format!("expected a share from 0 to below 1, found {}", self.rate);
            return Err(Mismatch::field("rate", found)
                .help("it is the share that is dropped; 0.5 is usual"));
        }
        let shape = graph.shape(x).to_vec();
        let key = key_of(graph.layer_name());
        let constants = shaders::dropout::constants(shape.iter().product(), self.rate, key);
        let (ids, y) = (graph.sample_ids(), graph.activation(&shape));
        graph.forward(&shaders::dropout::KERNEL, &[x, ids, y], constants.clone());
        if let (Some(dy), Some(dx)) = (graph.gradient_of(y), graph.gradient_for(x)) {
            // The same numbers are drawn again.
            graph.backward(&shaders::dropout::KERNEL, &[dy, ids, dx], constants);
        }
        Ok(y)
    }

    fn linearity(&self) -> Linearity {
        Linearity::Keeps
    }

    fn before_loss(&self) -> Option<(&'static Lint, &'static str)> {
        Some((&DROPOUT_BEFORE_LOSS, "dropout before the loss makes scores of classes 0 at random"))
    }

    /// Nothing is dropped in scoring.
    fn onnx(&self, _: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        first_value(inputs).cloned()
    }
}
