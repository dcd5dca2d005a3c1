//! The loss.

use anyhow::Result as AnyResult;
use compute::graph::{GraphBuilder, TensorId};
use compute::kernel::Constants;
use flow::stage::Mismatch;
use onnx::{Builder, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::layer::{Layer, LayerKind, first_value, one_input};

/// `-sum of label * log(softmax(logits))`, averaged over the batch. The last layer of a model;
/// its input are the logits, one per class.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SoftmaxCrossEntropy {
    /// In training, the share of each label that is spread evenly over all classes, 0 to below 1.
    /// When scoring, the loss is that of the true labels.
    #[serde(default)]
    pub label_smoothing: f64,
}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<SoftmaxCrossEntropy>(
        "softmax_cross_entropy",
        "The loss: how far the softmax of the logits is from the label.",
        "{}",
    )
}

impl Layer for SoftmaxCrossEntropy {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let logits = one_input(inputs)?;
        let (shape, classes) = (graph.shape(logits).to_vec(), graph.classes());
        if shape != [classes] {
            return Err(Mismatch::new(format!(
                "the loss takes one number per class, [{classes}], and its input is {shape:?}"
            ))
            .help(format!("put `dense: {{ units: {classes} }}` before it")));
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            let found =
                format!("expected a share from 0 to below 1, found {}", self.label_smoothing);
            return Err(Mismatch::field("label_smoothing", found).help("0 for none; 0.1 is usual"));
        }
        let image_loss = graph.per_image("image_loss", &[1]);
        let Some(gradients) = graph.gradient_for(logits) else {
            return Err(Mismatch::new(
                "nothing is left to train: no layer before the loss has weights that are trained",
            )
            .help("remove `trainable: false` from a layer, or add one with weights, as `dense`"));
        };
        let labels = graph.labels();
        graph.loss(
            &shaders::softmax_cross_entropy::KERNEL,
            &[logits, labels, image_loss, gradients],
            Constants::default()
                .with("CLASSES", classes)
                .with_real("SMOOTHING", self.label_smoothing),
        );
        graph.set_loss(logits, image_loss);
        Ok(logits)
    }

    /// The class scores are what comes in.
    fn onnx(&self, _: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        first_value(inputs).cloned()
    }
}
