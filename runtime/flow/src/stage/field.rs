//! Fields that are read by what a program's registry holds, and not by serde.

use std::sync::Arc;

use config::decode::Problems;
use config::node::{Node, Path};
use schemars::{Schema, SchemaGenerator};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Chosen, Variant};

type SchemaOf = Arc<dyn Fn(&mut SchemaGenerator) -> Schema + Send + Sync>;
type ReadInto<C> =
    Arc<dyn Fn(Option<&mut C>, &Node, &Path, &mut Problems) -> Option<()> + Send + Sync>;

/// A field of the stage `C` that chooses from a list which programs add to. serde knows no such list: it
/// passes the field over with [`read_later`], and this reads it.
#[derive(Clone)]
pub struct Field<C> {
    name: &'static str,
    schema: SchemaOf,
    read: ReadInto<C>,
}

impl<C: 'static> Field<C> {
    /// A field of this name. What `read` gives is handed to `set`.
    pub fn new<V: 'static>(
        name: &'static str,
        schema: impl Fn(&mut SchemaGenerator) -> Schema + Send + Sync + 'static,
        read: impl Fn(&Node, &Path, &mut Problems) -> Option<V> + Send + Sync + 'static,
        set: fn(&mut C, V),
    ) -> Self {
        let read: ReadInto<C> = Arc::new(move |config, node, path, problems| {
            let value = read(node, path, problems)?;
            if let Some(config) = config {
                set(config, value);
            }
            Some(())
        });
        Self { name, schema: Arc::new(schema), read }
    }

    /// A field that holds one of this family; `what` is what people call one.
    pub fn choice<F: ?Sized + 'static>(
        name: &'static str,
        what: &'static str,
        family: Vec<Variant<F>>,
        set: fn(&mut C, Chosen<F>),
    ) -> Self
    where
        Variant<F>: Send + Sync,
    {
        let known = family.clone();
        Self::new(
            name,
            move |generator| Variant::schema_of(&known, generator),
            move |node, path, problems| Variant::choose(&family, what, node, path, problems),
            set,
        )
    }

    /// Reads the field of a body, if it is there.
    pub(super) fn read(
        &self,
        config: Option<&mut C>,
        body: &Node,
        path: &Path,
        problems: &mut Problems,
    ) -> Option<()> {
        match body.get(self.name) {
            Some(node) => (self.read)(config, node, &path.join(self.name), problems),
            None => Some(()),
        }
    }

    /// Puts what the field holds into the schema of the stage, beside its description and default.
    pub(super) fn describe(&self, stage: &mut Schema, generator: &mut SchemaGenerator) {
        let schema = (self.schema)(generator);
        let field = stage.get_mut("properties").and_then(|fields| fields.get_mut(self.name));
        if let (Some(field), Value::Object(schema)) = (field, schema.to_value()) {
            match field {
                Value::Object(field) => field.extend(schema),
                other => *other = Value::Object(schema),
            }
        }
    }
}

/// Passes a field over that a [`Field`] reads: for `#[serde(deserialize_with)]`.
///
/// # Errors
/// If what is there is no value at all.
pub fn read_later<'de, D: Deserializer<'de>, V: Default>(deserializer: D) -> Result<V, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| V::default())
}
