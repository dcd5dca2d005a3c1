//! A number for each channel of an image.

use std::borrow::Cow;

use config::shorthand::Shorthand;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One number for each channel, or one for all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Channels(Vec<f64>);

impl Channels {
    /// The numbers of so many channels; `None` if there are others.
    pub fn of(&self, channels: usize) -> Option<Vec<f64>> {
        match &*self.0 {
            [one] => Some(vec![*one; channels]),
            all => (all.len() == channels).then(|| all.to_vec()),
        }
    }

    /// The same for images of so many channels, written in the one way that equal numbers share.
    pub fn plain(&self, channels: usize) -> Self {
        let all = self.of(channels).unwrap_or_else(|| self.0.clone());
        match &*all {
            [first, rest @ ..] if rest.iter().all(|number| number == first) => Self(vec![*first]),
            _ => Self(all),
        }
    }

    /// The same times a factor as people would write it, to two decimals.
    pub fn times(&self, factor: f64) -> String {
        let product = |number: &f64| ((number * factor * 100.0).round() / 100.0).to_string();
        match &*self.0 {
            [one] => product(one),
            all => format!("[{}]", all.iter().map(product).collect::<Vec<_>>().join(", ")),
        }
    }

    /// The numbers as they are written.
    pub fn written(&self) -> &[f64] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Channels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Shorthand::new("a number, or a list with one for each channel")
            .number(|value| Self(vec![value]))
            .list(|all: Vec<f64>| (!all.is_empty()).then_some(Self(all)))
            .read(deserializer)
    }
}

impl Serialize for Channels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &*self.0 {
            [one] => one.serialize(serializer),
            all => all.serialize(serializer),
        }
    }
}

impl JsonSchema for Channels {
    fn schema_name() -> Cow<'static, str> {
        "Channels".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "number" },
                { "type": "array", "items": { "type": "number" }, "minItems": 1 }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_for_all_channels_and_a_list_for_as_many_as_it_has() {
        let read = |text: &str| serde_json::from_str::<Channels>(text);
        for (text, of_three) in [
            ("7", Some(vec![7.0; 3])),
            ("[1, 2, 3.5]", Some(vec![1.0, 2.0, 3.5])),
            ("[1, 2]", None),
        ] {
            let channels = read(text).expect(text);
            assert_eq!(channels.of(3), of_three);
            let written = serde_json::to_string(&channels).expect("JSON");
            assert_eq!(read(&written).expect("it is read again"), channels);
        }
        for wrong in ["[]", "\"grey\"", "null"] {
            let error = read(wrong).expect_err(wrong).to_string();
            assert!(error.contains("a list with one for each channel"), "{wrong}: {error}");
        }
    }
}
