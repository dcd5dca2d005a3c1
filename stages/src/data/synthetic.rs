//! Drawings of ten shapes and patterns: images to train on where there are none.
//!
//! Colours, places, sizes and angles are random, and a shape is as often lighter than its ground
//! as darker, so that no single pixel and no mean says anything about the class: what a linear
//! classifier makes of them is little better than chance, while convolutions learn them. Each
//! class looks the same in a mirror.

use std::f32::consts::{FRAC_PI_4, TAU};
use std::thread;

use anyhow::{Context as _, Result, bail};
use base::random::Random;
use bytes::Bytes;
use flow::port::PixelType;
use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::format::{Drawings, FormatKind, ImageSource, Origin};
use super::in_memory::InMemory;
use super::{Images, Split, zeros};

const SIDE: usize = 32;
/// The type of the drawings.
pub const IMAGES: Images =
    Images { pixel: PixelType::U8, shape: [SIDE, SIDE, 3], classes: CLASSES.len() };
const PIXELS: usize = SIDE * SIDE * 3;
const CLASSES: [&str; 10] = [
    "disc",
    "ring",
    "square",
    "triangle",
    "cross",
    "rows",
    "columns",
    "diagonals",
    "checkerboard",
    "dots",
];
// 3 GB of pixels.
const MOST: u64 = 1_000_000;

/// How people call it.
pub const NAME: &str = "drawings of shapes and patterns";

/// Drawings of ten shapes and patterns in random colours, sizes and places, with noise.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Synthetic {
    /// Images to train on.
    pub train: u64,
    /// Images to test with; none of them is among those to train on.
    pub test: u64,
    /// Another number gives other images.
    pub seed: u64,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self { train: 10_000, test: 2_000, seed: 0 }
    }
}

/// The kind.
pub fn kind() -> FormatKind {
    FormatKind::of::<Synthetic>(
        "synthetic",
        "Nothing: 32x32 RGB drawings of 10 classes are made up.",
        "{ train: 1000, test: 200 }",
    )
}

impl ImageSource for Synthetic {
    fn origin(&self) -> Origin<'_> {
        Origin::Drawn(self)
    }
}

impl Drawings for Synthetic {
    fn check(&self) -> Result<(), Mismatch> {
        for (field, count) in [("train", self.train), ("test", self.test)] {
            if !(1..=MOST).contains(&count) {
                let message = format!("expected 1 to {MOST} images, found {count}");
                return Err(Mismatch::field(field, message)
                    .help("each takes 3,072 bytes of memory; the default is 10000 and 2000"));
            }
        }
        Ok(())
    }

    fn images(&self) -> Images {
        IMAGES
    }

    fn image(&self, split: Split, number: u64) -> (u32, Vec<u8>) {
        let mut image = vec![0; PIXELS];
        let class = (number % CLASSES.len() as u64) as usize;
        draw(class, Random::keyed(self.seed, &purpose(split), 0, number), &mut image);
        (class as u32, image)
    }

    fn open(&self, split: Split) -> Result<Box<dyn Dataset>> {
        Ok(Box::new(self.draw(split)?))
    }

    fn selecting_fields(&self) -> &'static [&'static str] {
        &["seed", "test", "train"]
    }
}

impl Synthetic {
    /// Draws a split. Image `n` is of class `n % 10` and depends on nothing but seed, split and
    /// `n`: a larger set starts with the smaller one's images.
    ///
    /// # Errors
    /// If the set is too large.
    pub fn draw(&self, split: Split) -> Result<InMemory> {
        let count = match split {
            Split::Train | Split::Validation => self.train,
            Split::Test => self.test,
        };
        if count > MOST {
            bail!("expected at most {MOST} drawings, found {count}");
        }
        let count = count as usize;
        let purpose = purpose(split);
        let mut pixels = zeros(count * PIXELS)?;
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = count.div_ceil(threads).max(1);
        thread::scope(|scope| -> Result<()> {
            for (part, pixels) in pixels.chunks_mut(share * PIXELS).enumerate() {
                let purpose = &purpose;
                let work = move || {
                    for (at, image) in pixels.chunks_exact_mut(PIXELS).enumerate() {
                        let number = part * share + at;
                        let random = Random::keyed(self.seed, purpose, 0, number as u64);
                        draw(number % CLASSES.len(), random, image);
                    }
                };
                let thread = thread::Builder::new().spawn_scoped(scope, work);
                thread.context("could not start a thread")?;
            }
            Ok(())
        })?;
        Ok(InMemory {
            name: NAME.to_owned(),
            shape: IMAGES.shape,
            classes: CLASSES.map(str::to_owned).to_vec(),
            labels: (0..count).map(|number| (number % CLASSES.len()) as u32).collect(),
            pixels: Bytes::from(pixels),
            warning: None,
            originals: None,
        })
    }
}

