//! Covers a square of every image.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Result;
use base::random::Random;
use bytes::{Bytes, BytesMut};
use config::shorthand::Shorthand;
use flow::item::{Pixels, Sample};
use flow::port::{PixelType, Port};
use flow::preprocessing::{Chance, Preprocessing};
use flow::stage::{Config, Context, Kind, Map, Mismatch, Offset, Prepares, Runner};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Catalog;
use crate::idle;
use crate::inputs;
use crate::lanes;
use crate::patch::Patch;
use crate::probability;
use crate::workers::Workers;

/// Covers a square of every image, anew in each epoch: the model learns to look at more than one
/// part of what it knows (DeVries and Taylor, "Improved regularization of convolutional neural
/// networks with cutout", 2017). The square's centre is at any pixel, each as likely as any other,
/// so that a part of it may lie outside.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cutout {
    /// The side of the square in pixels. Of an even side, one pixel more lies before the centre than
    /// after it.
    #[schemars(range(min = 1))]
    pub size_px: usize,
    /// What covers it: `mean`, the mean of each channel of the image, or one number; in images of
    /// bytes it is rounded to a whole number. After a `whitening` the mean of an image is about 0.
    pub fill: Fill,
    /// The share of images that are changed, 0 to 1.
    pub probability: f64,
    /// Threads that do it, at most 1024; 0 for one per core.
    pub workers: Workers,
}

/// What covers a square.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// The mean of each channel of the image.
    Mean,
    /// The same number everywhere.
    Value(f32),
}

impl Default for Cutout {
    fn default() -> Self {
        Self { size_px: 8, fill: Fill::Mean, probability: 1.0, workers: Workers::PER_CORE }
    }
}

/// The kind of this stage.
pub fn kind(_: &Catalog) -> Kind {
    Kind::of::<Cutout>(
        "cutout",
        "Covers a square of every image, at a random place.",
        "{ size_px: 8, fill: mean }",
    )
}

impl Config for Cutout {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let image = inputs::one_samples("cutout", inputs)?;
        let [height, width, _] = image.shape;
        let mut wrong = Vec::new();
        // A larger one would cover the whole image wherever its centre is.
        let most = 2 * height.max(width) - 1;
        if !(1..most).contains(&self.size_px) {
            let message = format!("a square of {} pixels in {height}x{width}", self.size_px);
            wrong.push(Mismatch::field("size_px", message).help(format!("from 1 to {}", most - 1)));
        }
        if let Fill::Value(value) = self.fill {
            let byte = image.pixel == PixelType::U8;
            if byte && !(value.fract() == 0.0 && (0.0..=255.0).contains(&value)) {
                let message = format!("these images are bytes, and {value} is none");
                wrong.push(
                    Mismatch::field("fill", message)
                        .help("a whole number from 0 to 255, or `mean`"),
                );
            } else if !value.is_finite() {
                wrong.push(Mismatch::field("fill", format!("expected a number, found {value}")));
            }
        }
        let never = "for never, leave the stage out";
        wrong.extend(probability::check("probability", self.probability, never).err());
        Mismatch::all(wrong)?;
        Ok(Some(Port::Samples(image)))
    }

    fn build(&self, _: &Context<'_>) -> Result<Runner> {
        Ok(Runner::Map { map: Arc::new(Cover(self.clone())), workers: self.workers.count() })
    }

    fn warnings(&self, _: &[Port]) -> Vec<Mismatch> {
        idle::warning("", self.probability, false, "leave the stage out").into_iter().collect()
    }

    fn as_prepares(&self) -> Option<&dyn Prepares> {
        Some(self)
    }
}

impl Prepares for Cutout {
    fn preprocessing(&self, _: &[Port]) -> Option<Preprocessing> {
        let chance = Chance { field: "", instead: "leave the stage out" };
        Some(match self.probability {
            0.0 => Preprocessing::default(),
            _ => Preprocessing::random(chance),
        })
    }

    fn offset(&self) -> Offset {
        match self.fill {
            Fill::Mean => Offset::Stays,
            Fill::Value(_) => Offset::Matters,
        }
    }
}

struct Cover(Cutout);

