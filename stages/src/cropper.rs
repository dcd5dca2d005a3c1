//! Cuts a window out of every image.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, ensure};
use base::random::Random;
use bytes::Bytes;
use flow::item::{Pixels, Sample};
use flow::port::{ImageType, Port};
use flow::preprocessing::{Chance, Operation, Preprocessing};
use flow::stage::{Config, Context, Exports, Kind, Map, Mismatch, Offset, Prepares, Runner};
use onnx::{Attribute, Builder, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Catalog;
use crate::extent::Extent;
use crate::inputs;
use crate::mirror;
use crate::padding::{Border, Padding};
use crate::workers::Workers;

/// Cuts a window out of every image.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cropper {
    /// The window in pixels: one number for a square, or `[height, width]`.
    pub size: Extent,
    /// Where the window lies.
    pub mode: Mode,
    /// Pixels that are put around the image before the window is cut, if any: what is often called
    /// pad and crop. A window may then be larger than the image.
    pub padding: Option<Padding>,
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
        Self {
            size: Extent::square(24),
            mode: Mode::Random,
            padding: None,
            views: 1,
            workers: Workers::PER_CORE,
        }
    }
}

/// The kind of this stage.
pub fn kind(_: &Catalog) -> Kind {
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
        self.padding.map_or(Ok(()), |padding| padding.check(height, width))?;
        let [height, width] = [height, width].map(|side| side + 2 * self.border());
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
            let padded = if self.border() > 0 { ", the padding included" } else { "" };
            let message = format!("cannot cut {} out of {height}x{width}{padded}", self.size);
            return Err(Mismatch::field("size", message).help(limit));
        }
        let views = self.check_views(image.views)?;
        Ok(Some(Port::Samples(ImageType { shape: [high, wide, channels], views, ..image })))
    }

    fn build(&self, _: &Context<'_>) -> Result<Runner> {
        let map = Arc::new(Crop {
            size: self.size,
            mode: self.mode,
            padding: self.padding,
            views: self.views,
        });
        Ok(Runner::Map { map, workers: self.workers.count() })
    }

    fn warnings(&self, inputs: &[Port]) -> Vec<Mismatch> {
        let Ok(image) = inputs::one_samples("cropper", inputs) else { return Vec::new() };
        let [height, width, _] = image.shape;
        let inside = self.size.height <= height && self.size.width <= width;
        if self.padding.is_some() && self.mode == Mode::Central && self.views < 10 && inside {
            let message = "a window in the middle shows nothing of the padding".to_owned();
            return vec![
                Mismatch::field("padding", message).help("leave it out, or set `mode: random`"),
            ];
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

impl Exports for Cropper {
    fn onnx(&self, file: &mut Builder, images: &Value) -> Result<Value> {
        ensure!(
            self.mode == Mode::Central,
            "its window is at a random place, and a file gives the same for the same image: `mode: \
             central` can be part of it"
        );
        ensure!(
            self.views == 1,
            "it puts out {} views of each image, whose probabilities are averaged: `views: 1` can be \
             part of the file",
            self.views
        );
        let &[height, width, channels] = images.shape.as_slice() else {
            anyhow::bail!("what comes in are no images");
        };
        let mut name = images.name.clone();
        if let Some(Padding { pixels, mode }) = self.padding {
            let border = pixels as i64;
            let pads = file.indices("pads", &[0, 0, border, border, 0, 0, border, border]);
            let mode = match mode {
                Border::Reflect => "reflect",
                Border::Zero => "constant",
                Border::Edge => "edge",
            };
            name = file.node("Pad", &[&name, &pads], &[("mode", Attribute::Text(mode))]);
        }
        let Extent { height: high, width: wide } = self.size;
        let [top, left] = self.middle(height, width);
        let starts = file.indices("starts", &[top as i64, left as i64]);
        let ends = file.indices("ends", &[(top + high) as i64, (left + wide) as i64]);
        let axes = file.indices("axes", &[2, 3]);
        let name = file.node("Slice", &[&name, &starts, &ends, &axes], &[]);
        Ok(Value { name, shape: vec![high, wide, channels] })
    }

    fn in_words(&self, inputs: &[Port]) -> Option<String> {
        let [height, width, _] = inputs::one_samples("cropper", inputs).ok()?.shape;
        let padded = self.padding.map_or(String::new(), |padding| {
            let shown = match padding.mode {
                Border::Reflect => "the image mirrored at its outermost pixels",
                Border::Zero => "zeros",
                Border::Edge => "the outermost pixel",
            };
            format!("{} pixels are put on each side, which show {shown}; then ", padding.pixels)
        });
        let [top, left] = self.middle(height, width);
        let place = match (self.mode, self.views) {
            (Mode::Random, _) => "at a random place".to_owned(),
            (Mode::Central, 1) => {
                format!("{top} rows from the top and {left} pixels from the left")
            }
            (Mode::Central, views) => format!("at {views} places, mirrored and not"),
        };
        let size = self.size;
        Some(format!("{padded}a window of {size} (height x width) is cut out, {place}"))
    }
}

impl Prepares for Cropper {
    fn preprocessing(&self, inputs: &[Port]) -> Option<Preprocessing> {
        let [height, width, _] = inputs::one_samples("cropper", inputs).ok()?.shape;
        let padded = [height, width].map(|side| side + 2 * self.border());
        let is_whole = padded == [self.size.height, self.size.width];
        let chance = (self.mode == Mode::Random && !is_whole)
            .then_some(Chance { field: "mode", instead: "set `mode: central`" });
        // A window that is larger than the image shows padding wherever it lies.
        let shown = self.padding.filter(|_| self.size.height > height || self.size.width > width);
        let padding = shown.map(|padding| Operation::of("padding").with("mode", padding.mode));
        let operations = padding.into_iter().collect();
        Some(Preprocessing { operations, chance, ..Preprocessing::default() })
    }

    fn offset(&self) -> Offset {
        match self.padding {
            Some(Padding { mode: Border::Zero, .. }) => Offset::Matters,
            _ => Offset::Stays,
        }
    }
}

impl Cropper {
    /// Rows above the window in the middle, and pixels to its left, the padding included.
    fn middle(&self, height: usize, width: usize) -> [usize; 2] {
        let room =
            |side: usize, window: usize| (side + 2 * self.border()).saturating_sub(window) / 2;
        [room(height, self.size.height), room(width, self.size.width)]
    }

    /// Pixels on each side of the image.
    fn border(&self) -> usize {
        self.padding.map_or(0, |padding| padding.pixels)
    }

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
    padding: Option<Padding>,
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
        let border = self.padding.map_or(0, |padding| padding.pixels);
        let (tall, broad) = (height + 2 * border, width + 2 * border);
        ensure!(
            high <= tall && wide <= broad,
            "cannot cut {} out of an image of {tall}x{broad}",
            self.size
        );
        let (down, right) = (tall - high, broad - wide);
        let (top, left, mirrored) = match self.mode {
            Mode::Random => (random.below(down + 1), random.below(right + 1), false),
            Mode::Central => self.view(sample.id.epoch, down, right),
        };
        let window = Window { top, left, high, wide };
        let shape = sample.image.shape;
        sample.image.pixels = match &sample.image.pixels {
            Pixels::U8(values) => {
                Pixels::U8(Bytes::from(self.cut(values, shape, window, mirrored)))
            }
            Pixels::F32(values) => Pixels::F32(self.cut(values, shape, window, mirrored)),
            none @ (Pixels::Encoded(_) | Pixels::Elsewhere) => none.clone(),
        };
        sample.image.shape = [high, wide, channels];
        Ok(())
    }
}

impl Crop {
    fn cut<T: Copy + Default>(
        &self,
        values: &[T],
        shape: [usize; 3],
        window: Window,
        mirrored: bool,
    ) -> Vec<T> {
        let mut cut = match self.padding {
            None => window.cut(values, shape),
            Some(padding) => window.cut_padded(values, shape, padding),
        };
        if mirrored {
            mirror::rows(&mut cut, window.wide, shape[2]);
        }
        cut
    }
}

/// A window of an image, of which its padding is a part.
#[derive(Clone, Copy)]
struct Window {
    top: usize,
    left: usize,
    high: usize,
    wide: usize,
}

impl Window {
    fn cut<T: Copy>(self, values: &[T], [_, width, channels]: [usize; 3]) -> Vec<T> {
        let (stride, row) = (width * channels, self.wide * channels);
        let mut cut = Vec::with_capacity(self.high * row);
        let first = (self.top * width + self.left) * channels;
        for line in values[first..].chunks(stride).take(self.high) {
            cut.extend_from_slice(&line[..row]);
        }
        cut
    }

    fn cut_padded<T: Copy + Default>(
        self,
        values: &[T],
        [height, width, channels]: [usize; 3],
        padding: Padding,
    ) -> Vec<T> {
        let Padding { pixels: border, mode } = padding;
        let row = self.wide * channels;
        let mut cut = Vec::with_capacity(self.high * row);
        // The columns that show the image itself: most of them, and one piece of memory.
        let inside = border.max(self.left)..(border + width).min(self.left + self.wide);
        for y in self.top..self.top + self.high {
            let Some(y) = mode.source(y, border, height) else {
                cut.resize(cut.len() + row, T::default());
                continue;
            };
            let line = &values[y * width * channels..][..width * channels];
            let outside = |columns: Range<usize>, cut: &mut Vec<T>| {
                for x in columns {
                    match mode.source(x, border, width) {
                        Some(x) => cut.extend_from_slice(&line[x * channels..][..channels]),
                        None => cut.resize(cut.len() + channels, T::default()),
                    }
                }
            };
            outside(self.left..inside.start.min(self.left + self.wide), &mut cut);
            if !inside.is_empty() {
                let from = (inside.start - border) * channels;
                cut.extend_from_slice(&line[from..][..inside.len() * channels]);
            }
            outside(inside.end.max(self.left)..self.left + self.wide, &mut cut);
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use flow::port::PixelType;

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

    /// The rows and columns that are seen, of images cut with this padding.
    fn seen(size: usize, pixels: usize, mode: Border, images: u64) -> Vec<Vec<(f32, f32)>> {
        let config = Cropper {
            size: Extent::square(size),
            padding: Some(Padding { pixels, mode }),
            ..Cropper::default()
        };
        let mut samples: Vec<Sample> = (0..images).map(|index| places(0, index)).collect();
        map(&config, bytes_port(SHAPE), &mut samples, 1);
        let pixels = |sample: &Sample| {
            assert_eq!(sample.image.shape, [size, size, 3]);
            reals(sample).chunks(3).map(|pixel| (pixel[0], pixel[1])).collect()
        };
        samples.iter().map(pixels).collect()
    }

    #[test]
    fn a_padded_window_shows_what_plain_indexing_shows() {
        for (size, pixels) in [(32, 4), (40, 4), (2, 5), (60, 31)] {
            for mode in [Border::Reflect, Border::Zero, Border::Edge] {
                let mut corners = HashSet::new();
                for window in seen(size, pixels, mode, 50) {
                    // The corner is found again by trying all of them.
                    let room = 32 + 2 * pixels - size;
                    let all = (0..=room).flat_map(|top| (0..=room).map(move |left| (top, left)));
                    let shown = |at: usize| mode.source(at, pixels, 32);
                    let fits = |&(top, left): &(usize, usize)| {
                        window.iter().enumerate().all(|(at, found)| {
                            let place = shown(top + at / size).zip(shown(left + at % size));
                            *found == place.map_or((0.0, 0.0), |(y, x)| (y as f32, x as f32))
                        })
                    };
                    corners.insert(all.clone().find(fits).expect("a window of the padded image"));
                }
                let least = if size == 40 { 1 } else { 25 };
                assert!(corners.len() >= least, "{size} {pixels} {mode:?}: {}", corners.len());
            }
        }
    }

    #[test]
    fn padding_makes_room_for_larger_windows_and_keeps_the_middle() {
        let config = Cropper {
            size: Extent::square(36),
            mode: Mode::Central,
            padding: Some(Padding { pixels: 4, mode: Border::Zero }),
            ..Cropper::default()
        };
        let mut samples = [places(0, 0)];
        map(&config, bytes_port(SHAPE), &mut samples, 1);
        let values = reals(&samples[0]);
        let pixel = |y: usize, x: usize| &values[(y * 36 + x) * 3..][..3];
        assert_eq!(pixel(1, 20), [0.0, 0.0, 0.0]);
        assert_eq!(pixel(2, 2), [0.0, 0.0, 255.0]);
        assert_eq!(pixel(33, 33), [31.0, 31.0, 255.0]);
        let wrong = Cropper { size: Extent::square(41), ..config.clone() };
        let wrong = wrong.check(&[bytes_port(SHAPE)]).expect_err("too large");
        assert_eq!(wrong.message, "cannot cut 41x41 out of 40x40, the padding included");
        let padding = Some(Padding { pixels: 32, mode: Border::Reflect });
        let wrong = Cropper { padding, ..Cropper::default() };
        let wrong = wrong.check(&[bytes_port(SHAPE)]).expect_err("nothing to mirror");
        assert_eq!(wrong.field, ["padding", "pixels"]);
        // In the middle nothing is seen of it unless the window is larger than the image.
        assert!(config.warnings(&[bytes_port(SHAPE)]).is_empty());
        let hidden = Cropper { size: Extent::square(32), ..config };
        assert_eq!(hidden.warnings(&[bytes_port(SHAPE)])[0].field, ["padding"]);
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
