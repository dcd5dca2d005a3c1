//! Reads typed values out of a [`Node`], collecting every problem.

use serde::de::DeserializeOwned;

use super::node::{Node, Path};

/// Something wrong in the configuration, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The place.
    pub path: Path,
    /// Whether the key is to blame and not its value.
    pub on_key: bool,
    /// What was expected and found.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
}

/// All that is wrong.
pub type Problems = Vec<Problem>;

fn json(node: &Node) -> serde_json::Value {
    match node {
        Node::Null => serde_json::Value::Null,
        Node::Bool(v) => (*v).into(),
        Node::Int(v) => (*v).into(),
        Node::UInt(v) => (*v).into(),
        Node::Float(v) => (*v).into(),
        Node::Text(v) => v.clone().into(),
        Node::List(v) => v.iter().map(json).collect(),
        Node::Map(v) => v.iter().map(|(k, v)| (k.clone(), json(v))).collect(),
    }
}

/// Reads a `T`, or adds everything that is wrong to `problems`.
pub fn decode<T: DeserializeOwned>(node: &Node, path: &Path, problems: &mut Problems) -> Option<T> {
    match serde_json::from_value(json(node)) {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(Problem {
                path: path.clone(),
                on_key: false,
                message: error.to_string(),
                help: None,
            });
            None
        }
    }
}
