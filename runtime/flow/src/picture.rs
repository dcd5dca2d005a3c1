//! Pictures for people: images as bytes, contact sheets of them, PNG.

use std::borrow::Cow;

use anyhow::{Context, Result};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::item::{Image, Pixels};

/// What a value that is no finite number is shown as.
const NOT_FINITE: [u8; 3] = [255, 0, 0];
/// The colour between the pictures of a sheet.
const PAPER: u8 = 255;

/// A picture in colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels from left to right.
    pub width: usize,
    /// Pixels from top to bottom.
    pub height: usize,
    /// Red, green and blue of each pixel, row by row from the top.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// Shows an image. Of 4 channels the last, how opaque a pixel is, is left out; any number
    /// beside 1, 3 and 4 is shown in grey as the mean of the channels.
    ///
    /// Bytes are shown as they are. Reals are scaled so that the largest becomes 255; if any is
    /// negative, 0.0 becomes 127 and the scale is the largest for which all fit. A pixel with a
    /// value that is infinite or no number is red.
    pub fn from_image(image: &Image) -> Self {
        let [height, width, channels] = image.shape;
        let rgb = match &image.pixels {
            Pixels::U8(bytes) => {
                let (bytes, shown) = visible(bytes, channels, |pixel| {
                    let sum: usize = pixel.iter().map(|byte| usize::from(*byte)).sum();
                    ((sum + pixel.len() / 2) / pixel.len()) as u8
                });
                coloured(&bytes, shown)
            }
            Pixels::F32(values) => {
                let (values, shown) = visible(values, channels, |pixel| {
                    let sum: f64 = pixel.iter().map(|value| f64::from(*value)).sum();
                    (sum / pixel.len() as f64) as f32
                });
                let mut rgb = coloured(&scaled(&values), shown);
                let pixels = rgb.chunks_exact_mut(3).zip(values.chunks_exact(shown));
                for (rgb, _) in pixels.filter(|(_, pixel)| !pixel.iter().all(|v| v.is_finite())) {
                    rgb.copy_from_slice(&NOT_FINITE);
                }
                rgb
            }
            Pixels::Encoded(_) | Pixels::Elsewhere => vec![0; 3 * width * height],
        };
        Self { width, height, rgb }
    }

    /// Pictures in rows of `columns`, each enlarged `scale` times, with `gap` pixels between.
    /// Every place is as large as the largest picture; a smaller one lies at its upper left.
    pub fn sheet(pictures: &[Self], columns: usize, scale: usize, gap: usize) -> Self {
        let columns = columns.clamp(1, pictures.len().max(1));
        let rows = pictures.len().div_ceil(columns);
        let scale = scale.max(1);
        let place = |size: fn(&Self) -> usize| scale * pictures.iter().map(size).max().unwrap_or(0);
        let (place_width, place_height) = (place(|p| p.width), place(|p| p.height));
        let with_gaps = |places: usize, size| places * size + places.saturating_sub(1) * gap;
        let (width, height) = (with_gaps(columns, place_width), with_gaps(rows, place_height));
        let mut rgb = vec![PAPER; 3 * width * height];
        for (number, picture) in pictures.iter().enumerate().filter(|(_, p)| !p.rgb.is_empty()) {
            let left = (number % columns) * (place_width + gap);
            let top = (number / columns) * (place_height + gap);
            for (y, row) in picture.rgb.chunks_exact(3 * picture.width).enumerate() {
                let enlarged: Vec<u8> =
                    row.chunks_exact(3).flat_map(|pixel| pixel.repeat(scale)).collect();
                for line in 0..scale {
                    let at = 3 * ((top + y * scale + line) * width + left);
                    rgb[at..at + enlarged.len()].copy_from_slice(&enlarged);
                }
            }
        }
        Self { width, height, rgb }
    }

    /// The picture as a PNG file.
    pub fn png(&self) -> Result<Vec<u8>> {
        let Self { width, height, rgb } = self;
        let expected = 3 * width * height;
        anyhow::ensure!(
            expected > 0 && rgb.len() == expected,
            "a picture of {width} x {height} pixels and {} bytes cannot be written as PNG, which \
             needs one pixel at least and three bytes for each",
            rgb.len(),
        );
        let too_large = || format!("a picture of {width} x {height} pixels is too large for PNG");
        let size = |size: usize| u32::try_from(size).with_context(too_large);
        let mut png = Vec::new();
        PngEncoder::new(&mut png)
            .write_image(rgb, size(*width)?, size(*height)?, ExtendedColorType::Rgb8)
            .with_context(|| format!("cannot write a picture of {width} x {height} as PNG"))?;
        Ok(png)
    }
}

/// The values that are shown, and how many a pixel has of them: 1 or 3.
fn visible<T: Copy>(values: &[T], channels: usize, mean: fn(&[T]) -> T) -> (Cow<'_, [T]>, usize) {
    match channels {
        1 | 3 => (values.into(), channels),
        4 => (values.chunks_exact(4).flat_map(|pixel| &pixel[..3]).copied().collect(), 3),
        _ => (values.chunks_exact(channels.max(1)).map(mean).collect(), 1),
    }
}

/// Red, green and blue of pixels that have 1 or 3 values.
fn coloured(bytes: &[u8], channels: usize) -> Vec<u8> {
    if channels == 3 { bytes.to_vec() } else { bytes.iter().flat_map(|grey| [*grey; 3]).collect() }
}

