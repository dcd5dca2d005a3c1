//! Group normalisation.

use anyhow::Result as AnyResult;
use compute::graph::{GraphBuilder, TensorId};
use compute::kernel::Constants;
use flow::stage::Mismatch;
use onnx::{Attribute, Builder, Tensor, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sum;
use crate::model::initializer::{Initializer, check_decay};
use crate::model::layer::{Layer, LayerKind, first_value, one_input};
use crate::model::splits;

/// `scale * (x - mean) / sqrt(variance + epsilon) + offset`, with a scale and an offset for each channel,
/// and the mean and variance of a group of channels over all pixels of one image (Wu, He, "Group
/// normalization", 2018). Groups are neighbouring channels, each as many: of 64 channels in 32 groups, the
/// first two are the first group. The variance is over n of the n numbers of a group. The input is an
/// image, `[height, width, channels]`, or the numbers of a dense layer, `[channels]`, which are one pixel;
/// the output has its shape. No image has a part in another and no statistics are kept, so that training
/// and scoring do the same, and neither the batch nor how it is split changes anything. One group is
/// layer normalisation, over all of an image; as many groups as channels are instance normalisation.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupNorm {
    /// Into how many groups the channels are cut: a number that divides them.
    #[serde(default = "groups")]
    pub groups: usize,
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
}

