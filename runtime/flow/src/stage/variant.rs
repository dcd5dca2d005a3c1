//! What a field of a stage chooses by name from a list that programs add to: a layer, an optimiser, a
//! schedule, a format of data.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use config::decode::{Problem, Problems};
use config::entry::entry;
use config::node::{Node, Path};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{Parsed, Part};

/// A trait whose implementors are chosen from by name.
pub trait Family<T>: 'static {
    /// The value as one of the family: `Arc::new(value)`.
    fn of(value: T) -> Arc<Self>;
}

type ParseVariant<F> =
    Arc<dyn Fn(&Node, &Path, &mut Problems) -> Option<Parsed<Arc<F>>> + Send + Sync>;

/// One of those that a field chooses from.
pub struct Variant<F: ?Sized> {
    /// The key in the YAML.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// A YAML body that is valid.
    pub example: &'static str,
    /// The fields.
    pub schema: Schema,
    /// The fields, in the schema of a stage.
    subschema: fn(&mut SchemaGenerator) -> Schema,
    /// The parser.
    pub parse: ParseVariant<F>,
}

impl<F: ?Sized> Clone for Variant<F> {
    fn clone(&self) -> Self {
        Self { schema: self.schema.clone(), parse: Arc::clone(&self.parse), ..*self }
    }
}

impl<F: ?Sized + 'static> Variant<F> {
    /// A variant whose YAML body is read by serde as a `T`.
    pub fn of<T>(name: &'static str, about: &'static str, example: &'static str) -> Self
    where
        T: DeserializeOwned + Serialize + JsonSchema,
        F: Family<T>,
    {
        Self {
            name,
            about,
            example,
            schema: schemars::schema_for!(T),
            subschema: SchemaGenerator::subschema_for::<T>,
            parse: Arc::new(|node, path, problems| {
                let parsed = Parsed::<T>::read(node, path, problems)?;
                Some(parsed.map(F::of))
            }),
        }
    }

    /// What `list`, `inspect` and `schema` show of it.
    pub fn part(&self) -> Part {
        Part {
            name: self.name,
            about: self.about,
            example: self.example,
            schema: self.schema.clone(),
        }
    }

    /// Reads `NAME` or `{ NAME: { .. } }`, or adds everything that is wrong to `problems`; `what` is
    /// what people call one of the family.
    pub fn choose(
        family: &[Self],
        what: &str,
        node: &Node,
        path: &Path,
        problems: &mut Problems,
    ) -> Option<Chosen<F>> {
        if let Some([(first, _), (second, _), ..]) = node.entries() {
            let message = format!("expected one {what}, found `{first}` and `{second}`");
            let help = Some("keep one of them".to_owned());
            problems.push(Problem { path: path.join(second), on_key: true, message, help });
            return None;
        }
        let names: Vec<&str> = family.iter().map(|variant| variant.name).collect();
        let found = entry(node, path, &[], &names, what, problems)?;
        let variant = &family[found.kind];
        let parsed = (variant.parse)(found.body, &found.body_path, problems)?;
        Some(Chosen { name: variant.name, value: parsed.value, fields: parsed.fields })
    }

    /// The schema of what [`Variant::choose`] reads.
    pub fn schema_of(family: &[Self], generator: &mut SchemaGenerator) -> Schema {
        let mut names = Vec::new();
        let mut forms: Vec<Schema> = Vec::new();
        for Self { name, about, subschema, .. } in family {
            let body = subschema(generator);
            let required = inner(&body, generator).get("required").cloned();
            if required.is_none_or(|required| required == json!([])) {
                names.push(*name);
            }
            forms.push(json_schema!({
                "description": about,
                "type": "object",
                "properties": { *name: body },
                "required": [name],
                "additionalProperties": false
            }));
        }
        forms.push(json_schema!({ "enum": names }));
        json_schema!({ "oneOf": forms })
    }
}

/// A schema, or what it refers to.
fn inner(schema: &Schema, generator: &SchemaGenerator) -> Value {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|to| to.rsplit('/').next());
    match name.and_then(|name| generator.definitions().get(name)) {
        Some(definition) => definition.clone(),
        None => schema.as_value().clone(),
    }
}

/// What was chosen.
pub struct Chosen<F: ?Sized> {
    name: &'static str,
    value: Arc<F>,
    /// Its fields, with all defaults.
    fields: Node,
}