impl Map for Cover {
    fn map(&self, sample: &mut Sample, random: &mut Random) -> Result<()> {
        let shape @ [height, width, channels] = sample.image.shape;
        let centre = [random.below(height), random.below(width)];
        let square = Patch::around(centre, [self.0.size_px; 2], [height, width]);
        if f64::from(random.unit()) >= self.0.probability {
            return Ok(());
        }
        match &mut sample.image.pixels {
            Pixels::F32(values) => {
                let cover = self.cover(values, channels);
                fill(&square, values, shape, &cover);
            }
            Pixels::U8(bytes) => {
                let cover = self.cover(bytes, channels);
                let cover: Vec<u8> = cover.iter().map(|value| value.round() as u8).collect();
                // Copies only what others hold too, such as the data set.
                let mut values = BytesMut::from(std::mem::replace(bytes, Bytes::new()));
                fill(&square, &mut values, shape, &cover);
                *bytes = values.freeze();
            }
            Pixels::Encoded(_) | Pixels::Elsewhere => {}
        }
        Ok(())
    }
}

impl Cover {
    /// One number per channel.
    fn cover<T: Copy + Into<f32>>(&self, values: &[T], channels: usize) -> Vec<f32> {
        match self.0.fill {
            Fill::Value(value) => vec![value; channels],
            Fill::Mean => {
                let means = lanes::channel_means(values, channels);
                means.into_iter().map(|mean| mean as f32).collect()
            }
        }
    }
}

fn fill<T: Copy>(patch: &Patch, values: &mut [T], shape: [usize; 3], pixel: &[T]) {
    for row in patch.rows(shape) {
        let pixels = values[row].chunks_exact_mut(pixel.len());
        pixels.for_each(|place| place.copy_from_slice(pixel));
    }
}

impl<'de> Deserialize<'de> for Fill {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Shorthand::new("`mean`, or a number")
            .text(|text| (text == "mean").then_some(Self::Mean))
            .number(|value| Self::Value(value as f32))
            .read(deserializer)
    }
}

impl Serialize for Fill {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Mean => serializer.serialize_str("mean"),
            Self::Value(value) => serializer.serialize_f32(*value),
        }
    }
}

