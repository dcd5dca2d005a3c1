//! Cuts a window out of every image.

use std::sync::Arc;

use anyhow::{Result, ensure};
use bytes::Bytes;
use runtime::item::{Pixels, Sample};
use runtime::port::{ImageType, Port};
use runtime::random::Random;
use runtime::stage::{Config, Context, Kind, Map, Mismatch, Runner};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::extent::Extent;
use crate::inputs;
use crate::workers::Workers;

/// Cuts a window out of every image.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cropper {
    /// The window in pixels: one number for a square, or `[height, width]`.
    pub size: Extent,
    /// Where the window lies.
    pub mode: Mode,
    /// For an evaluation by several views of each image, of which the model's probabilities are
    /// averaged: 1, the middle; 2, that and its mirror image; 10, the four corners, the middle and
    /// their mirror images (cuda-convnet's multiview). Each epoch shows one of them. With `mode:
    /// central` only.
    #[schemars(extend("enum" = VIEWS))]
    pub views: usize,
    /// Threads that do it, at most 1024; 0 for one per core.
    pub workers: Workers,
}

const VIEWS: [usize; 3] = [1, 2, 10];

/// Where the window lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Anywhere in the image, each place as likely as any other, anew for each image and epoch.
    #[default]
    Random,
    /// In the middle (rounded towards the top left).
    Central,
}

impl Default for Cropper {
    fn default() -> Self {
        Self { size: Extent::square(24), mode: Mode::Random, views: 1, workers: Workers::PER_CORE }
    }
}

/// The kind of this stage.
pub fn kind() -> Kind {
    Kind::of::<Cropper>(
        "cropper",
        "Cuts a window out of every image, at a random place or in the middle.",
        "{ size: 24, mode: random }",
    )
}

impl Config for Cropper {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let image = inputs::one_samples("cropper", inputs)?;
        let [height, width, channels] = image.shape;
        let Extent { height: high, width: wide } = self.size;
        let limit = if height == width {
            format!("at most {height}")
        } else {
            format!("at most [{height}, {width}]")
        };
        if high == 0 || wide == 0 {
            return Err(Mismatch::field("size", format!("a window of {} is empty", self.size))
                .help(format!("at least 1, {limit}")));
        }
        if high > height || wide > width {
            let message = format!("cannot cut {} out of {height}x{width}", self.size);
            return Err(Mismatch::field("size", message).help(limit));
        }
        let views = self.check_views(image.views)?;
        Ok(Some(Port::Samples(ImageType { shape: [high, wide, channels], views, ..image })))
    }

    fn build(&self, _: &Context<'_>) -> Result<Runner> {
        let map = Arc::new(Crop { size: self.size, mode: self.mode, views: self.views });
        Ok(Runner::Map { map, workers: self.workers.count() })
    }
}

impl Cropper {
    /// The views of what is put out, of images that come in so many views.
    fn check_views(&self, before: usize) -> Result<usize, Mismatch> {
        let wrong = |message: String, help: &str| Err(Mismatch::field("views", message).help(help));
        match self.views {
            1 => Ok(before),
            views if !VIEWS.contains(&views) => {
                wrong(format!("there are no {views} views of an image"), "1, 2 or 10")
            }
            views if self.mode == Mode::Random => wrong(
                format!("{views} views are at places of their own, and `mode: random` draws them"),
                "set `mode: central`",
            ),
            views if before > 1 => wrong(
                format!("the images come in {before} views already, and {views} are asked for"),
                "set `views` on one cropper of a flow only",
            ),
            views => Ok(views),
        }
    }
}

struct Crop {
    size: Extent,
    mode: Mode,
    views: usize,
}

impl Crop {
    /// How far down and to the right the window of an epoch's view lies, where there is this much
    /// room, and whether the view is mirrored. The plain middle comes last.
    fn view(&self, epoch: u64, down: usize, right: usize) -> (usize, usize, bool) {
        let view = (epoch % self.views as u64) as usize;
        let places = self.views.div_ceil(2);
        let (top, left) = match view % places {
            middle if middle + 1 == places => (down / 2, right / 2),
            corner => (corner / 2 * down, corner % 2 * right),
        };
        (top, left, self.views > 1 && view < places)
    }
}