impl<F: ?Sized> Chosen<F> {
    /// A value under a name, as YAML would choose it.
    ///
    /// # Panics
    /// If its fields have no form in YAML, as a map whose keys are not text.
    pub fn new<T: Serialize>(name: &'static str, value: T) -> Self
    where
        F: Family<T>,
    {
        let fields = Node::of(&value).expect("fields have a form in YAML");
        Self { name, value: F::of(value), fields }
    }

    /// The name in the YAML.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The fields, with all defaults.
    pub fn fields(&self) -> &Node {
        &self.fields
    }
}

impl<F: ?Sized> Clone for Chosen<F> {
    fn clone(&self) -> Self {
        Self { name: self.name, value: Arc::clone(&self.value), fields: self.fields.clone() }
    }
}

impl<F: ?Sized> Deref for Chosen<F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.value
    }
}

impl<F: ?Sized> PartialEq for Chosen<F> {
    fn eq(&self, other: &Self) -> bool {
        (self.name, &self.fields) == (other.name, &other.fields)
    }
}

impl<F: ?Sized> fmt::Debug for Chosen<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(self.name).field(&self.fields).finish()
    }
}

/// As it can be written in the YAML.
impl<F: ?Sized> Serialize for Chosen<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.name, &self.fields)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use config::yaml::Document;
    use serde::Deserialize;

    use super::*;

    trait Shape: Send + Sync {
        fn area(&self) -> f64;
    }

    #[derive(Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Square {
        #[serde(default = "one")]
        side: f64,
    }

    #[derive(Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Oblong {
        sides: [f64; 2],
    }

    fn one() -> f64 {
        1.0
    }

    impl Shape for Square {
        fn area(&self) -> f64 {
            self.side * self.side
        }
    }

    impl Shape for Oblong {
        fn area(&self) -> f64 {
            self.sides[0] * self.sides[1]
        }
    }

    impl<T: Shape + 'static> Family<T> for dyn Shape {
        fn of(shape: T) -> Arc<Self> {
            Arc::new(shape)
        }
    }

    fn family() -> Vec<Variant<dyn Shape>> {
        vec![
            Variant::of::<Square>("square", "As high as wide.", "{}"),
            Variant::of::<Oblong>("oblong", "Not so.", "{ sides: [1, 2] }"),
        ]
    }

    fn choose(text: &str) -> Result<Chosen<dyn Shape>, Vec<(String, String)>> {
        let document = Document::parse(&format!("shape: {text}")).expect("YAML");
        let (path, mut problems) = (Path::default().join("shape"), Problems::new());
        let node = document.node().get("shape").expect("there");
        let chosen = Variant::choose(&family(), "shape", node, &path, &mut problems);
        chosen.ok_or_else(|| {
            let told = |problem: Problem| (problem.path.to_string(), problem.message);
            problems.into_iter().map(told).collect()
        })
    }

    #[test]
    fn a_name_alone_and_a_name_with_fields_are_read_and_written() {
        for (text, area, written) in [
            ("square", 1.0, r#"{"square":{"side":1.0}}"#),
            ("{ square: { side: 3 } }", 9.0, r#"{"square":{"side":3.0}}"#),
            ("{ oblong: { sides: [2, 5] } }", 10.0, r#"{"oblong":{"sides":[2.0,5.0]}}"#),
        ] {
            let chosen = choose(text).expect("it is right");
            assert_eq!(chosen.area(), area, "{text}");
            assert_eq!(serde_json::to_string(&chosen).expect("JSON"), written);
            assert_eq!(choose(written).expect("it is read again"), chosen);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, place, message) in [
            ("circle", "shape", "there is no shape `circle`"),
            ("{ circle: {} }", "shape.circle", "there is no shape `circle`"),
            ("{ square: { sides: 1 } }", "shape.square.sides", "there is no field `sides`"),
            ("oblong", "shape", "the field `sides` is missing"),
            ("{ square: {}, oblong: {} }", "shape.oblong", "expected one shape"),
            ("3", "shape", "expected a shape, found `3`"),
        ] {
            let told = choose(text).expect_err(text);
            assert_eq!(told[0].0, place, "{text}");
            assert!(told[0].1.starts_with(message), "{text}: {told:?}");
        }
    }

    #[test]
    fn the_schema_takes_a_name_alone_where_no_field_is_required() {
        let schema = Variant::schema_of(&family(), &mut SchemaGenerator::default());
        let forms = schema.get("oneOf").and_then(Value::as_array).expect("several forms");
        assert_eq!(forms.len(), 3);
        assert_eq!(forms[2], json!({ "enum": ["square"] }));
        assert_eq!(forms[1]["required"], json!(["oblong"]));
    }
}
