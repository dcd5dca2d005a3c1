//! Resizes every image, or a part of random size of it.

use std::sync::Arc;

use anyhow::{Result, ensure};
use base::random::Random;
use flow::item::{Pixels, Sample};
use flow::port::{ImageType, PixelType, Port};
use flow::preprocessing::{Chance, Preprocessing};
use flow::stage::{Config, Context, Exports, Kind, Map, Mismatch, Offset, Prepares, Runner};
use onnx::{Builder, Tensor, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Catalog;
use crate::extent::Extent;
use crate::inputs;
use crate::resample::{Part, resample, weights};
use crate::workers::Workers;

/// Resizes every image, or a part of random size, shape and place of it (the random resized crop of
/// Szegedy et al., "Going deeper with convolutions", 2015). The filter is a triangle: bilinear where images
/// grow, and as wide as the pixels that become one where they shrink, against aliasing, as in Pillow's
/// BILINEAR and torchvision's with `antialias`. Nothing is rounded.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resizer {
    /// The new size in pixels: one number for a square, or `[height, width]`.
    pub size: Extent,
    /// What is resized.
    pub mode: Mode,
    /// With `mode: random`, the least and the largest share of the image's area that is taken.
    pub area: [f64; 2],
    /// With `mode: random`, the least and the largest ratio of the part's width to its height. Both
    /// directions are as likely: ratios are even in their logarithm.
    pub aspect: [f64; 2],
    /// Threads that do it, at most 1024; 0 for one per core.
    pub workers: Workers,
}

/// What is resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A part of the image, anew for each image and epoch.
    #[default]
    Random,
    /// All of it, which may be stretched. For an evaluation.
    Whole,
}

/// Sides beyond this can only be a mistake.
const MOST: usize = 1 << 14;

impl Default for Resizer {
    fn default() -> Self {
        Self {
            size: Extent::square(24),
            mode: Mode::Random,
            area: [0.08, 1.0],
            aspect: [0.75, 4.0 / 3.0],
            workers: Workers::PER_CORE,
        }
    }
}

/// The kind of this stage.
pub fn kind(_: &Catalog) -> Kind {
    Kind::of::<Resizer>(
        "resizer",
        "Resizes a part of random size of every image (random resized crop), or all of it.",
        "{ size: 24, area: [0.25, 1] }",
    )
}

impl Config for Resizer {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let image = inputs::one_samples("resizer", inputs)?;
        let Extent { height, width } = self.size;
        let mut wrong = Vec::new();
        if ![height, width].iter().all(|side| (1..=MOST).contains(side)) {
            let message = format!("cannot resize to {}", self.size);
            wrong.push(Mismatch::field("size", message).help(format!("from 1 to {MOST} pixels")));
        }
        let [least, most] = self.area;
        if !(least > 0.0 && least <= most && most <= 1.0) {
            let message =
                format!("expected two shares above 0 and up to 1, found [{least}, {most}]");
            wrong.push(Mismatch::field("area", message).help("the smaller first"));
        }
        let [least, most] = self.aspect;
        if !(least > 0.0 && least <= most && most.is_finite()) {
            let message = format!("expected two ratios above 0, found [{least}, {most}]");
            wrong.push(Mismatch::field("aspect", message).help("the smaller first"));
        }
        Mismatch::all(wrong)?;
        let shape = [height, width, image.shape[2]];
        Ok(Some(Port::Samples(ImageType { pixel: PixelType::F32, shape, ..image })))
    }

    fn build(&self, _: &Context<'_>) -> Result<Runner> {
        Ok(Runner::Map { map: Arc::new(Resize(self.clone())), workers: self.workers.count() })
    }

    fn warnings(&self, inputs: &[Port]) -> Vec<Mismatch> {
        let Ok(image) = inputs::one_samples("resizer", inputs) else { return Vec::new() };
        let [height, width, _] = image.shape;
        if self.mode == Mode::Whole && self.size == (Extent { height, width }) {
            let message = format!("the images have the size {} already", self.size);
            return vec![Mismatch::field("size", message).help("leave the stage out")];
        }
        Vec::new()
    }

    fn as_exports(&self) -> Option<&dyn Exports> {
        Some(self)
    }

    fn as_prepares(&self) -> Option<&dyn Prepares> {
        Some(self)
    }
}

