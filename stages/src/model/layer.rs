//! What a layer is: plain data that lowers itself into a graph of kernels.

use std::fmt::Debug;
use std::sync::Arc;

use runtime::config::decode::{self, Problems};
use runtime::config::node::{Node, Path};
use runtime::graph::{GraphBuilder, TensorId};
use runtime::stage::{Mismatch, Part};
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;

/// The YAML of one layer.
///
/// A layer is written once: it checks its input's shape, declares its parameters, and names the
/// kernels of its forward and backward pass. Every adapter runs those.
pub trait Layer: Debug + Send + Sync + 'static {
    /// Adds the layer to the graph and returns its output, or says what does not fit.
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch>;
}

/// Turns a YAML body into a layer, or says what is wrong with it.
pub type ParseLayer =
    Arc<dyn Fn(&Node, &Path, &mut Problems) -> Option<Arc<dyn Layer>> + Send + Sync>;

/// One kind of layer.
#[derive(Clone)]
pub struct LayerKind {
    /// The key in the YAML.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// A YAML body that is valid.
    pub example: &'static str,
    /// The fields.
    pub schema: Schema,
    /// The parser.
    pub parse: ParseLayer,
}

impl LayerKind {
    /// A kind whose YAML body is read by serde.
    pub fn of<L: Layer + DeserializeOwned + JsonSchema>(
        name: &'static str,
        about: &'static str,
        example: &'static str,
    ) -> Self {
        Self {
            name,
            about,
            example,
            schema: schemars::schema_for!(L),
            parse: Arc::new(|node, path, problems| {
                decode::decode::<L>(node, path, problems)
                    .map(|layer| Arc::new(layer) as Arc<dyn Layer>)
            }),
        }
    }

    /// What `list`, `inspect` and `schema` show.
    pub fn part(&self) -> Part {
        Part {
            name: self.name,
            about: self.about,
            example: self.example,
            schema: self.schema.clone(),
        }
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