/// Reals as bytes.
fn scaled(values: &[f32]) -> Vec<u8> {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let (low, high) =
        finite.fold((0.0, 0.0), |(low, high): (f32, f32), value| (low.min(value), high.max(value)));
    let (low, high) = (f64::from(low), f64::from(high));
    let (zero, scale) = match (low < 0.0, high > 0.0) {
        (false, false) => (0.0, 0.0),
        (false, true) => (0.0, 255.0 / high),
        (true, false) => (127.0, 127.0 / -low),
        (true, true) => (127.0, (127.0 / -low).min(128.0 / high)),
    };
    values.iter().map(|value| (zero + scale * f64::from(*value)).round() as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reals(shape: [usize; 3], values: &[f32]) -> Picture {
        Picture::from_image(&Image { shape, pixels: Pixels::F32(values.to_vec()) })
    }

    fn bytes(shape: [usize; 3], values: &[u8]) -> Picture {
        Picture::from_image(&Image { shape, pixels: Pixels::U8(values.to_vec().into()) })
    }

    fn grey(values: &[u8]) -> Vec<u8> {
        values.iter().flat_map(|value| [*value; 3]).collect()
    }

    #[test]
    fn bytes_are_shown_as_they_are() {
        assert_eq!(bytes([1, 2, 3], &[1, 2, 3, 4, 5, 6]).rgb, [1, 2, 3, 4, 5, 6]);
        assert_eq!(bytes([2, 1, 1], &[7, 8]), Picture { width: 1, height: 2, rgb: grey(&[7, 8]) });
        assert_eq!(bytes([1, 2, 4], &[1, 2, 3, 0, 4, 5, 6, 9]).rgb, [1, 2, 3, 4, 5, 6]);
        assert_eq!(bytes([1, 2, 2], &[1, 4, 255, 255]).rgb, grey(&[3, 255]));
        assert_eq!(bytes([1, 1, 5], &[0, 0, 0, 0, 5]).rgb, grey(&[1]));
        assert!(bytes([0, 0, 0], &[]).rgb.is_empty());
    }

    #[test]
    fn reals_that_are_not_negative_reach_from_0_to_255() {
        assert_eq!(reals([1, 3, 1], &[0.0, 1.0, 2.0]).rgb, grey(&[0, 128, 255]));
        assert_eq!(reals([1, 1, 3], &[1000.0, 500.0, 0.0]).rgb, [255, 128, 0]);
        assert_eq!(reals([1, 2, 1], &[0.0, 0.0]).rgb, grey(&[0, 0]));
        // The fourth channel does not set the scale.
        assert_eq!(reals([1, 1, 4], &[1.0, 0.0, 0.5, 9.0]).rgb, [255, 0, 128]);
        assert_eq!(reals([1, 2, 2], &[1.0, 3.0, 4.0, 4.0]).rgb, grey(&[128, 255]));
    }

    #[test]
    fn zero_is_in_the_middle_where_something_is_negative() {
        assert_eq!(reals([1, 3, 1], &[-2.0, 0.0, 1.0]).rgb, grey(&[0, 127, 191]));
        assert_eq!(reals([1, 3, 1], &[-1.0, 0.0, 2.0]).rgb, grey(&[63, 127, 255]));
        assert_eq!(reals([1, 2, 1], &[-5.0, -2.5]).rgb, grey(&[0, 64]));
        assert_eq!(reals([1, 2, 1], &[f32::MIN, f32::MAX]).rgb, grey(&[0, 254]));
    }

    #[test]
    fn what_is_no_number_is_red_and_sets_no_scale() {
        let picture = reals([1, 3, 1], &[f32::INFINITY, 1.0, 2.0]);
        assert_eq!(picture.rgb, [&[255, 0, 0][..], &grey(&[128, 255])].concat());
        let picture = reals([1, 2, 3], &[0.0, f32::NAN, 1.0, 0.0, 1.0, 1.0]);
        assert_eq!(picture.rgb, [255, 0, 0, 0, 255, 255]);
    }

    #[test]
    fn a_sheet_enlarges_and_leaves_gaps() {
        let one = bytes([1, 2, 1], &[1, 2]);
        let two = bytes([1, 1, 1], &[3]);
        let sheet = Picture::sheet(&[one.clone(), two.clone(), one.clone()], 2, 2, 1);
        assert_eq!((sheet.width, sheet.height), (9, 5));
        #[rustfmt::skip]
        let expected = [
            1, 1, 2, 2, 255, 3, 3, 255, 255,
            1, 1, 2, 2, 255, 3, 3, 255, 255,
            255, 255, 255, 255, 255, 255, 255, 255, 255,
            1, 1, 2, 2, 255, 255, 255, 255, 255,
            1, 1, 2, 2, 255, 255, 255, 255, 255,
        ];
        assert_eq!(sheet.rgb, grey(&expected));
        assert_eq!(Picture::sheet(std::slice::from_ref(&one), 8, 1, 3), one);
        assert_eq!(Picture::sheet(&[one.clone(), two], 0, 0, 0).width, 2);
        assert!(Picture::sheet(&[], 3, 1, 1).rgb.is_empty());
        let nothing = bytes([0, 0, 3], &[]);
        assert_eq!(Picture::sheet(&[nothing, one.clone()], 1, 1, 0).rgb[6..], one.rgb);
    }

    #[test]
    fn png_gives_the_same_picture_back() {
        let picture = bytes([2, 2, 3], &[1, 2, 3, 40, 50, 60, 70, 80, 90, 255, 0, 128]);
        let png = picture.png().expect("a picture");
        let read = image::load_from_memory(&png).expect("a PNG file").into_rgb8();
        assert_eq!((read.width(), read.height()), (2, 2));
        assert_eq!(read.into_raw(), picture.rgb);
        for rgb in [Vec::new(), vec![0; 5]] {
            let error = Picture { width: 1, height: 2, rgb }.png().expect_err("bytes are missing");
            assert!(error.to_string().contains("1 x 2"), "{error}");
        }
        assert!(Picture::sheet(&[], 1, 1, 1).png().is_err());
    }
}