impl Exports for Resizer {
    /// As products with the weights of rows and of columns: `Resize` with `antialias` is of a later
    /// version of ONNX, and rounds otherwise from one program to the next.
    fn onnx(&self, file: &mut Builder, images: &Value) -> Result<Value> {
        ensure!(
            self.mode == Mode::Whole,
            "it takes a part at random, and a file gives the same for the same image: `mode: whole` \
             can be part of it"
        );
        let &[height, width, channels] = images.shape.as_slice() else {
            anyhow::bail!("what comes in are no images");
        };
        let Extent { height: high, width: wide } = self.size;
        let down = Tensor { shape: vec![high, height], values: weights(height, high) };
        let mut across = vec![0.0; width * wide];
        for (to, row) in weights(width, wide).chunks_exact(width).enumerate() {
            row.iter().enumerate().for_each(|(from, weight)| across[from * wide + to] = *weight);
        }
        let across = Tensor { shape: vec![width, wide], values: across };
        let (down, across) = (file.constant("down", &down), file.constant("across", &across));
        let narrow = file.node("MatMul", &[&down, &images.name], &[]);
        let name = file.node("MatMul", &[&narrow, &across], &[]);
        Ok(Value { name, shape: vec![high, wide, channels] })
    }

    fn in_words(&self, _: &[Port]) -> Option<String> {
        let what = match self.mode {
            Mode::Whole => "all of the image",
            Mode::Random => "a part of random size and place",
        };
        Some(format!(
            "{what} is scaled to {} (height x width) by a triangle filter without rounding: bilinear, \
             and as wide as the pixels that become one where it shrinks (Pillow's BILINEAR in floats)",
            self.size
        ))
    }
}

impl Prepares for Resizer {
    fn preprocessing(&self, inputs: &[Port]) -> Option<Preprocessing> {
        let [height, width, _] = inputs::one_samples("resizer", inputs).ok()?.shape;
        let scale = self.scale(height, width);
        let [high, wide] = scale;
        let chance = (self.mode == Mode::Random && [high, wide].iter().any(|[a, b]| a != b))
            .then_some(Chance { field: "mode", instead: "set `mode: whole`" });
        Some(Preprocessing { scale, chance, ..Preprocessing::default() })
    }

    fn offset(&self) -> Offset {
        Offset::Stays
    }
}

impl Resizer {
    /// What height and width of what is in the image are multiplied by: the least and the largest.
    fn scale(&self, height: usize, width: usize) -> [[f64; 2]; 2] {
        let (height, width) = (height as f64, width as f64);
        let (high, wide) = (self.size.height as f64, self.size.width as f64);
        match self.mode {
            Mode::Whole => [[high / height; 2], [wide / width; 2]],
            Mode::Random => {
                let [least, most] = self.area.map(|share| share * height * width);
                let [narrow, broad] = self.aspect;
                let mut highs = [(most / narrow).sqrt(), (least / broad).sqrt()];
                let mut wides = [(most * broad).sqrt(), (least * narrow).sqrt()];
                // Where not every part fits, it may be that in the middle.
                if highs[0] > height || wides[0] > width {
                    let Part { height: middle_high, width: middle_wide, .. } =
                        self.middle(height as usize, width as usize);
                    highs[1] = highs[1].min(middle_high as f64);
                    wides[1] = wides[1].min(middle_wide as f64);
                }
                let within = |side: f64, whole: f64| side.round().clamp(1.0, whole);
                [
                    highs.map(|side| high / within(side, height)),
                    wides.map(|side| wide / within(side, width)),
                ]
            }
        }
    }

