//! A part of a stage that can be switched off.

use std::borrow::Cow;

use config::shorthand::Shorthand;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Settings, or `false` (also `null` and `off`) for not at all; `true` is all defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch<T> {
    /// Not done.
    Off,
    /// Done like this.
    On(T),
}

impl<T> Switch<T> {
    /// The settings, unless switched off.
    pub fn on(&self) -> Option<&T> {
        match self {
            Self::Off => None,
            Self::On(settings) => Some(settings),
        }
    }
}

impl<T: Default> Default for Switch<T> {
    fn default() -> Self {
        Self::On(T::default())
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Shorthand::new("its settings, or `false` to switch it off")
            .nothing(|| Self::Off)
            .boolean(|on| if on { Self::default() } else { Self::Off })
            // YAML 1.2 reads a bare `off` as text.
            .text(|text| match text {
                "off" => Some(Self::Off),
                "on" => Some(Self::default()),
                _ => None,
            })
            .map(Self::On)
            .read(deserializer)
    }
}

impl<T: Serialize> Serialize for Switch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::On(settings) => settings.serialize(serializer),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Switch<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Switch_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let settings = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [settings, { "type": "boolean" }, { "type": "null" }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Settings {
        strength: f64,
    }

    #[test]
    fn settings_truth_and_nothing_are_read_and_anything_else_is_explained() {
        let read = |text| serde_json::from_str::<Switch<Settings>>(text);
        for off in ["null", "false", "\"off\""] {
            assert_eq!(read(off).expect(off), Switch::Off);
        }
        for on in ["{}", "true", "\"on\""] {
            assert_eq!(read(on).expect(on), Switch::On(Settings::default()));
        }
        assert_eq!(
            read("{\"strength\": 2}").expect("a map"),
            Switch::On(Settings { strength: 2.0 })
        );
        assert!(read("3").expect_err("a number").to_string().contains("`false` to switch it off"));
        assert!(read("{\"strenth\": 2}").expect_err("a typo").to_string().contains("strength"));
    }
}