impl JsonSchema for Fill {
    fn schema_name() -> Cow<'static, str> {
        "Fill".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "mean" }, { "type": "number" }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bytes_port, map, noise, reals, sample};

    const SHAPE: [usize; 3] = [24, 16, 3];

    fn covered(config: &Cutout, samples: &[Sample], seed: u64) -> Vec<Sample> {
        let mut samples = samples.to_vec();
        map(config, bytes_port(SHAPE), &mut samples, seed);
        samples
    }

    fn samples(count: u64) -> Vec<Sample> {
        (0..count).map(|index| noise(index, SHAPE)).collect()
    }

    #[test]
    fn one_rectangle_becomes_the_mean_and_the_rest_stays() {
        let before = samples(300);
        let mut centres = [0_u32; 2];
        for (was, is) in before.iter().zip(covered(&Cutout::default(), &before, 1)) {
            assert!(matches!(is.image.pixels, Pixels::U8(_)), "the pixel type is kept");
            let (was, is) = (reals(was), reals(&is));
            let mean = |channel: usize| {
                let all = was.iter().skip(channel).step_by(3);
                (all.map(|value| f64::from(*value)).sum::<f64>() / 384.0).round() as f32
            };
            let means = [0, 1, 2].map(mean);
            let covered: Vec<usize> = (0..384).filter(|at| is[3 * at..][..3] == means).collect();
            // Noise equals the mean in all three channels once in 17 million pixels.
            let (rows, columns): (Vec<_>, Vec<_>) =
                covered.iter().map(|at| (at / 16, at % 16)).unzip();
            let extent = |places: &[usize]| {
                let least = *places.iter().min().expect("something is covered");
                least..places.iter().max().expect("the same") + 1
            };
            let (rows, columns) = (extent(&rows), extent(&columns));
            assert_eq!(covered.len(), rows.len() * columns.len());
            assert!((4..=8).contains(&rows.len()) && (4..=8).contains(&columns.len()));
            centres[0] += u32::from(rows.start == 0);
            centres[1] += u32::from(columns.end == 16);
            for (at, (was, is)) in was.iter().zip(&is).enumerate() {
                assert!(covered.contains(&(at / 3)) || was == is);
            }
        }
        // The centre is in one of 5 of 24 rows, or in one of 5 of 16 columns.
        assert!((35..95).contains(&centres[0]) && (60..130).contains(&centres[1]), "{centres:?}");
    }

    #[test]
    fn a_value_covers_reals_and_bytes_alike() {
        let config = Cutout { fill: Fill::Value(7.0), size_px: 5, ..Cutout::default() };
        let bytes = samples(20);
        let mut floats = bytes.clone();
        floats.iter_mut().for_each(|sample| {
            sample.image.as_f32();
        });
        let (bytes, floats) = (covered(&config, &bytes, 1), covered(&config, &floats, 1));
        for (a, b) in bytes.iter().zip(&floats) {
            assert_eq!(reals(a), reals(b));
            assert!(matches!(b.image.pixels, Pixels::F32(_)));
        }
    }

    #[test]
    fn the_data_set_itself_is_never_written_to() {
        let original = noise(0, SHAPE);
        let kept = original.clone();
        covered(&Cutout::default(), std::slice::from_ref(&original), 1);
        assert_eq!(original, kept);
        assert_eq!(original, noise(0, SHAPE));
    }

    #[test]
    fn what_is_covered_depends_on_the_seed_and_the_sample_and_not_on_the_order() {
        let forth = samples(20);
        let back: Vec<Sample> = forth.iter().rev().cloned().collect();
        let mut reversed = covered(&Cutout::default(), &back, 1);
        reversed.reverse();
        assert_eq!(covered(&Cutout::default(), &forth, 1), reversed);
        assert_ne!(covered(&Cutout::default(), &forth, 2), reversed);
        let mut later = forth.clone();
        later.iter_mut().for_each(|sample| sample.id.epoch = 1);
        let values = |samples: &[Sample]| samples.iter().map(reals).collect::<Vec<_>>();
        assert_ne!(values(&covered(&Cutout::default(), &later, 1)), values(&reversed));
    }

    #[test]
    fn a_share_of_the_images_is_covered() {
        let config = Cutout { probability: 0.3, ..Cutout::default() };
        let before = samples(1000);
        let after = covered(&config, &before, 1);
        let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert!((240..360).contains(&changed), "{changed} of 1000");
        assert!(config.warnings(&[bytes_port(SHAPE)]).is_empty());
        let none = Cutout { probability: 0.0, ..config };
        assert_eq!(none.warnings(&[bytes_port(SHAPE)])[0].field, ["probability"]);
    }

    #[test]
    fn impossible_fields_are_told_with_their_place() {
        let check = |config: Cutout, shape| config.check(&[bytes_port(shape)]);
        let field = |config| check(config, SHAPE).expect_err("impossible").field.join(".");
        assert_eq!(field(Cutout { size_px: 0, ..Cutout::default() }), "size_px");
        assert_eq!(field(Cutout { size_px: 47, ..Cutout::default() }), "size_px");
        assert!(check(Cutout { size_px: 46, ..Cutout::default() }, SHAPE).is_ok());
        assert_eq!(field(Cutout { fill: Fill::Value(0.5), ..Cutout::default() }), "fill");
        assert_eq!(field(Cutout { probability: -1.0, ..Cutout::default() }), "probability");
        let flat = sample(0, 0, [1, 1, 1], vec![9]);
        assert_eq!(reals(&flat), [9.0]);
        assert_eq!(
            check(Cutout { size_px: 1, ..Cutout::default() }, [1, 1, 1])
                .expect_err("nothing would be left")
                .field,
            ["size_px"]
        );
    }

    #[test]
    fn a_fill_is_read_and_written_alike() {
        for (text, fill) in
            [("\"mean\"", Fill::Mean), ("3", Fill::Value(3.0)), ("-0.5", Fill::Value(-0.5))]
        {
            let read: Fill = serde_json::from_str(text).expect(text);
            assert_eq!(read, fill);
            let written = serde_json::to_string(&read).expect("JSON");
            assert_eq!(serde_json::from_str::<Fill>(&written).expect(text), fill);
        }
        let error = serde_json::from_str::<Fill>("\"median\"").expect_err("no fill").to_string();
        assert!(error.contains("`mean`, or a number"), "{error}");
    }
}
