//! A height and a width, written as one number or as two.

use std::borrow::Cow;
use std::fmt;

use config::shorthand::Shorthand;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Height and width in pixels: `24` for a square, or `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
}

impl Extent {
    /// As high as wide.
    pub const fn square(side: usize) -> Self {
        Self { height: side, width: side }
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

impl<'de> Deserialize<'de> for Extent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Shorthand::new("a whole number of pixels such as 24, or [height, width]")
            .whole(|side| usize::try_from(side).ok().map(Self::square))
            .list(|sides: Vec<usize>| match sides[..] {
                [height, width] => Some(Self { height, width }),
                _ => None,
            })
            .read(deserializer)
    }
}

impl Serialize for Extent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.height == self.width {
            self.height.serialize(serializer)
        } else {
            [self.height, self.width].serialize(serializer)
        }
    }
}

impl JsonSchema for Extent {
    fn schema_name() -> Cow<'static, str> {
        "Extent".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 1 },
                {
                    "type": "array",
                    "items": { "type": "integer", "minimum": 1 },
                    "minItems": 2,
                    "maxItems": 2
                }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_or_two_are_read_and_anything_else_is_explained() {
        let read = |text| serde_json::from_str::<Extent>(text);
        assert_eq!(read("24").expect("a square"), Extent::square(24));
        assert_eq!(read("[24, 16]").expect("a pair"), Extent { height: 24, width: 16 });
        for wrong in ["-1", "2.5", "\"big\"", "[1]", "[1, 2, 3]", "null"] {
            let error = read(wrong).expect_err(wrong).to_string();
            assert!(error.contains("such as 24, or [height, width]"), "{wrong}: {error}");
        }
    }
}
