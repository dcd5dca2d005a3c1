//! What has fields or a meaning inside of a kind's fields: schedules, optimisers, formats and the like.

use serde_json::Value;

use super::fields::{both, choices, paragraphs, resolve, type_name, variant};
use flow::stage::Kind;

/// Deeper is nothing that has a name of its own.
const DEPTH_MAX: usize = 8;

/// Something inside of a kind's fields.
pub(super) struct Nested<'a> {
    /// Its key in the YAML.
    pub(super) name: &'a str,
    /// What is written behind it: `map`, `number`.
    pub(super) what: String,
    /// Where it may stand.
    pub(super) places: Vec<String>,
    /// The schema that its references lead into.
    pub(super) root: &'a Value,
    /// What is written behind it.
    pub(super) body: &'a Value,
    text: String,
}

impl Nested<'_> {
    /// What it does, in lines.
    pub(super) fn about(&self) -> String {
        paragraphs(&serde_json::json!({ "description": self.text })).join("\n")
    }
}

/// Everything with a name inside of these kinds and their parts.
pub(super) fn all(kinds: &[Kind]) -> Vec<Nested<'_>> {
    let mut found = Vec::new();
    for kind in kinds {
        let parts = kind.parts.iter().map(|part| (part.name, part.schema.as_value()));
        for (name, root) in [(kind.name, kind.schema.as_value())].into_iter().chain(parts) {
            collect(root, root, name, 0, &mut found);
        }
    }
    found
}

fn collect<'a>(
    root: &'a Value,
    schema: &'a Value,
    place: &str,
    depth: usize,
    found: &mut Vec<Nested<'a>>,
) {
    if depth > DEPTH_MAX {
        return;
    }
    let schema = resolve(root, schema);
    for choice in choices(schema) {
        let choice = resolve(root, choice);
        match variant(schema, choice) {
            Some((name, body)) => {
                add(name, place, root, choice, body, found);
                collect(root, body, &format!("{place}.{name}"), depth + 1, found);
            }
            None => collect(root, choice, place, depth + 1, found),
        }
    }
    if schema["items"].is_object() {
        collect(root, &schema["items"], place, depth + 1, found);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        // A variant is no field.
        let is_map = |body: &Value| resolve(root, body)["properties"].is_object();
        let inner = resolve(root, field);
        let map = [inner].into_iter().chain(choices(inner)).find(|body| is_map(body));
        if let Some(body) = map.filter(|_| inner.get("oneOf").is_none()) {
            add(name, place, root, field, body, found);
        }
        collect(root, field, &format!("{place}.{name}"), depth + 1, found);
    }
}

/// Adds one, or another place of one that is known.
fn add<'a>(
    name: &'a str,
    place: &str,
    root: &'a Value,
    choice: &'a Value,
    body: &'a Value,
    found: &mut Vec<Nested<'a>>,
) {
    let text = both(root, choice, body);
    let what = type_name(root, body);
    let known = found
        .iter_mut()
        .find(|known| known.name == name && known.text == text && known.what == what);
    match known {
        Some(known) => {
            if !known.places.iter().any(|known| known == place) {
                known.places.push(place.to_owned());
            }
        }
        None => {
            let places = vec![place.to_owned()];
            found.push(Nested { name, what, places, root, body, text });
        }
    }
}
