//! A test in a pipeline's YAML: what becomes of an image on its way to a stage.

use std::borrow::Cow;
use std::path::PathBuf;

use config::shorthand::Shorthand;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::item::{Image, Pixels};

/// One test: an image, the stage that it is looked at behind, and what is expected there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// A PNG or JPEG file, its path relative to the pipeline's file, cut and scaled to the size that
    /// the pipeline reads; or the number of a drawing, for pipelines that read 32x32 in colour.
    pub image: Input,
    /// The stage whose output is looked at: one that puts out images.
    pub stage: String,
    /// The epoch, from 0, which with the image's number decides what chance does to it. A file has
    /// the number 0.
    #[serde(default)]
    pub epoch: u64,
    /// Height, width and channels.
    pub shape: Option<[usize; 3]>,
    /// Two numbers that no value is outside of.
    pub range: Option<[f64; 2]>,
    /// The mean of all values.
    pub mean: Option<f64>,
    /// Their standard deviation.
    pub deviation: Option<f64>,
    /// How far mean and standard deviation may be off.
    #[serde(default = "tolerance")]
    pub tolerance: f64,
    /// The CRC-32C of all values, eight hexadecimal digits in quotes: bytes as they are, reals as
    /// four bytes each, the least first.
    pub crc32c: Option<String>,
}

fn tolerance() -> f64 {
    1e-3
}

/// The image of a test.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The number of a drawing.
    Drawing(u64),
    /// A file.
    File(PathBuf),
}

impl Trial {
    /// Whether it expects anything.
    pub fn expects(&self) -> bool {
        self.shape.is_some()
            || self.range.is_some()
            || self.mean.is_some()
            || self.deviation.is_some()
            || self.crc32c.is_some()
    }

    /// What is not as expected of an image, a line each.
    pub fn differences(&self, image: &Image) -> Vec<String> {
        let found = Found::of(image);
        let mut lines = Vec::new();
        let mut differ = |what: &str, expected: String, found: String| {
            lines.push(format!("{what}: expected {expected}, found {found}"));
        };
        if let Some(shape) = self.shape
            && shape != image.shape
        {
            differ("shape", format!("{shape:?}"), format!("{:?}", image.shape));
        }
        if let Some([low, high]) = self.range
            && !found.lies_within(low, high)
        {
            let [least, most] = found.range;
            differ("range", format!("[{low}, {high}]"), format!("[{least}, {most}]"));
        }
        for (what, expected, found) in
            [("mean", self.mean, found.mean), ("deviation", self.deviation, found.deviation)]
        {
            let Some(expected) = expected else { continue };
            // What is no number is near nothing.
            let near = (found - expected).abs() <= self.tolerance;
            if !near {
                let expected = format!("{expected} (within {})", self.tolerance);
                differ(what, expected, found.to_string());
            }
        }
        if let Some(expected) = &self.crc32c
            && !expected.eq_ignore_ascii_case(&found.crc32c)
        {
            differ("crc32c", format!("{expected:?}"), format!("{:?}", found.crc32c));
        }
        lines
    }
}

/// What a test may ask of an image.
struct Found {
    range: [f64; 2],
    mean: f64,
    deviation: f64,
    crc32c: String,
}

impl Found {
    fn of(image: &Image) -> Self {
        let (values, crc): (Vec<f64>, u32) = match &image.pixels {
            Pixels::U8(bytes) => {
                (bytes.iter().map(|b| f64::from(*b)).collect(), crc32c::crc32c(bytes))
            }
            Pixels::F32(values) => {
                let append = |crc, value: &f32| crc32c::crc32c_append(crc, &value.to_le_bytes());
                (values.iter().map(|v| f64::from(*v)).collect(), values.iter().fold(0, append))
            }
            Pixels::Encoded(_) | Pixels::Elsewhere => (Vec::new(), 0),
        };
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        // Not `min` and `max`: those pass over what is no number.
        let ends = |[low, high]: [f64; 2], value: &f64| match value.is_nan() {
            true => [f64::NAN; 2],
            false => {
                [if *value < low { *value } else { low }, if *value > high { *value } else { high }]
            }
        };
        Self {
            range: values.iter().fold([f64::INFINITY, f64::NEG_INFINITY], ends),
            mean,
            deviation: (squares / count).sqrt(),
            crc32c: format!("{crc:08x}"),
        }
    }