/// What the random numbers of a split are keyed by.
fn purpose(split: Split) -> String {
    let drawn = if split == Split::Test { split } else { Split::Train };
    format!("drawings to {}", drawn.name())
}

/// Draws one image.
fn draw(class: usize, mut random: Random, image: &mut [u8]) {
    let figure = Figure::of(class, &mut random);
    // The part of the image that every crop shows has the middle of the figure in it.
    let centre = [random.between(12.5, 19.5), random.between(12.5, 19.5)];
    let (sine, cosine) = figure.angle.sin_cos();
    let ground: [f32; 3] = std::array::from_fn(|_| random.between(70.0, 185.0));
    let sign = if random.unit() < 0.5 { -1.0 } else { 1.0 };
    let ink: [f32; 3] = std::array::from_fn(|_| sign * random.between(25.0, 70.0));
    let noise = random.between(8.0, 24.0);
    // Light falls from one side.
    let light = [random.between(-1.5, 1.5), random.between(-1.5, 1.5)];
    let (pixels, _) = image.as_chunks_mut::<3>();
    for (at, pixel) in pixels.iter_mut().enumerate() {
        let [x, y] = [at % SIDE, at / SIDE].map(|place| place as f32 + 0.5);
        let [x, y] = [x - centre[0], y - centre[1]];
        let cover = figure.cover(cosine * x + sine * y, cosine * y - sine * x);
        let shade = light[0] * x + light[1] * y;
        // Four bytes of randomness: one for the pixel's grey, three for its colour.
        let bytes = random.bits().to_le_bytes().map(|byte| f32::from(byte) / 127.5 - 1.0);
        for (channel, value) in pixel.iter_mut().enumerate() {
            let grain = noise * (bytes[3] + bytes[channel]);
            // The cast keeps values within 0 to 255.
            *value = (ground[channel] + cover * ink[channel] + shade + grain) as u8;
        }
    }
}

/// A shape or a pattern around the origin.
struct Figure {
    class: usize,
    angle: f32,
    // A shape's size in pixels or a pattern's period.
    size: f32,
    // The thickness of rings and crosses.
    thickness: f32,
    // Where a pattern starts, down and across.
    phases: [f32; 2],
}

impl Figure {
    fn of(class: usize, random: &mut Random) -> Self {
        let tilt = random.between(-0.2, 0.2);
        let side = if random.unit() < 0.5 { -1.0 } else { 1.0 };
        let size = match class {
            0 => random.between(5.5, 9.0),
            1 => random.between(6.0, 9.5),
            2 => random.between(5.0, 8.0),
            3 => random.between(3.8, 5.5),
            4 => random.between(6.5, 10.0),
            5..=7 => random.between(4.5, 8.0),
            8 => random.between(8.0, 13.0),
            _ => random.between(5.5, 8.5),
        };
        Self {
            class,
            angle: if class == 7 { side * (FRAC_PI_4 + tilt) } else { tilt },
            size,
            thickness: random.between(1.3, 2.2),
            phases: [random.between(0.0, TAU), random.between(0.0, TAU)],
        }
    }