    /// The largest part in the middle that has one of the ratios.
    fn middle(&self, height: usize, width: usize) -> Part {
        let [least, most] = self.aspect;
        let aspect = (width as f64 / height as f64).clamp(least, most);
        let wide = ((height as f64 * aspect).round() as usize).clamp(1, width);
        let high = ((width as f64 / aspect).round() as usize).clamp(1, height);
        Part { top: (height - high) / 2, left: (width - wide) / 2, height: high, width: wide }
    }
}

struct Resize(Resizer);

impl Map for Resize {
    fn map(&self, sample: &mut Sample, random: &mut Random) -> Result<()> {
        let shape @ [height, width, channels] = sample.image.shape;
        let part = match self.0.mode {
            Mode::Whole => Part { top: 0, left: 0, height, width },
            Mode::Random => self.part(height, width, random),
        };
        let size = [self.0.size.height, self.0.size.width];
        let resized = match &sample.image.pixels {
            Pixels::U8(values) => resample(values, shape, part, size),
            Pixels::F32(values) => resample(values, shape, part, size),
            Pixels::Encoded(_) | Pixels::Elsewhere => return Ok(()),
        };
        sample.image.pixels = Pixels::F32(resized);
        sample.image.shape = [size[0], size[1], channels];
        Ok(())
    }
}

