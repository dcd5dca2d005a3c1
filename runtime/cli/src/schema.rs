//! `runtime schema`: the JSON schema of pipeline files.

use clap::Args;
use serde_json::{Map, Value, json};

use super::App;
use super::output::{Failure, print};
use flow::plan::settings_schema;
use flow::stage::Kind;
use flow::trial::Trial;

/// Letters of any language, digits, `_` and `-`: no blanks and no other ASCII marks.
const NAME: &str = r"^[^\s!-,./:-@\[-^`{-~]+$";

const EXAMPLES: &str = "\
Examples:
  runtime schema > schema.json

Editors that know YAML read the schema that a file names in its first line:
  # yaml-language-server: $schema=schema.json";

/// Prints the JSON schema of pipeline files, with which editors complete and check them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {}

pub(super) fn schema(app: &App, _: &Arguments) -> Result<(), Failure> {
    print(&format!("{:#}\n", pipeline(&app.kinds)))
}

/// The schema of a whole file.
fn pipeline(kinds: &[Kind]) -> Value {
    let mut file = settings_schema().to_value();
    let mut defs = match file["$defs"].take() {
        Value::Object(own) => own,
        _ => Map::new(),
    };
    let mut stages = Vec::new();
    for kind in kinds {
        let mut body = embed(kind.schema.as_value(), kind.name, &mut defs);
        if !kind.parts.is_empty() {
            let mut parts = Vec::new();
            for part in &kind.parts {
                let name = format!("{}.{}", kind.name, part.name);
                let body = embed(part.schema.as_value(), &name, &mut defs);
                parts.push(define(part.name, name, part.about, body, &mut defs));
            }
            let mut own = json!({});
            if let Some(beside) = &kind.beside_parts {
                own = embed(beside.as_value(), kind.name, &mut defs)["properties"].take();
            }
            let part = format!("{}.part", kind.name);
            list_parts(&mut body, &part);
            defs.insert(part, entry(own, &parts));
        }
        stages.push(define(kind.name, kind.name.to_owned(), kind.about, body, &mut defs));
    }
    let own = json!({ "from": from("The stage, or stages, that this one reads from.") });
    defs.insert("stage".to_owned(), entry(own, &stages));
    file["title"] = json!("A Gradflow pipeline");
    file["required"] = json!(["stages"]);
    file["properties"]["stages"] = json!({
        "description": "The stages by name, each with its kind and what it reads from.",
        "type": "object",
        "minProperties": 1,
        "propertyNames": { "pattern": NAME },
        "additionalProperties": { "$ref": "#/$defs/stage" },
    });
    let trial = embed(schemars::schema_for!(Trial).as_value(), "test", &mut defs);
    defs.insert("test".to_owned(), trial);
    file["properties"]["tests"] = json!({
        "description": "Tests by name: what becomes of an image on its way to a stage.",
        "type": "object",
        "additionalProperties": { "$ref": "#/$defs/test" },
    });
    file["$defs"] = Value::Object(defs);
    file
}

/// Puts a kind's body among the definitions; gives its name and a reference to it.
fn define(
    name: &'static str,
    definition: String,
    about: &str,
    body: Value,
    defs: &mut Map<String, Value>,
) -> (&'static str, Value) {
    let reference = json!({
        "description": about,
        "anyOf": [{ "$ref": format!("#/$defs/{definition}") }, { "type": "null" }],
    });
    defs.insert(definition, body);
    (name, reference)
}

/// `{ own keys, KIND: { .. } }`, with exactly one of the kinds, or the name of a kind alone.
fn entry(own: Value, kinds: &[(&'static str, Value)]) -> Value {
    let mut properties = own;
    for (name, body) in kinds {
        properties[*name] = body.clone();
    }
    let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
    let required: Vec<Value> = names.iter().map(|name| json!({ "required": [name] })).collect();
    json!({
        "anyOf": [
            {
                "type": "object",
                "properties": properties,
                "additionalProperties": false,
                "oneOf": required,
            },
            { "enum": names },
        ],
    })
}

fn from(description: &str) -> Value {
    json!({
        "description": description,
        "type": ["string", "array", "null"],
        "items": { "type": "string" },
    })
}

/// A schema of its own made part of a larger one: its definitions move there under its name.
fn embed(schema: &Value, name: &str, defs: &mut Map<String, Value>) -> Value {
    let mut body = schema.clone();
    let mut own = Map::new();
    if let Some(object) = body.as_object_mut() {
        object.remove("$schema");
        object.remove("title");
        if let Some(Value::Object(definitions)) = object.remove("$defs") {
            own = definitions;
        }
    }
    for (definition, mut schema) in own {
        rename(&mut schema, name);
        defs.insert(format!("{name}.{definition}"), schema);
    }
    rename(&mut body, name);
    body
}

fn rename(schema: &mut Value, name: &str) {
    match schema {
        Value::Object(entries) => {
            for (key, value) in entries {
                match value {
                    Value::String(target) if key == "$ref" => {
                        *target = target.replacen("#/$defs/", &format!("#/$defs/{name}."), 1);
                    }
                    other => rename(other, name),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, name)),
        _ => {}
    }
}

/// A list of anything, in a stage that has parts, is a list of its parts.
fn list_parts(body: &mut Value, part: &str) {
    let Some(Value::Object(properties)) = body.get_mut("properties") else { return };
    for property in properties.values_mut() {
        if property.get("items") == Some(&Value::Bool(true)) {
            property["items"] = json!({ "$ref": format!("#/$defs/{part}") });
        }
    }
}