    /// How much of the pixel at this place is covered, 0 to 1.
    fn cover(&self, x: f32, y: f32) -> f32 {
        let Self { size, thickness, .. } = *self;
        let waves = [(y, 0), (x, 1)].map(|(place, phase): (f32, usize)| {
            move || (TAU * place / size + self.phases[phase]).sin()
        });
        // Pixels inside the edge, negative outside; patterns are scaled to be about as sharp.
        let inside = match self.class {
            0 => size - x.hypot(y),
            1 => thickness - (x.hypot(y) - size).abs(),
            2 => size - x.abs().max(y.abs()),
            3 => size - y.max(0.866 * x.abs() - 0.5 * y),
            4 => {
                let bar = |along: f32, across: f32| (size - along).min(thickness - across);
                bar(x.abs(), y.abs()).max(bar(y.abs(), x.abs()))
            }
            5..=7 => waves[0]() * 1.5,
            8 => waves[0]() * waves[1]() * 3.0,
            _ => waves[0]() + waves[1]() - 0.9,
        };
        (inside + 0.5).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::lanes;

    const SMALL: Synthetic = Synthetic { train: 200, test: 100, seed: 5 };

    #[test]
    fn images_depend_on_seed_split_and_number_only() {
        let pixels = |set: &Synthetic, split| set.draw(split).expect("drawn").pixels;
        let train = pixels(&SMALL, Split::Train);
        assert_eq!(train, pixels(&SMALL, Split::Train));
        let larger = Synthetic { train: 333, ..SMALL };
        assert_eq!(train, pixels(&larger, Split::Train)[..200 * PIXELS]);
        assert_ne!(train, pixels(&Synthetic { seed: 6, ..SMALL }, Split::Train));
        let both = [train, pixels(&SMALL, Split::Test)].concat();
        let images: HashSet<&[u8]> = both.chunks(PIXELS).collect();
        assert_eq!(images.len(), 300);
    }

    #[test]
    fn one_image_is_that_of_its_split() {
        let drawings = Synthetic { train: 12, test: 12, seed: 3 };
        for split in [Split::Train, Split::Test] {
            let data = drawings.draw(split).expect("drawn");
            let (class, image) = drawings.image(split, 11);
            assert_eq!(class, data.labels[11]);
            assert_eq!(image, data.pixels[11 * PIXELS..]);
        }
    }

    #[test]
    fn classes_are_equally_common() {
        let labels = SMALL.draw(Split::Train).expect("drawn").labels;
        for class in 0..10 {
            assert_eq!(labels.iter().filter(|label| **label == class).count(), 20);
        }
    }

    /// Middle windows, whitened as for the network.
    fn windows(data: &InMemory) -> Vec<Vec<f32>> {
        let window = |image: &[u8]| -> Vec<f32> {
            let rows = image.chunks(SIDE * 3).skip(4).take(24);
            let values: Vec<f32> =
                rows.flat_map(|row| row[12..84].iter().map(|value| f32::from(*value))).collect();
            let (mean, variance) = lanes::mean_and_variance(&values);
            values.iter().map(|value| (value - mean as f32) / variance.sqrt() as f32).collect()
        };
        data.pixels.chunks(PIXELS).map(window).collect()
    }

    fn scores(weights: &[[f32; 10]], image: &[f32]) -> [f32; 10] {
        let mut scores = [0.0; 10];
        for (value, weights) in image.iter().zip(weights) {
            for (score, weight) in scores.iter_mut().zip(weights) {
                *score += value * weight;
            }
        }
        scores
    }

    fn accuracy(weights: &[[f32; 10]], data: &InMemory) -> f64 {
        let windows = windows(data);
        let right = windows.iter().zip(&data.labels).filter(|(image, label)| {
            let scores = scores(weights, image);
            let best = (0..10).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
            best == Some(**label as usize)
        });
        right.count() as f64 / windows.len() as f64
    }

    #[test]
    fn a_linear_classifier_learns_next_to_nothing_from_them() {
        // Softmax regression by gradient descent, one image at a time, with some decay.
        let set = Synthetic { train: 4000, test: 1000, seed: 0 };
        let (train, test) = (set.draw(Split::Train).expect("drawn"), set.draw(Split::Test));
        let images = windows(&train);
        let mut weights = vec![[0.0_f32; 10]; images[0].len()];
        let mut order: Vec<usize> = (0..images.len()).collect();
        for epoch in 0..10 {
            Random::keyed(1, "order", epoch, 0).shuffle(&mut order);
            for at in &order {
                let image = &images[*at];
                let mut slopes = scores(&weights, image).map(f32::exp);
                let sum: f32 = slopes.iter().sum();
                slopes.iter_mut().for_each(|slope| *slope /= sum);
                slopes[train.labels[*at] as usize] -= 1.0;
                for (value, weights) in image.iter().zip(&mut weights) {
                    for (weight, slope) in weights.iter_mut().zip(slopes) {
                        *weight -= 2e-4 * (slope * value + 0.01 * *weight);
                    }
                }
            }
        }
        let (learnt, new) = (accuracy(&weights, &train), accuracy(&weights, &test.expect("drawn")));
        println!("linear classifier: {learnt:.3} of the images it learnt from, {new:.3} of others");
        assert!(learnt > 0.2, "it has not learnt: {learnt}");
        assert!(new < 0.3, "too easy for a network to be needed: {new}");
    }

    #[test]
    fn impossible_sizes_are_told() {
        assert!(Synthetic::default().check().is_ok());
        assert_eq!(Synthetic { train: 0, ..SMALL }.check().expect_err("none").field, ["train"]);
        assert_eq!(
            Synthetic { test: MOST + 1, ..SMALL }.check().expect_err("many").field,
            ["test"]
        );
    }
}
