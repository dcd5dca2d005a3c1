//! What a layer is: plain data that lowers itself into a graph of kernels.

use std::fmt::Debug;
use std::sync::Arc;

use anyhow::{Context as _, Result as AnyResult, bail};
use compute::graph::{GraphBuilder, TensorId};
use flow::lint::{Lint, Note};
use flow::stage::{Family, Mismatch, Variant};

/// The YAML of one layer.
///
/// A layer is written once: it checks its input's shape, declares its parameters, and names the
/// kernels of its forward and backward pass. Every adapter runs those.
pub trait Layer: Debug + Send + Sync + 'static {
    /// Adds the layer to the graph and returns its output, or says what does not fit.
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch>;

    /// Appends what the layer does in scoring to an ONNX file, and gives its output.
    ///
    /// # Errors
    /// If it has no form in ONNX.
    fn onnx(&self, _file: &mut onnx::Builder, _inputs: &[onnx::Value]) -> AnyResult<onnx::Value> {
        bail!("what it computes has no form in ONNX")
    }

    /// What a person may want to know of its fields before a run, told by `check`.
    fn notes(&self) -> Vec<Note> {
        Vec::new()
    }

    /// What it does to sums, for `check` to find layers with weights that are as good as one.
    fn linearity(&self) -> Linearity {
        Linearity::Nonlinear
    }

    /// Whether each output is made of all numbers of the input, wherever they are in it.
    fn is_dense(&self) -> bool {
        false
    }

    /// What is said of it where the loss reads what it puts out, if it has no place there.
    fn before_loss(&self) -> Option<(&'static Lint, &'static str)> {
        None
    }
}

/// What a layer does to sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linearity {
    /// What comes of a sum is not the sum of what comes of its parts, or nothing is known of that.
    Nonlinear,
    /// It is, and no channel has a part in another.
    Keeps,
    /// It is, and each output is a sum over the channels, with weights.
    Mixes,
}

/// One kind of layer.
pub type LayerKind = Variant<dyn Layer>;

impl<T: Layer> Family<T> for dyn Layer {
    fn of(layer: T) -> Arc<Self> {
        Arc::new(layer)
    }
}

/// The single input of a layer that takes one.
pub fn one_input(inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
    match inputs {
        [input] => Ok(*input),
        _ => Err(Mismatch::field(
            "from",
            format!("this layer takes one input, and `from` names {}", inputs.len()),
        )),
    }
}

/// The first input of a layer in an ONNX file.
///
/// # Errors
/// If it has none.
pub fn first_value(inputs: &[onnx::Value]) -> AnyResult<&onnx::Value> {
    inputs.first().context("it reads nothing")
}

/// The height, width and channels of an input in an ONNX file that must be an image.
///
/// # Errors
/// If it is none.
pub fn image_value(input: &onnx::Value) -> AnyResult<[usize; 3]> {
    input.shape.as_slice().try_into().context("its input is no image")
}

/// Elements of a tensor beyond which kernels cannot number them in 32 bits with a sign.
const MOST_ELEMENTS: usize = (1 << 31) - 1;

/// The number of elements of a tensor of this shape, or what is wrong with the field that makes it
/// too large. Layers ask before they add a tensor whose size is taken from the YAML.
///
/// # Errors
/// If there are more than 2^31 - 1.
pub fn elements(field: &str, shape: &[usize]) -> Result<usize, Mismatch> {
    let count = shape.iter().try_fold(1_usize, |all, side| all.checked_mul(*side));
    count.filter(|count| *count <= MOST_ELEMENTS).ok_or_else(|| {
        let message = format!("{shape:?} are more than {MOST_ELEMENTS} numbers in one tensor");
        Mismatch::field(field, message).help(format!("make `{field}` smaller"))
    })
}

/// The height, width and channels of an input that must be an image.
pub fn image_shape(graph: &GraphBuilder, input: TensorId) -> Result<[usize; 3], Mismatch> {
    let shape = graph.shape(input);
    shape.try_into().map_err(|_| {
        Mismatch::new(format!(
            "this layer takes [height, width, channels], and its input is {shape:?}"
        ))
        .help("a dense layer gives up height and width; put this layer before it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_that_kernels_cannot_number_are_refused() {
        assert_eq!(elements("units", &[1 << 16, (1 << 15) - 1]), Ok((1 << 31) - (1 << 16)));
        for shape in [[1 << 16, 1 << 15], [usize::MAX, 2], [1, 9_007_199_254_740_993]] {
            assert_eq!(elements("units", &shape).expect_err("too many").field, ["units"]);
        }
    }
}
