//! The stages of a pipeline, one per file. [`kinds`] is the list of them that YAML may use.

pub mod batcher;
pub mod cropper;
pub mod data;
pub mod distorter;
pub mod extent;
pub mod inputs;
pub mod lanes;
pub mod reader;
pub mod shuffler;
pub mod switch;
#[cfg(test)]
mod testing;
pub mod whitening;

use runtime::stage::Kind;

/// Every kind of stage. A new one is a file beside these and a line here.
pub fn kinds() -> Vec<Kind> {
    vec![
        reader::kind(),
        shuffler::kind(),
        cropper::kind(),
        distorter::kind(),
        whitening::kind(),
        batcher::kind(),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_schemas_describe_every_field() {
        let kinds = kinds();
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
