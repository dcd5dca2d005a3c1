//! A model's layers as nodes of an ONNX file.

use anyhow::{Context as _, Result};
use onnx::{Builder, Value};

use super::compile::{ListedLayer, name_of};

/// Appends the layers to a file, and gives the class scores.
///
/// # Errors
/// The first layer that has no form in ONNX.
pub(super) fn export(layers: &[ListedLayer], file: &mut Builder, images: &Value) -> Result<Value> {
    let mut outputs: Vec<(String, Value)> = Vec::new();
    for (index, listed) in layers.iter().enumerate() {
        let name = name_of(listed, layers, index);
        let inputs: Vec<Value> = match &listed.from {
            None => vec![outputs.last().map_or(images, |(_, value)| value).clone()],
            Some(names) => names
                .iter()
                .map(|from| match outputs.iter().find(|(name, _)| name == from) {
                    Some((_, value)) => value.clone(),
                    // A checked model reads nothing else.
                    None => images.clone(),
                })
                .collect(),
        };
        file.begin(&name);
        let value = listed.layer.onnx(file, &inputs);
        let value = value
            .with_context(|| format!("layer `{name}`, a {}, cannot be exported", listed.kind))?;
        outputs.push((name, value));
    }
    outputs.pop().map(|(_, value)| value).context("the model has no layers")
}
