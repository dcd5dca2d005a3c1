//! A trained model as an ONNX file, which other programs run.
//!
//! The engine knows no operator: stages and layers append their own nodes to a [`Builder`]. Images
//! come in as they are here, `[images, height, width, channels]`; between nodes they lie as ONNX
//! has them, channels before height and width.

pub mod proto;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use prost::Message as _;

use self::proto::{
    AttributeProto, AttributeType, DataType, DimensionProto, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, Size, StringStringEntryProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto,
};
use compute::weights::Weights;

/// The version of the format: that of ONNX 1.12.
const IR_VERSION: i64 = 8;

/// The version of the set of operators: that of ONNX 1.12, which every runtime in use knows.
const OPSET: i64 = 17;

/// What comes in.
pub const INPUT: &str = "images";

/// What goes out.
pub const OUTPUT: &str = "logits";

/// Something that a node reads or makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// Its shape for one image, as the layers here have it: `[height, width, channels]`, which lies
    /// as `[channels, height, width]` in ONNX, or `[numbers]`.
    pub shape: Vec<usize>,
}

/// What an operator is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A whole number.
    Int(usize),
    /// A real number.
    Float(f64),
    /// A list of whole numbers.
    Ints(Vec<usize>),
    /// A word.
    Text(&'static str),
}

/// A tensor of a layer: its shape and its values, the last size running fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub values: Vec<f32>,
}

/// A file that is being made.
#[derive(Debug)]
pub struct Builder {
    graph: GraphProto,
    weights: Arc<Weights>,
    averaged: bool,
    layer: String,
}

impl Builder {
    /// Begins with images of this shape, `[height, width, channels]`, and takes these weights or
    /// their averages.
    pub fn new(image: [usize; 3], weights: Arc<Weights>, averaged: bool) -> (Self, Value) {
        let graph = GraphProto {
            name: "gradflow".to_owned(),
            input: vec![of_floats(INPUT, &image)],
            ..GraphProto::default()
        };
        let mut builder = Self { graph, weights, averaged, layer: INPUT.to_owned() };
        let order = Attribute::Ints(vec![0, 3, 1, 2]);
        let name = builder.node("Transpose", &[INPUT], &[("perm", order)]);
        (builder, Value { name, shape: image.to_vec() })
    }

    /// What follows belongs to the layer or stage of this name.
    pub fn begin(&mut self, layer: &str) {
        layer.clone_into(&mut self.layer);
    }

    /// What the layer at hand trains or keeps, by its name there.
    ///
    /// # Errors
    /// If it has no such tensor.
    pub fn weights(&self, name: &str) -> Result<Tensor> {
        let full = format!("{}/{name}", self.layer);
        let (graph, weights) = (&self.weights.graph, &self.weights);
        let trained = if self.averaged { &weights.averages } else { &weights.raw };
        let parameters = graph.parameters.iter().zip(trained).map(|(one, v)| (one.value, v));
        let states = |id| graph.states().zip(&weights.states).find(|(state, _)| *state == id);
        let kept = graph.kept.iter().filter_map(|one| {
            let from = one.average.filter(|_| self.averaged).unwrap_or(one.value);
            Some((one.value, states(from)?.1))
        });
        let (id, values) = parameters
            .chain(kept)
            .find(|(id, _)| graph.tensor(*id).name == full)
            .with_context(|| format!("the weights have no {full}"))?;
        Ok(Tensor { shape: graph.tensor(id).shape.clone(), values: values.clone() })
    }

    /// Adds a tensor that is known, and gives its name.
    pub fn constant(&mut self, name: &str, tensor: &Tensor) -> String {
        let bytes = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.known(name, &tensor.shape, DataType::Float, bytes)
    }

    /// Adds a list of whole numbers, and gives its name.
    pub fn indices(&mut self, name: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.known(name, &[values.len()], DataType::Int64, bytes)
    }

    fn known(&mut self, name: &str, shape: &[usize], kind: DataType, raw_data: Vec<u8>) -> String {
        let name = format!("{}/{name}", self.layer);
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|size| *size as i64).collect(),
            data_type: kind.into(),
            name: name.clone(),
            raw_data,
        });
        name
    }

    /// Adds a node with one output, and gives that one's name.
    pub fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) -> String {
        let number = self.graph.node.len();
        let name = format!("{}/{}{number}", self.layer, operator.to_lowercase());
        self.push(operator, inputs, attributes, name)
    }

    fn push(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
        name: String,
    ) -> String {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: operator.to_owned(),
            attribute: attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
        });
        name
    }

    /// The whole file, whose output is this.
    pub fn finish(mut self, output: &Value, metadata: &[(&str, String)]) -> Vec<u8> {
        self.push("Identity", &[&output.name], &[], OUTPUT.to_owned());
        self.graph.output = vec![of_floats(OUTPUT, &output.shape)];
        let entry = |(key, value): &(&str, String)| StringStringEntryProto {
            key: (*key).to_owned(),
            value: value.clone(),
        };
        ModelProto {
            ir_version: IR_VERSION,
            producer_name: "gradflow".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            metadata_props: metadata.iter().map(entry).collect(),
        }
        .encode_to_vec()
    }
}

fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let name = name.to_owned();
    match value {
        Attribute::Int(number) => AttributeProto {
            name,
            i: Some(*number as i64),
            kind: AttributeType::Int.into(),
            ..AttributeProto::default()
        },
        Attribute::Float(number) => AttributeProto {
            name,
            f: Some(*number as f32),
            kind: AttributeType::Float.into(),
            ..AttributeProto::default()
        },
        Attribute::Text(word) => AttributeProto {
            name,
            s: Some(word.as_bytes().to_vec()),
            kind: AttributeType::String.into(),
            ..AttributeProto::default()
        },
        Attribute::Ints(numbers) => AttributeProto {
            name,
            ints: numbers.iter().map(|number| *number as i64).collect(),
            kind: AttributeType::Ints.into(),
            ..AttributeProto::default()
        },
    }
}

/// Floats of this shape for each of any number of images.
fn of_floats(name: &str, shape: &[usize]) -> ValueInfoProto {
    let sizes = shape.iter().map(|size| Size::Value(*size as i64));
    let sizes = std::iter::once(Size::Parameter("N".to_owned())).chain(sizes);
    let dim = sizes.map(|size| DimensionProto { size: Some(size) }).collect();
    let tensor = TensorTypeProto {
        elem_type: DataType::Float.into(),
        shape: Some(TensorShapeProto { dim }),
    };
    ValueInfoProto { name: name.to_owned(), kind: Some(TypeProto { tensor_type: Some(tensor) }) }
}
