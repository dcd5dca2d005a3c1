//! Batch normalisation.

use anyhow::Result as AnyResult;
use compute::graph::{GraphBuilder, Initial, TensorId};
use compute::kernel::Constants;
use flow::lint::Note;
use flow::stage::Mismatch;
use onnx::{Attribute, Builder, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lints::{BATCH_NORM_MOMENTUM, PER_ADAPTER_STATISTICS};
use crate::model::initializer::{Initializer, check_decay};
use crate::model::layer::{Layer, LayerKind, Linearity, first_value, one_input};
use crate::model::splits;

/// `scale * (x - mean) / sqrt(variance + epsilon) + offset` for each channel, over all pixels of a
/// batch (Ioffe, Szegedy, 2015). Scoring takes running statistics instead, which are kept in training
/// as PyTorch does: `running += momentum * (batch - running)`, begun at mean 0 and variance 1, with the
/// batch's unbiased variance, over n - 1 of the n pixels of a channel; of a single pixel it is 0. The
/// batch itself is normalised by the variance over n. A batch of one image counts as much as a full
/// one, which the run tells when it comes. With averaged weights go averages of
/// these statistics. With `trainable: false`, the running statistics are taken in training as well, and
/// none of its numbers changes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchNorm {
    /// The share of a batch's statistics in the running ones, above 0 to 1. TensorFlow and Keras call
    /// momentum what remains of the running ones: 1 less this.
    #[serde(default = "momentum")]
    pub momentum: f64,
    /// Added to the variance, above 0.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// The first scales. 0 in the last normalisation of a residual branch lets it begin as nothing.
    #[serde(default = "scale")]
    pub scale: Initializer,
    /// The first offsets.
    #[serde(default = "offset")]
    pub offset: Initializer,
    /// Adds `weight_decay / 2 * sum of squared scales` to the loss. Offsets never decay.
    #[serde(default)]
    pub weight_decay: f64,
    /// Whether statistics are those of the whole batch, over all adapters. If not, each adapter takes
    /// those of its own images, the running ones are the first adapter's, and a batch that does not fit
    /// an adapter is normalised in the parts that do: results depend on adapters and their memory.
    #[serde(default = "sync")]
    pub sync: bool,
}

fn momentum() -> f64 {
    0.1
}

fn epsilon() -> f64 {
    1e-5
}

fn scale() -> Initializer {
    Initializer::Constant(1.0)
}

fn offset() -> Initializer {
    Initializer::Constant(0.0)
}

fn sync() -> bool {
    true
}

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<BatchNorm>(
        "batch_norm",
        "Brings each channel to mean 0 and deviation 1 over the batch, then scales and shifts it.",
        "{ momentum: 0.1, epsilon: 0.00001 }",
    )
}

impl BatchNorm {
    fn check(&self) -> Result<(), Mismatch> {
        if !(self.momentum > 0.0 && self.momentum <= 1.0) {
            let found = format!("expected a share above 0 and up to 1, found {}", self.momentum);
            return Err(Mismatch::field("momentum", found)
                .help("0.1 is usual; what TensorFlow writes as 0.99 is 0.01 here"));
        }
        // In f32, where what is tiny is 0.
        if !(f64::from(f32::MIN_POSITIVE)..=1.0).contains(&self.epsilon) {
            let found = format!("expected a number above 0 and up to 1, found {}", self.epsilon);
            return Err(Mismatch::field("epsilon", found).help("0.00001 is usual"));
        }
        self.scale.check("scale")?;
        self.offset.check("offset")?;
        check_decay(self.weight_decay)
    }
}

impl Layer for BatchNorm {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let x = one_input(inputs)?;
        self.check()?;
        let shape = graph.shape(x).to_vec();
        let channels = shape.last().copied().unwrap_or(1);
        let parts = splits(1 + 2 * channels);
        let constants = Constants::default()
            .with("POSITIONS", shape.iter().product::<usize>() / channels.max(1))
            .with("CHANNELS", channels)
            .with("SPLITS", parts)
            .with("SYNC", usize::from(self.sync))
            .with_real("EPSILON", self.epsilon)
            .with_real("MOMENTUM", self.momentum);
        let scale = graph.parameter("scale", &[channels], self.scale.initial(), self.weight_decay);
        let offset = graph.parameter("offset", &[channels], self.offset.initial(), 0.0);
        let running_mean = graph.state("running_mean", &[channels], Initial::Constant(0.0));
        let running_variance = graph.state("running_variance", &[channels], Initial::Constant(1.0));
        let y = graph.activation(&shape);
        let running = [running_mean, running_variance];
        let normalized =
            |[mean, variance]: [TensorId; 2]| [x, mean, variance, scale.value, offset.value, y];

