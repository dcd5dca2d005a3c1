//! The fields of a JSON schema as people read them.

use serde_json::Value;

/// Deeper fields are not written out: a type may contain itself.
const DEPTH_MAX: usize = 6;

/// One paragraph a field: its name and type, what it is for, and what is inside it.
pub(super) fn fields(schema: &Value) -> String {
    let mut text = String::new();
    describe(schema, schema, None, 0, &mut text);
    text
}

/// The same of a part of a schema, whose references lead into the whole of it.
pub(super) fn fields_of(root: &Value, part: &Value) -> String {
    let mut text = String::new();
    inside(root, part, None, 0, &mut text);
    text
}

/// What a schema says of itself, in paragraphs.
pub(super) fn paragraphs(schema: &Value) -> Vec<String> {
    let text = schema["description"].as_str().unwrap_or_default();
    let lines = |part: &str| {
        let mut lines = String::new();
        paragraph(part, 0, 0, &mut lines);
        lines
    };
    text.split("\n\n").map(lines).filter(|lines| !lines.is_empty()).collect()
}

/// `defaults` are those of the map around the fields, if it has any as a whole.
fn describe(
    root: &Value,
    schema: &Value,
    defaults: Option<&Value>,
    depth: usize,
    text: &mut String,
) {
    if depth > DEPTH_MAX {
        return;
    }
    let schema = resolve(root, schema);
    let margin = 4 * depth;
    let required: Vec<&str> = schema["required"]
        .as_array()
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let mut facts = vec![type_name(root, field)];
        if required.contains(&&**name) {
            facts.push("required".to_owned());
        }
        let around = defaults.and_then(|defaults| defaults.get(name));
        let default = around.or_else(|| field.get("default"));
        if let Some(default) = default.and_then(|default| shown_default(root, field, default)) {
            facts.push(format!("default {default}"));
        }
        facts.retain(|fact| !fact.is_empty());
        *text += &format!("{:margin$}{name}: {}\n", "", facts.join(", "));
        paragraph(&about(field), margin + 4, 0, text);
        inside(root, field, default, depth + 1, text);
    }
}

/// A default as it is written in YAML; `None` for that of a map, whose fields have their own.
fn shown_default(root: &Value, field: &Value, default: &Value) -> Option<String> {
    let Some(entries) = default.as_object() else { return Some(plain(default)) };
    let (name, body) = entries.iter().next().filter(|_| entries.len() == 1)?;
    if choices(resolve(root, field)).is_empty() {
        return None;
    }
    match body.as_object() {
        None => Some(format!("{{ {name}: {} }}", plain(body))),
        Some(fields) if fields.is_empty() => Some(name.clone()),
        Some(_) => None,
    }
}

/// The fields of a map, or the choices of an enum, below the field that has them.
fn inside(root: &Value, field: &Value, default: Option<&Value>, depth: usize, text: &mut String) {
    let schema = resolve(root, field);
    let margin = 4 * depth;
    for choice in choices(schema) {
        let choice = resolve(root, choice);
        if let Some(name) = choice.get("const") {
            let about = about(choice);
            let gap = if about.is_empty() { "" } else { ": " };
            paragraph(&format!("- {}{gap}{about}", plain(name)), margin, 2, text);
        } else if let Some((name, body)) = variant(schema, choice) {
            *text += &format!("{:margin$}- {name}: {}\n", "", type_name(root, body));
            paragraph(&both(root, choice, body), margin + 4, 0, text);
            inside(root, body, None, depth + 1, text);
        } else {
            inside(root, choice, default, depth, text);
        }
    }
    if schema.get("properties").is_some() {
        describe(root, schema, default, depth, text);
    }
    if schema["items"].is_object() {
        inside(root, &schema["items"], None, depth, text);
    }
}

/// What a choice says of itself, and then what its body does.
pub(super) fn both(root: &Value, choice: &Value, body: &Value) -> String {
    let (own, of_body) = (about(choice), about(resolve(root, body)));
    match own.contains(&*of_body) {
        true => own,
        false if own.is_empty() => of_body,
        false => format!("{own} {of_body}"),
    }
}

/// The name and body of a choice that is written `name: body`.
pub(super) fn variant<'a>(schema: &Value, choice: &'a Value) -> Option<(&'a str, &'a Value)> {
    let properties = choice.get("properties")?.as_object()?;
    let is_one = schema.get("oneOf").is_some() && properties.len() == 1;
    let (name, body) = properties.iter().next().filter(|_| is_one)?;
    (choice["required"] == serde_json::json!([name])).then_some((name, body))
}