impl Map for Crop {
    fn map(&self, sample: &mut Sample, random: &mut Random) -> Result<()> {
        let [height, width, channels] = sample.image.shape;
        let Extent { height: high, width: wide } = self.size;
        ensure!(
            high <= height && wide <= width,
            "cannot cut {} out of an image of {height}x{width}",
            self.size
        );
        let (down, right) = (height - high, width - wide);
        let (top, left, mirrored) = match self.mode {
            Mode::Random => (random.below(down + 1), random.below(right + 1), false),
            Mode::Central => self.view(sample.id.epoch, down, right),
        };
        let window = Window {
            first: (top * width + left) * channels,
            stride: width * channels,
            row: wide * channels,
            rows: high,
            mirrored: mirrored.then_some(channels),
        };
        sample.image.pixels = match &sample.image.pixels {
            Pixels::U8(values) => Pixels::U8(Bytes::from(window.cut(values))),
            Pixels::F32(values) => Pixels::F32(window.cut(values)),
            Pixels::Elsewhere => Pixels::Elsewhere,
        };
        sample.image.shape = [high, wide, channels];
        Ok(())
    }
}

/// A window into values that lie row by row.
struct Window {
    first: usize,
    stride: usize,
    row: usize,
    rows: usize,
    // The numbers of a pixel, whose order in a row is turned around.
    mirrored: Option<usize>,
}

