//! The stages of a pipeline, one per file, and the layers of a model. [`kinds`] is the list of
//! the stages that YAML may use, [`model::layers::all`] that of the layers.

pub mod batcher;
pub mod cropper;
pub mod data;
pub mod distorter;
pub mod evaluator;
pub mod extent;
pub mod inputs;
pub mod lanes;
pub mod model;
pub mod reader;
pub mod reducer;
pub mod shuffler;
pub mod switch;
#[cfg(test)]
mod testing;
pub mod whitening;

use model::layer::LayerKind;
use runtime::stage::Kind;

/// Every kind of stage, the model knowing these layers. A new stage is a file beside these and a
/// line here.
pub fn kinds(layers: Vec<LayerKind>) -> Vec<Kind> {
    vec![
        reader::kind(),
        shuffler::kind(),
        cropper::kind(),
        distorter::kind(),
        whitening::kind(),
        batcher::kind(),
        model::kind(layers),
        reducer::kind(),
        evaluator::kind(),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_schemas_describe_every_field() {
        let kinds = kinds(model::layers::all());
        let names: HashSet<_> = kinds.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), kinds.len());
        for kind in &kinds {
            let schema = serde_json::to_value(&kind.schema).expect("a schema is JSON");
            let Some(fields) = schema["properties"].as_object() else { continue };
            for (name, field) in fields {
                assert!(field["description"].is_string(), "{}.{name} has no docs", kind.name);
            }
        }
    }
}
