//! A share of the images to train on that is kept back for validation.

use std::borrow::Cow;
use std::fmt;

use runtime::random::Random;
use runtime::stage::Mismatch;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{DataSet, Split};

/// A share of the images, `0.1`, or that with a seed: `{ fraction: 0.1, seed: 3 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Validation {
    /// The share, above 0 and below 1.
    pub fraction: f64,
    /// Another number keeps back other images; the run's seed if there is none.
    pub seed: Option<u64>,
}

/// The same, written out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WrittenOut {
    /// The share, above 0 and below 1.
    fraction: f64,
    /// Another number keeps back other images; the run's seed if there is none.
    #[serde(default)]
    seed: Option<u64>,
}

impl<'de> Deserialize<'de> for Validation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Validation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a share of the images such as 0.1, or `{ fraction: 0.1, seed: 3 }`")
            }

            fn visit_f64<E: de::Error>(self, fraction: f64) -> Result<Validation, E> {
                Ok(Validation { fraction, seed: None })
            }

            fn visit_u64<E: de::Error>(self, fraction: u64) -> Result<Validation, E> {
                self.visit_f64(fraction as f64)
            }

            fn visit_i64<E: de::Error>(self, fraction: i64) -> Result<Validation, E> {
                self.visit_f64(fraction as f64)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Validation, A::Error> {
                let WrittenOut { fraction, seed } =
                    WrittenOut::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Validation { fraction, seed })
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl JsonSchema for Validation {
    fn schema_name() -> Cow<'static, str> {
        "Validation".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let written_out = generator.subschema_for::<WrittenOut>();
        json_schema!({ "anyOf": [written_out, { "type": "number" }] })
    }
}

impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seed {
            None => write!(f, "{}", self.fraction),
            Some(seed) => write!(f, "{{ fraction: {}, seed: {seed} }}", self.fraction),
        }
    }
}

impl Validation {
    /// What is wrong with it.
    pub fn check(&self) -> Option<Mismatch> {
        let fraction = self.fraction;
        (!(fraction > 0.0 && fraction < 1.0)).then(|| {
            let message = format!("expected a share above 0 and below 1, found {fraction}");
            Mismatch::field("validation", message).help("0.1 keeps back a tenth of the images")
        })
    }

    /// The images of this split among all those to train on, in their order. Which they are depends
    /// on the seed and on how many images there are; a larger fraction keeps back more, and the
    /// same.
    ///
    /// # Errors
    /// If none would be left on one side.
    pub fn part(&self, all: &DataSet, split: Split, run_seed: u64) -> anyhow::Result<DataSet> {
        let count = all.labels.len();
        let kept_back = (self.fraction * count as f64).round() as usize;
        anyhow::ensure!(
            (1..count).contains(&kept_back),
            "a share of {} of {count} images is {kept_back} for validation and {} to train on: \
             each needs one at least; change `validation`",
            self.fraction,
            count.saturating_sub(kept_back)
        );
        let mut order: Vec<usize> = (0..count).collect();
        let seed = self.seed.unwrap_or(run_seed);
        Random::keyed(seed, "images for validation", 0, 0).shuffle(&mut order);
        let (validation, train) = order.split_at_mut(kept_back);
        let part = if split == Split::Validation { validation } else { train };
        part.sort_unstable();
        Ok(all.pick(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(images: u8) -> DataSet {
        let labels: Vec<u8> = (0..images).collect();
        DataSet {
            name: "numbers".to_owned(),
            shape: [1, 2, 1],
            classes: Vec::new(),
            pixels: labels.iter().flat_map(|label| [*label; 2]).collect::<Vec<u8>>().into(),
            labels,
            warning: None,
        }
    }

    fn labels(fraction: f64, seed: Option<u64>, split: Split, run_seed: u64) -> Vec<u8> {
        let part = Validation { fraction, seed }.part(&all(100), split, run_seed).expect("a part");
        let pixels: Vec<u8> = part.labels.iter().flat_map(|label| [*label; 2]).collect();
        assert_eq!(part.pixels, pixels);
        part.labels
    }

    #[test]
    fn both_parts_make_the_whole_and_depend_on_the_seed_alone() {
        let validation = labels(0.1, None, Split::Validation, 7);
        assert_eq!(validation.len(), 10);
        let mut both = [validation.clone(), labels(0.1, None, Split::Train, 7)].concat();
        both.sort_unstable();
        assert_eq!(both, (0..100).collect::<Vec<u8>>());
        assert!(validation.is_sorted(), "files stay in order");
        assert_ne!(validation, labels(0.1, None, Split::Validation, 8));
        assert_eq!(validation, labels(0.1, Some(7), Split::Validation, 8));
        let larger = labels(0.3, None, Split::Validation, 7);
        assert!(validation.iter().all(|image| larger.contains(image)));
    }

    #[test]
    fn a_share_that_leaves_nothing_is_told() {
        for fraction in [0.0, 1.0, -0.5, f64::NAN, 10.0] {
            assert!(Validation { fraction, seed: None }.check().is_some(), "{fraction}");
        }
        let share = |fraction, images| {
            Validation { fraction, seed: None }.part(&all(images), Split::Train, 0)
        };
        assert!(share(0.1, 4).expect_err("none").to_string().contains("0 for validation and 4"));
        assert!(share(0.9, 4).expect_err("all").to_string().contains("4 for validation and 0"));
    }

    #[test]
    fn a_number_and_a_map_are_read() {
        let read = |text| serde_json::from_str::<Validation>(text);
        assert_eq!(read("0.25").expect("a share"), Validation { fraction: 0.25, seed: None });
        let with_seed = read(r#"{"fraction": 0.25, "seed": 3}"#).expect("a map");
        assert_eq!(with_seed, Validation { fraction: 0.25, seed: Some(3) });
        assert!(read("\"some\"").expect_err("text").to_string().contains("such as 0.1"));
    }
}