impl Resize {
    /// A part of the image with random area and ratio. If none of ten fits, as in long images, the
    /// largest in the middle that does.
    fn part(&self, height: usize, width: usize, random: &mut Random) -> Part {
        let between = |[low, high]: [f64; 2], share: f32| low + (high - low) * f64::from(share);
        let logarithms = self.0.aspect.map(f64::ln);
        for _ in 0..10 {
            let area = between(self.0.area, random.unit()) * (height * width) as f64;
            let aspect = between(logarithms, random.unit()).exp();
            let wide = (area * aspect).sqrt().round() as usize;
            let high = (area / aspect).sqrt().round() as usize;
            if (1..=width).contains(&wide) && (1..=height).contains(&high) {
                let top = random.below(height - high + 1);
                let left = random.below(width - wide + 1);
                return Part { top, left, height: high, width: wide };
            }
        }
        self.0.middle(height, width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bytes_port, map, noise, reals, sample};

    const SHAPE: [usize; 3] = [32, 24, 3];

    fn resized(config: &Resizer, samples: &[Sample], seed: u64) -> Vec<Vec<f32>> {
        let mut samples = samples.to_vec();
        map(config, bytes_port(samples[0].image.shape), &mut samples, seed);
        samples.iter().map(reals).collect()
    }

    #[test]
    fn every_part_is_scaled_within_what_is_told() {
        let configs = [
            Resizer::default(),
            Resizer { area: [0.3, 0.5], aspect: [1.0, 1.0], ..Resizer::default() },
            Resizer { area: [1.0, 1.0], aspect: [0.5, 2.0], ..Resizer::default() },
        ];
        for (config, [height, width]) in configs
            .iter()
            .flat_map(|config| [[32, 32], [10, 100], [64, 24]].map(|shape| (config, shape)))
        {
            let [high, wide] = config.scale(height, width);
            let resize = Resize(config.clone());
            for index in 0..300 {
                let mut random = Random::keyed(1, "resize", 0, index);
                let part = resize.part(height, width, &mut random);
                for (size, side, [least, most]) in
                    [(config.size.height, part.height, high), (config.size.width, part.width, wide)]
                {
                    let scale = size as f64 / side as f64;
                    let within = (least - 1e-9..=most + 1e-9).contains(&scale);
                    assert!(within, "{config:?} {height}x{width}: {scale} of {least} to {most}");
                }
            }
        }
    }

    #[test]
    fn all_of_an_image_at_its_own_size_stays_as_it_is() {
        let samples = [noise(0, SHAPE)];
        let size = Extent { height: 32, width: 24 };
        let config = Resizer { size, mode: Mode::Whole, ..Resizer::default() };
        assert_eq!(resized(&config, &samples, 1)[0], reals(&samples[0]));
        assert_eq!(config.warnings(&[bytes_port(SHAPE)])[0].field, ["size"]);
        assert!(Resizer::default().warnings(&[bytes_port(SHAPE)]).is_empty());
    }

    #[test]
    fn parts_have_the_areas_and_ratios_asked_for_and_lie_anywhere() {
        let resize = Resize(Resizer { area: [0.1, 0.5], ..Resizer::default() });
        let (mut areas, mut aspects, mut corners) = (Vec::new(), Vec::new(), 0);
        for index in 0..2000 {
            let part = resize.part(64, 48, &mut Random::keyed(1, "test", 0, index));
            assert!(part.top + part.height <= 64 && part.left + part.width <= 48);
            areas.push((part.height * part.width) as f64 / (64.0 * 48.0));
            aspects.push(part.width as f64 / part.height as f64);
            corners += u32::from(part.top > 0 && part.left > 0);
        }
        // Sides are rounded to whole pixels.
        assert!(areas.iter().all(|area| (0.09..0.52).contains(area)));
        assert!(areas.iter().any(|a| *a < 0.13) && areas.iter().any(|a| *a > 0.47));
        assert!(aspects.iter().all(|aspect| (0.7..1.43).contains(aspect)));
        let wide = aspects.iter().filter(|aspect| **aspect > 1.0).count();
        assert!((850..1150).contains(&wide), "{wide} of 2000 are wide");
        assert!(corners > 1500, "{corners}");
    }

    #[test]
    fn an_image_in_which_no_part_fits_gives_its_middle() {
        let resize = Resize(Resizer { area: [1.0, 1.0], ..Resizer::default() });
        let part = |height, width| resize.part(height, width, &mut Random::keyed(1, "", 0, 0));
        assert_eq!(part(10, 100), Part { top: 0, left: 43, height: 10, width: 13 });
        assert_eq!(part(100, 9), Part { top: 44, left: 0, height: 12, width: 9 });
        assert_eq!(part(1, 1), Part { top: 0, left: 0, height: 1, width: 1 });
    }

    #[test]
    fn an_image_of_one_colour_stays_one() {
        let flat = sample(0, 0, SHAPE, [10, 20, 200].repeat(32 * 24));
        for values in resized(&Resizer::default(), &vec![flat; 20], 3) {
            assert_eq!(values.len(), 24 * 24 * 3);
            for pixel in values.chunks(3) {
                let close = |(a, b): (&f32, f32)| (a - b).abs() < 1e-3;
                assert!(pixel.iter().zip([10.0, 20.0, 200.0]).all(close), "{pixel:?}");
            }
        }
    }

    #[test]
    fn a_part_depends_on_the_seed_and_the_sample_and_not_on_the_order() {
        let forth: Vec<Sample> = (0..20).map(|index| noise(index, SHAPE)).collect();
        let back: Vec<Sample> = forth.iter().rev().cloned().collect();
        let mut reversed = resized(&Resizer::default(), &back, 1);
        reversed.reverse();
        assert_eq!(resized(&Resizer::default(), &forth, 1), reversed);
        assert_ne!(resized(&Resizer::default(), &forth, 2), reversed);
    }

    #[test]
    fn impossible_numbers_are_told_with_their_place() {
        let wrong = |config: Resizer| config.check(&[bytes_port(SHAPE)]).expect_err("impossible");
        let config = Resizer {
            size: Extent::square(0),
            area: [0.0, 1.0],
            aspect: [2.0, 1.0],
            ..Resizer::default()
        };
        let first = wrong(config);
        let fields: Vec<&str> = first.also.iter().map(|also| &*also.field[0]).collect();
        assert_eq!((&*first.field[0], fields), ("size", vec!["area", "aspect"]));
        assert_eq!(wrong(Resizer { area: [0.5, 1.1], ..Resizer::default() }).field, ["area"]);
        let nan = Resizer { aspect: [f64::NAN, 1.0], ..Resizer::default() };
        assert_eq!(wrong(nan).field, ["aspect"]);
    }
}