fn groups() -> usize {
    32
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

/// The kind.
pub fn kind() -> LayerKind {
    LayerKind::of::<GroupNorm>(
        "group_norm",
        "Brings each group of an image's channels to mean 0 and deviation 1, then scales and shifts.",
        "{ groups: 32, epsilon: 0.00001 }",
    )
}

impl GroupNorm {
    /// Checks the fields for an input of so many positions and channels.
    fn check(&self, positions: usize, channels: usize) -> Result<(), Mismatch> {
        if self.groups == 0 || !channels.is_multiple_of(self.groups) {
            let found = format!("{channels} channels cannot be cut into {} groups", self.groups);
            return Err(Mismatch::field("groups", found).help(possible_groups(channels)));
        }
        if positions * channels == self.groups {
            let found = "each group is a single number, of which nothing is left without its mean";
            return Err(Mismatch::field("groups", found).help("take fewer groups"));
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

/// Says into how many groups channels can be cut; not all where there are very many.
fn possible_groups(channels: usize) -> String {
    const MOST: usize = 64;
    let fits = (1..=channels.min(MOST)).filter(|groups| channels.is_multiple_of(*groups));
    let fits: Vec<String> = fits.map(|groups| groups.to_string()).collect();
    format!("the number of groups divides that of channels: {}", fits.join(", "))
}

/// Positions and channels of an input.
fn sizes(shape: &[usize]) -> (usize, usize) {
    let channels = shape.last().copied().unwrap_or(1);
    (shape.iter().product::<usize>() / channels.max(1), channels)
}

impl Layer for GroupNorm {
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let x = one_input(inputs)?;
        let shape = graph.shape(x).to_vec();
        let (positions, channels) = sizes(&shape);
        self.check(positions, channels)?;
        let parts = splits(channels);
        let constants = Constants::default()
            .with("POSITIONS", positions)
            .with("GROUPS", self.groups)
            .with("GROUP_CHANNELS", channels / self.groups)
            .with("SPLITS", parts)
            .with_real("EPSILON", self.epsilon);
        let scale = graph.parameter("scale", &[channels], self.scale.initial(), self.weight_decay);
        let offset = graph.parameter("offset", &[channels], self.offset.initial(), 0.0);
        let y = graph.activation(&shape);
        let kernel = &shaders::group_norm_forward::KERNEL;
        graph.forward(kernel, &[x, scale.value, offset.value, y], constants.clone());

        let Some(dy) = graph.gradient_of(y) else { return Ok(y) };
        if let (Some(dscale), Some(doffset)) = (scale.gradient, offset.gradient) {
            let [scales, offsets] = ["scale/partials", "offset/partials"]
                .map(|name| graph.partial(name, &[parts, channels]));
            let kernel = &shaders::group_norm_backward_weights::KERNEL;
            graph.backward(kernel, &[x, dy, scales, offsets], constants.clone());
            sum(graph, scales, dscale, parts, channels);
            sum(graph, offsets, doffset, parts, channels);
        }
        if let Some(dx) = graph.gradient_for(x) {
            let kernel = &shaders::group_norm_backward_input::KERNEL;
            graph.backward(kernel, &[x, dy, scale.value, dx], constants);
        }
        Ok(y)
    }

    /// By an instance normalisation of the groups: the operator `GroupNormalization` came later than
    /// most runtimes.
    fn onnx(&self, file: &mut Builder, inputs: &[Value]) -> AnyResult<Value> {
        let x = first_value(inputs)?;
        let (_, channels) = sizes(&x.shape);
        // Channels come first there, so that a group is one run of numbers.
        let grouped = file.indices("groups", &[0, self.groups as i64, -1]);
        let grouped = file.node("Reshape", &[&x.name, &grouped], &[]);
        let all = |file: &mut Builder, name: &str, value: f32| {
            let values = vec![value; self.groups];
            file.constant(name, &Tensor { shape: vec![self.groups], values })
        };
        let (one, nothing) = (all(file, "group_scale", 1.0), all(file, "group_offset", 0.0));
        let normal = file.node(
            "InstanceNormalization",
            &[&grouped, &one, &nothing],
            &[("epsilon", Attribute::Float(self.epsilon))],
        );
        let shape: Vec<i64> = match x.shape[..] {
            [height, width, channels] => vec![0, channels as i64, height as i64, width as i64],
            _ => vec![0, channels as i64],
        };
        let ungrouped = file.indices("channels", &shape);
        let normal = file.node("Reshape", &[&normal, &ungrouped], &[]);
        let each = |file: &mut Builder, name: &str| -> AnyResult<String> {
            let Tensor { values, .. } = file.weights(name)?;
            let mut shape = vec![1; x.shape.len()];
            shape[0] = channels;
            Ok(file.constant(name, &Tensor { shape, values }))
        };
        let (scale, offset) = (each(file, "scale")?, each(file, "offset")?);
        let scaled = file.node("Mul", &[&normal, &scale], &[]);
        let name = file.node("Add", &[&scaled, &offset], &[]);
        Ok(Value { name, ..x.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fields: &str, [positions, channels]: [usize; 2]) -> Result<(), Mismatch> {
        let layer: GroupNorm = serde_json::from_str(fields).expect("a layer");
        layer.check(positions, channels)
    }

    #[test]
    fn groups_divide_the_channels_and_have_several_numbers() {
        let groups = |groups: usize| format!(r#"{{ "groups": {groups} }}"#);
        for (groups_of, sizes) in [(1, [1, 24]), (24, [2, 24]), (8, [36, 24]), (12, [1, 24])] {
            assert_eq!(check(&groups(groups_of), sizes), Ok(()), "{groups_of} {sizes:?}");
        }
        for (groups_of, sizes) in [(0, [36, 24]), (5, [36, 24]), (48, [36, 24]), (24, [1, 24])] {
            let wrong = check(&groups(groups_of), sizes).expect_err("it does not fit");
            assert_eq!(wrong.field, ["groups"], "{groups_of} {sizes:?}");
        }
        let wrong = check("{}", [36, 24]).expect_err("24 channels have no 32 groups");
        assert_eq!(
            wrong.help.as_deref(),
            Some("the number of groups divides that of channels: 1, 2, 3, 4, 6, 8, 12, 24")
        );
    }

    #[test]
    fn fields_out_of_range_are_refused() {
        for (field, value) in
            [("epsilon", "0"), ("epsilon", "1e-50"), ("epsilon", "2"), ("weight_decay", "-1")]
        {
            let fields = format!(r#"{{ "{field}": {value} }}"#);
            assert_eq!(
                check(&fields, [36, 64]).expect_err("it is wrong").field,
                [field],
                "{value}"
            );
        }
    }
}