    fn lies_within(&self, low: f64, high: f64) -> bool {
        let [least, most] = self.range;
        // The mean is no number if any value is none.
        low <= least && most <= high && !self.mean.is_nan()
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Shorthand::new("the path of an image, or the number of a drawing")
            .whole(|number| Some(Self::Drawing(number)))
            .text(|path| Some(Self::File(path.into())))
            .read(deserializer)
    }
}

impl Serialize for Input {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Drawing(number) => number.serialize(serializer),
            Self::File(path) => path.serialize(serializer),
        }
    }
}

impl JsonSchema for Input {
    fn schema_name() -> Cow<'static, str> {
        "Input".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "integer", "minimum": 0 }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(fields: &str) -> Trial {
        let text = format!("{{\"image\": 0, \"stage\": \"whiten\"{fields}}}");
        serde_json::from_str(&text).expect("right")
    }

    fn image(values: &[f32]) -> Image {
        Image { shape: [1, values.len(), 1], pixels: Pixels::F32(values.to_vec()) }
    }

    #[test]
    fn what_is_as_expected_is_not_told() {
        // CRC-32C of "123456789", the check value of its definition.
        let bytes = Image { shape: [3, 3, 1], pixels: Pixels::U8(b"123456789".to_vec().into()) };
        let all = trial(
            r#", "shape": [3, 3, 1], "range": [49, 57], "mean": 53, "deviation": 2.582,
                "crc32c": "E3069283""#,
        );
        assert_eq!(all.differences(&bytes), Vec::<String>::new());
        assert!(all.expects() && !trial("").expects());
    }

    #[test]
    fn each_difference_is_a_line() {
        let lines = |fields| trial(fields).differences(&image(&[1.0, 3.0]));
        assert_eq!(
            lines(r#", "shape": [1, 1, 3]"#),
            ["shape: expected [1, 1, 3], found [1, 2, 1]"]
        );
        assert_eq!(lines(r#", "range": [0, 2]"#), ["range: expected [0, 2], found [1, 3]"]);
        assert_eq!(
            lines(r#", "mean": 1.9, "tolerance": 0.05"#),
            ["mean: expected 1.9 (within 0.05), found 2"]
        );
        assert_eq!(
            lines(r#", "mean": 1.9, "tolerance": 0.11, "deviation": 2"#),
            ["deviation: expected 2 (within 0.11), found 1"]
        );
        assert_eq!(lines(r#", "crc32c": "00000000""#).len(), 1);
    }

    #[test]
    fn what_is_no_number_is_nothing_that_was_expected() {
        let fields = r#", "range": [-1e9, 1e9], "mean": 0, "deviation": 0, "tolerance": 1e9"#;
        for values in [[f32::NAN, 0.0], [0.0, f32::NAN]] {
            assert_eq!(trial(fields).differences(&image(&values)).len(), 3);
        }
    }

    #[test]
    fn an_image_is_a_number_or_a_path() {
        let read = |text| serde_json::from_str::<Input>(text);
        for (text, input) in
            [("7", Input::Drawing(7)), ("\"a/b.png\"", Input::File("a/b.png".into()))]
        {
            let found = read(text).expect(text);
            assert_eq!(found, input);
            assert_eq!(serde_json::to_string(&found).expect("JSON"), text);
        }
        assert!(read("-1").expect_err("no number").to_string().contains("number of a drawing"));
    }
}