impl Window {
    fn cut<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let mut cut = Vec::with_capacity(self.row * self.rows);
        for row in values[self.first..].chunks(self.stride).take(self.rows) {
            match self.mirrored {
                None => cut.extend_from_slice(&row[..self.row]),
                Some(channels) => cut.extend(row[..self.row].rchunks(channels).flatten()),
            }
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use runtime::port::PixelType;

    use super::*;
    use crate::testing::{bytes_port, map, reals, sample};

    const SHAPE: [usize; 3] = [32, 32, 3];
    const IMAGE: ImageType =
        ImageType { pixel: PixelType::U8, shape: SHAPE, classes: 10, whole_epochs: true, views: 1 };

    /// An image whose every pixel says where it is: row, column, and what is the same for all.
    fn places(epoch: u64, index: u64) -> Sample {
        let pixels = (0..32).flat_map(|y| (0..32).flat_map(move |x| [y, x, 255])).collect();
        sample(epoch, index, SHAPE, pixels)
    }

    fn corner(sample: &Sample) -> (usize, usize) {
        let values = reals(sample);
        (values[0] as usize, values[1] as usize)
    }

    #[test]
    fn a_crop_is_the_window_at_its_corner() {
        let mut samples: Vec<Sample> = (0..20).map(|index| places(0, index)).collect();
        let config = Cropper { size: Extent { height: 20, width: 10 }, ..Cropper::default() };
        map(&config, bytes_port(SHAPE), &mut samples, 1);
        for sample in &samples {
            assert_eq!(sample.image.shape, [20, 10, 3]);
            assert!(matches!(sample.image.pixels, Pixels::U8(_)), "the pixel type is kept");
            let (top, left) = corner(sample);
            for (at, pixel) in reals(sample).chunks(3).enumerate() {
                let (y, x) = (top + at / 10, left + at % 10);
                assert_eq!(pixel, [y as f32, x as f32, 255.0]);
            }
        }
    }

    #[test]
    fn all_81_places_come_up_about_as_often() {
        let mut samples: Vec<Sample> = (0..8100).map(|index| places(0, index)).collect();
        map(&Cropper::default(), bytes_port(SHAPE), &mut samples, 1);
        let mut counts = [0_u32; 81];
        for sample in &samples {
            let (y, x) = corner(sample);
            counts[y * 9 + x] += 1;
        }
        // 100 expected with a standard deviation of 10.
        assert!(counts.iter().all(|count| (50..150).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_crop_depends_on_seed_epoch_and_number_and_on_nothing_else() {
        let crops = |seed, samples: &mut Vec<Sample>| -> Vec<(usize, usize)> {
            map(&Cropper::default(), bytes_port(SHAPE), samples, seed);
            samples.iter().map(corner).collect()
        };
        let mut forth: Vec<Sample> = (0..50).map(|index| places(0, index)).collect();
        let mut back: Vec<Sample> = (0..50).rev().map(|index| places(0, index)).collect();
        let mut next: Vec<Sample> = (0..50).map(|index| places(1, index)).collect();
        let mut other = forth.clone();
        let first = crops(1, &mut forth);
        let mut reversed = crops(1, &mut back);
        reversed.reverse();
        assert_eq!(first, reversed);
        let seen: HashSet<_> =
            [first, crops(1, &mut next), crops(2, &mut other)].into_iter().collect();
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn the_central_crop_leaves_4_pixels_on_each_side() {
        let mut samples = [places(0, 0)];
        let config = Cropper { mode: Mode::Central, ..Cropper::default() };
        map(&config, bytes_port(SHAPE), &mut samples, 1);
        assert_eq!(corner(&samples[0]), (4, 4));
        assert_eq!(reals(&samples[0])[1727 - 2..], [27.0, 27.0, 255.0]);
    }

    /// Top, left and whether it is mirrored, of each view in the order of the epochs.
    fn views(views: usize) -> Vec<(usize, usize, bool)> {
        let config = Cropper { mode: Mode::Central, views, ..Cropper::default() };
        let mut samples: Vec<Sample> = (0..views as u64).map(|epoch| places(epoch, 0)).collect();
        map(&config, bytes_port(SHAPE), &mut samples, 1);
        let place = |sample: &Sample| {
            let values = reals(sample);
            let (first, last) = (values[1] as usize, values[23 * 3 + 1] as usize);
            // Every row of the window is there, and every pixel keeps its channels in order.
            for (at, pixel) in values.chunks(3).enumerate() {
                let column = if first > last { first - at % 24 } else { first + at % 24 };
                assert_eq!(pixel, [values[0] + (at / 24) as f32, column as f32, 255.0]);
            }
            (values[0] as usize, first.min(last), first > last)
        };
        samples.iter().map(place).collect()
    }

    #[test]
    fn views_are_corners_middle_and_their_mirror_images() {
        assert_eq!(views(1), [(4, 4, false)]);
        assert_eq!(views(2), [(4, 4, true), (4, 4, false)]);
        let places = [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)];
        let expected = [true, false].map(|flip| places.map(|(top, left)| (top, left, flip)));
        assert_eq!(views(10), expected.concat());
    }

    #[test]
    fn views_that_cannot_be_are_refused() {
        let check = |views, mode, before| {
            let image = ImageType { views: before, ..IMAGE };
            Cropper { views, mode, ..Cropper::default() }.check(&[Port::Samples(image)])
        };
        let message = |views, mode, before| {
            let wrong = check(views, mode, before).expect_err("refused");
            assert_eq!(wrong.field, ["views"]);
            wrong.message
        };
        assert_eq!(message(3, Mode::Central, 1), "there are no 3 views of an image");
        assert!(message(2, Mode::Random, 1).contains("`mode: random` draws them"));
        assert!(message(10, Mode::Central, 2).contains("2 views already"));
        for (views, before, after) in [(10, 1, 10), (1, 10, 10), (1, 1, 1)] {
            match check(views, Mode::Central, before) {
                Ok(Some(Port::Samples(image))) => assert_eq!(image.views, after),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn sizes_are_checked_against_the_images() {
        let check = |size| Cropper { size, ..Cropper::default() }.check(&[bytes_port(SHAPE)]);
        let wrong = check(Extent::square(40)).expect_err("too large");
        assert_eq!(wrong.field, ["size"]);
        assert_eq!(wrong.message, "cannot cut 40x40 out of 32x32");
        assert_eq!(wrong.help.as_deref(), Some("at most 32"));
        assert_eq!(check(Extent::square(0)).expect_err("empty").field, ["size"]);
        match check(Extent { height: 32, width: 8 }) {
            Ok(Some(Port::Samples(image))) => {
                assert_eq!((image.pixel, image.shape), (PixelType::U8, [32, 8, 3]));
            }
            other => panic!("{other:?}"),
        }
    }
}