        let (Some(dscale), Some(doffset)) = (scale.gradient, offset.gradient) else {
            let kernel = &shaders::batch_norm_forward::KERNEL;
            graph.forward(kernel, &normalized(running), constants.clone());
            if let (Some(dy), Some(dx)) = (graph.gradient_of(y), graph.gradient_for(x)) {
                let kernel = &shaders::batch_norm_backward_frozen::KERNEL;
                graph.backward(kernel, &[dy, running_variance, scale.value, dx], constants);
            }
            return Ok(y);
        };
        let partials = graph.partial("statistics/partials", &[parts, 1 + 2 * channels]);
        let mean = graph.partial("mean", &[channels]);
        let variance = graph.partial("variance", &[channels]);
        let kernel = &shaders::batch_norm_statistics::KERNEL;
        graph.forward_training(kernel, &[x, partials], constants.clone());
        let kernel = &shaders::batch_norm_mean::KERNEL;
        graph.forward_training(kernel, &[partials, mean], constants.clone());
        if self.sync {
            graph.forward_all_reduce(mean);
        }
        let kernel = &shaders::batch_norm_variance::KERNEL;
        graph.forward_training(kernel, &[partials, mean, variance], constants.clone());
        if self.sync {
            graph.forward_all_reduce(variance);
        }
        let kernel = &shaders::batch_norm_running::KERNEL;
        let tensors = [mean, variance, running[0], running[1]];
        graph.forward_training(kernel, &tensors, constants.clone());
        let kernel = &shaders::batch_norm_forward::KERNEL;
        graph.forward_training(kernel, &normalized([mean, variance]), constants.clone());
        graph.forward_scoring(kernel, &normalized(running), constants.clone());

        let Some(dy) = graph.gradient_of(y) else { return Ok(y) };
        let sums = graph.partial("gradients/partials", &[parts, 2 * channels]);
        let means = graph.partial("gradients/means", &[2 * channels]);
        let kernel = &shaders::batch_norm_backward_statistics::KERNEL;
        graph.backward(kernel, &[x, dy, mean, variance, sums], constants.clone());
        let kernel = &shaders::batch_norm_backward_weights::KERNEL;
        let tensors = [sums, dscale, doffset, means];
        graph.backward(kernel, &tensors, constants.clone());
        if let Some(dx) = graph.gradient_for(x) {
            if self.sync {
                graph.backward_all_reduce(means);
            }
            let kernel = &shaders::batch_norm_backward_input::KERNEL;
            let tensors = [x, dy, mean, variance, scale.value, means, dx];
            graph.backward(kernel, &tensors, constants);
        }
        Ok(y)
    }

    fn notes(&self) -> Vec<Note> {
        let told = "each adapter takes statistics of its own images: results depend on the number \
                    of adapters, and on how many images fit one at once";
        let apart = PER_ADAPTER_STATISTICS
            .note(Mismatch::field("sync", told).help("`sync: true` takes them of the whole batch"));
        let told = format!(
            "each batch makes up {} of the running statistics, which evaluation takes",
            self.momentum
        );
        let help = if self.momentum < 1.0 {
            let rest = ((1.0 - self.momentum) * 1e6).round() / 1e6;
            format!("0.1 is usual; what TensorFlow and Keras call {} is {rest} here", self.momentum)
        } else {
            "0.1 is usual".to_owned()
        };
        let fast = BATCH_NORM_MOMENTUM.note(Mismatch::field("momentum", told).help(help));
        let apart = (!self.sync).then_some(apart);
        apart.into_iter().chain((self.momentum >= 0.5).then_some(fast)).collect()
    }

    fn linearity(&self) -> Linearity {
        Linearity::Keeps
    }

    fn onnx(&self, file: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        let x = first_value(inputs)?;
        let mut tensor = |name: &str| -> AnyResult<String> {
            let values = file.weights(name)?;
            Ok(file.constant(name, &values))
        };
        let (scale, offset) = (tensor("scale")?, tensor("offset")?);
        let (mean, variance) = (tensor("running_mean")?, tensor("running_variance")?);
        let name = file.node(
            "BatchNormalization",
            &[&x.name, &scale, &offset, &mean, &variance],
            &[("epsilon", Attribute::Float(self.epsilon))],
        );
        Ok(Value { name, ..x.clone() })
    }
}