pub(super) fn choices(schema: &Value) -> &[Value] {
    ["oneOf", "anyOf"]
        .iter()
        .find_map(|key| schema.get(key).and_then(Value::as_array))
        .map_or(&[], Vec::as_slice)
}

fn is_null(schema: &Value) -> bool {
    schema["type"] == "null"
}

fn about(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ")
}

/// Text in lines, all but the first of them moved by `hang` more.
fn paragraph(words: &str, margin: usize, hang: usize, text: &mut String) {
    const WIDTH: usize = 92;
    let mut line = String::new();
    let mut margin_now = margin;
    for word in words.split_whitespace() {
        if !line.is_empty() && margin_now + line.len() + 1 + word.len() > WIDTH {
            *text += &format!("{:margin_now$}{line}\n", "");
            line.clear();
            margin_now = margin + hang;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    if !line.is_empty() {
        *text += &format!("{:margin_now$}{line}\n", "");
    }
}

/// Follows a reference to a definition.
pub(super) fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let mut schema = schema;
    // References that lead nowhere or in circles leave the schema as it is.
    for _ in 0..8 {
        let target = schema.get("$ref").and_then(Value::as_str);
        let found = target.and_then(|target| root.pointer(target.strip_prefix('#')?));
        match found {
            Some(found) => schema = found,
            None => break,
        }
    }
    schema
}

pub(super) fn type_name(root: &Value, schema: &Value) -> String {
    let schema = resolve(root, schema);
    let choices: Vec<&Value> = choices(schema).iter().filter(|choice| !is_null(choice)).collect();
    if !choices.is_empty() {
        let mut names: Vec<String> = Vec::new();
        for choice in choices {
            let choice = resolve(root, choice);
            let name = match (choice.get("const"), variant(schema, choice)) {
                (Some(value), _) => plain(value),
                (None, Some((name, _))) => format!("{{ {name}: .. }}"),
                (None, None) => type_name(root, choice),
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        return names.join(" or ");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(plain).collect::<Vec<_>>().join(" or ");
    }
    let names: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let names = names.into_iter().filter(|name| *name != "null");
    names.map(|name| plain_type(root, schema, name)).collect::<Vec<_>>().join(" or ")
}

fn plain_type(root: &Value, schema: &Value, name: &str) -> String {
    match name {
        "integer" => "whole number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "string" => "text".to_owned(),
        "array" => {
            let items = schema["prefixItems"].get(0).unwrap_or(&schema["items"]);
            let of = if items.is_object() { type_name(root, items) } else { String::new() };
            let fixed = schema["maxItems"].as_u64().filter(|_| schema["minItems"].is_u64());
            let count = fixed.map(|count| format!("{count} ")).unwrap_or_default();
            match of.as_str() {
                "" => "list".to_owned(),
                of if of.ends_with("number") => format!("list of {count}{of}s"),
                of => format!("list of {of}"),
            }
        }
        "object" => "map".to_owned(),
        other => other.to_owned(),
    }
}

/// A value as YAML writes it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        // Numbers of 32 bits come out with the digits of 64.
        Value::Number(number) if number.is_f64() => {
            let value = number.as_f64().unwrap_or_default();
            let short = (value as f32).to_string();
            if short.parse::<f64>().is_ok_and(|parsed| parsed as f32 == value as f32) {
                short
            } else {
                number.to_string()
            }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct All {
        /// How many.
        count: usize,
        #[serde(default = "inner")]
        inner: Inner,
        maybe: Option<Inner>,
        choice: Choice,
        pair: [f32; 2],
        names: Vec<String>,
        rates: Vec<Inner>,
    }

    fn inner() -> Inner {
        Inner { rate: 0.1, on: true }
    }

    #[derive(Deserialize, Serialize, JsonSchema)]
    struct Inner {
        /// How much.
        rate: f32,
        on: bool,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    #[expect(dead_code, reason = "only its schema is looked at")]
    enum Choice {
        /// Nothing at all.
        Nothing,
        /// Some of it.
        Some {
            /// This much.
            part: f32,
        },
    }

    #[test]
    fn every_form_of_field_is_shown() {
        let schema = schemars::schema_for!(All);
        let expected = "\
count: whole number, required
    How many.
inner: map
    rate: number, required, default 0.1
        How much.
    on: true or false, required, default true
maybe: map
    rate: number, required
        How much.
    on: true or false, required
choice: nothing or { some: .. }, required
    - nothing: Nothing at all.
    - some: map
        Some of it.
        part: number, required
            This much.
pair: list of 2 numbers, required
names: list of text, required
rates: list of map, required
    rate: number, required
        How much.
    on: true or false, required
";
        assert_eq!(fields(schema.as_value()), expected);
    }
}
