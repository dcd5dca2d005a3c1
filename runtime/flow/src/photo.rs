//! Photos from files, cut and scaled to the size of a data set's images.

use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits, RgbImage};

use crate::item::{Image, Pixels};
use crate::picture::Picture;
use crate::port::{ImageType, PixelType};
use crate::room::{Room, Taken};
use base::regular_file;

/// Pixels beyond which an image is refused before it is decoded, which takes memory.
const MOST_PIXELS: u64 = 100_000_000;
/// Width and height below which there is nothing to be seen.
const LEAST_SIDE: usize = 8;
/// The most memory that a decoder may take: 100 megapixels of four 16-bit numbers, and as much
/// again.
const MOST_BYTES: u64 = 16 * MOST_PIXELS;
/// What all photos take that are decoded at a time, on however many threads: as much as one of the
/// largest.
static ROOM: Room = Room::new(MOST_BYTES);

/// How photos are taken, and which are refused though they could be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Photos without colours are refused.
    pub refuse_grey: bool,
    /// Photos with transparent parts, or that could have some, are refused.
    pub refuse_alpha: bool,
    /// Photos with sides of so few pixels that nothing is to be seen are refused, unless that many
    /// are wanted.
    pub refuse_tiny: bool,
    /// Light and dark change places.
    pub invert: bool,
}

/// The photo in a PNG or JPEG file: turned as its camera was held, transparent parts on white, its
/// largest middle part of the wanted proportions scaled to the wanted size.
///
/// # Errors
/// If the file is no image, not whole, too large, or refused.
pub fn load(path: &Path, width: usize, height: usize, rules: Rules) -> Result<Picture> {
    load_after(path, width, height, rules, |_, _, _| ()).map(|(picture, ())| picture)
}

/// The same, and what `look` finds in the photo before it is cut and scaled: it gets the values,
/// height and width.
///
/// # Errors
/// If the file is no image, not whole, too large, or refused.
pub fn load_after<T>(
    path: &Path,
    width: usize,
    height: usize,
    rules: Rules,
    look: impl FnOnce(&[u8], usize, usize) -> T,
) -> Result<(Picture, T)> {
    let least = if rules.refuse_tiny { LEAST_SIDE.min(width).min(height) } else { 1 };
    let (photo, room) = decode(path, least, height, rules)?;
    let found = look(&photo, photo.height() as usize, photo.width() as usize);
    let picture = scaled(photo, width, height, rules)?;
    drop(room);
    Ok((picture, found))
}

/// The largest middle part of the wanted proportions of an image in memory, scaled to the wanted size.
/// `size` is its width and height, `rgb` its values, pixel by pixel and row by row.
///
/// # Errors
/// If there are not as many values as that, or the image is refused.
pub fn fit(
    size: [u32; 2],
    rgb: Vec<u8>,
    width: usize,
    height: usize,
    rules: Rules,
) -> Result<Picture> {
    let [wide, high] = size;
    let photo = RgbImage::from_raw(wide, high, rgb).context("it has too few values")?;
    let least = LEAST_SIDE.min(width).min(height);
    ensure!(
        !rules.refuse_tiny || wide.min(high) as usize >= least,
        "it has {wide} x {high} pixels, and nothing is to be seen in fewer than {least} x {least}"
    );
    scaled(photo, width, height, rules)
}

fn scaled(photo: RgbImage, width: usize, height: usize, rules: Rules) -> Result<Picture> {
    let (wide, high) = photo.dimensions();
    let (across, down) = middle(wide, high, width, height);
    let (left, top) = ((wide - across) / 2, (high - down) / 2);
    let cut = imageops::crop_imm(&photo, left, top, across, down).to_image();
    drop(photo);
    let size = |side: usize| u32::try_from(side).context("images of the pipeline are too large");
    let scaled = imageops::resize(&cut, size(width)?, size(height)?, FilterType::Triangle);
    drop(cut);
    let mut rgb = scaled.into_raw();
    if rules.invert {
        rgb.iter_mut().for_each(|value| *value = 255 - *value);
    }
    Ok(Picture { width, height, rgb })
}

/// What becomes of a photo before it is an image of this type, for people who do the same in another
/// program.
pub fn in_words(wanted: &ImageType) -> String {
    let [height, width, channels] = wanted.shape;
    let grey = match channels {
        1 => " Then grey = (299 red + 587 green + 114 blue + 500) / 1000, rounded down.",
        _ => " A grey photo has red, green and blue alike.",
    };
    format!(
        "A PNG or JPEG file is decoded to 8 bits each of red, green and blue, in this order, turned as \
         its EXIF orientation says, with transparent parts laid on white (or refused, where the \
         reader says `alpha: refuse`). Its largest part with the proportions {width} to {height} is \
         cut out of the middle, rounded towards the top left, and scaled to {width} x {height} pixels \
         by a triangle filter: bilinear, and as wide as the pixels that become one where it shrinks. \
         Values are whole numbers from 0 to 255.{grey}"
    )
}

/// Width and height of the largest part of a photo that has the proportions of `width` to
/// `height`. Cutting before scaling keeps a long thin photo from becoming a huge one.
fn middle(wide: u32, high: u32, width: usize, height: usize) -> (u32, u32) {
    let (width, height) = (width.max(1) as u64, height.max(1) as u64);
    let rounded = |side: u32, by: u64, of: u64| ((u64::from(side) * by + of / 2) / of).max(1);
    let across = rounded(high, width, height).min(u64::from(wide)) as u32;
    let down = rounded(wide, height, width).min(u64::from(high)) as u32;
    (across, down)
}

/// The picture as an image of this type, in grey if it has one channel.
pub fn as_image(wanted: &ImageType, picture: &Picture) -> Image {
    let bytes: Vec<u8> = match wanted.shape[2] {
        3 => picture.rgb.clone(),
        _ => picture.rgb.chunks_exact(3).map(grey).collect(),
    };
    let pixels = match wanted.pixel {
        PixelType::U8 => Pixels::U8(bytes.into()),
        PixelType::F32 => Pixels::F32(bytes.into_iter().map(f32::from).collect()),
    };
    Image { shape: wanted.shape, pixels }
}

/// How bright a colour is (ITU-R BT.601).
pub fn grey(rgb: &[u8]) -> u8 {
    let [red, green, blue] = [0, 1, 2].map(|channel| u32::from(rgb[channel]));
    ((299 * red + 587 * green + 114 * blue + 500) / 1000) as u8
}

/// A photo in colours, and the room that it takes until it is scaled to so many rows.
fn decode(
    path: &Path,
    least_side: usize,
    rows: usize,
    rules: Rules,
) -> Result<(RgbImage, Taken<'static>)> {
    let open = || regular_file::open(path).context("cannot read it");
    let file = open()?;
    let bytes = file.metadata().context("cannot read it")?.len();
    let reader = ImageReader::new(BufReader::new(file));
    let mut reader = reader.with_guessed_format().context("cannot read it")?;
    let format = match reader.format() {
        Some(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => format,
        _ => bail!("it is not an image: neither PNG nor JPEG"),
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let broken = || format!("it begins as {} and cannot be decoded", name(format));
    let mut decoder = reader.into_decoder().with_context(broken)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    ensure!(
        pixels <= MOST_PIXELS,
        "it has {width} x {height} pixels, and at most {} megapixels are read: make it smaller",
        MOST_PIXELS / 1_000_000
    );
    ensure!(
        width.min(height) as usize >= least_side,
        "it has {width} x {height} pixels, and at least {least_side} x {least_side} are needed"
    );
    if format == ImageFormat::Jpeg {
        // Decoders show what there is of a JPEG in grey and say nothing.
        ensure!(is_whole_jpeg(BufReader::new(open()?))?, "the JPEG ends in its middle");
    }
    ensure!(
        pixels <= most_pixels(format, bytes),
        "it has {width} x {height} pixels by its header, and its {bytes} bytes cannot hold so many"
    );
    let orientation = decoder.orientation().with_context(broken)?;
    let color = decoder.color_type();
    ensure!(
        color.has_color() || !rules.refuse_grey,
        "it is grey, and `grey: refuse` refuses that: `grey: expand` takes it as it is"
    );
    ensure!(
        !color.has_alpha() || !rules.refuse_alpha,
        "it has an alpha channel, and `alpha: refuse` refuses that: `alpha: white` lays it on white"
    );
    // The decoded image, what it is turned into, the part that is cut out of that, and its rows, scaled
    // as reals of four channels.
    let scaled = 16 * u64::from(width.max(height)).saturating_mul(rows as u64);
    let room = ROOM.take(decoder.total_bytes().saturating_add(8 * pixels).saturating_add(scaled));
    let mut image = DynamicImage::from_decoder(decoder).with_context(broken)?;
    image.apply_orientation(orientation);
    Ok((on_white(image), room))
}

/// The pixels that a file of so many bytes can hold at most. A header of a few bytes may claim any
/// number, and decoding takes its time and memory.
fn most_pixels(format: ImageFormat, bytes: u64) -> u64 {
    bytes.saturating_mul(match format {
        // One bit at least for each block of 8 x 8 pixels, and for half of the blocks where one
        // component has all columns and another all rows.
        ImageFormat::Jpeg => 8 * 64 * 2,
        // One bit at least for each pixel, and Deflate makes nothing more than 1,032 times smaller.
        _ => 8 * 1_032,
    })
}

fn name(format: ImageFormat) -> &'static str {
    if format == ImageFormat::Png { "a PNG" } else { "a JPEG" }
}

/// Colours of 8 bits on a white ground.
fn on_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    let blend = |colour: u8, alpha: u8| {
        let (colour, alpha) = (u32::from(colour), u32::from(alpha));
        ((colour * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let (width, height) = image.dimensions();
    let mut rgb = RgbImage::new(width, height);
    for (to, from) in rgb.pixels_mut().zip(image.pixels()) {
        let [red, green, blue, alpha] = from.0;
        to.0 = [red, green, blue].map(|colour| blend(colour, alpha));
    }
    rgb
}

/// Whether a JPEG goes on to the mark of its end.
fn is_whole_jpeg(mut file: impl BufRead + Seek) -> Result<bool> {
    const END: u8 = 0xd9;
    loop {
        // Whatever lies between segments, compressed numbers above all, has no mark in it: there,
        // 0xff is followed by 0 or by the number of a restart.
        let Some(mark) = next_mark(&mut file).context("cannot read it")? else {
            return Ok(false);
        };
        match mark {
            END => return Ok(true),
            // The beginning, and restarts, are marks alone.
            0x01 | 0xd0..=0xd8 => {}
            _ => {
                let mut length = [0; 2];
                if file.read_exact(&mut length).is_err() {
                    return Ok(false);
                }
                let beyond = i64::from(u16::from_be_bytes(length)) - 2;
                ensure!(beyond >= 0, "it begins as a JPEG and is damaged");
                file.seek_relative(beyond).context("cannot read it")?;
            }
        }
    }
}

/// Goes behind the next mark: 0xff, once or more, and a byte that is neither that nor 0.
fn next_mark(file: &mut impl BufRead) -> std::io::Result<Option<u8>> {
    let mut byte = [0];
    loop {
        file.skip_until(0xff)?;
        loop {
            match file.read(&mut byte)? {
                0 => return Ok(None),
                _ if byte[0] == 0xff => {}
                _ => break,
            }
        }
        if byte[0] != 0 {
            return Ok(Some(byte[0]));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{GrayImage, ImageBuffer, Luma, LumaA, Rgb, Rgba};

    use super::*;

    const NOT_TINY: Rules =
        Rules { refuse_grey: false, refuse_alpha: false, refuse_tiny: true, invert: false };

    /// What is made of an image that is written like this.
    fn loaded(image: &DynamicImage, format: ImageFormat, side: usize) -> Picture {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("photo");
        image.save_with_format(&path, format).expect("it is written");
        load(&path, side, side, NOT_TINY).expect("it is read")
    }

    fn refused(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("photo.png");
        std::fs::write(&path, bytes).expect("it is written");
        format!("{:#}", load(&path, 16, 16, NOT_TINY).expect_err("it is refused"))
    }

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).expect("it is written");
        bytes.into_inner()
    }

    fn waves(width: u32, height: u32) -> DynamicImage {
        let pixel = |x: u32, y: u32| Rgb([(x * 7) as u8, (y * 11) as u8, (x * y) as u8]);
        RgbImage::from_fn(width, height, pixel).into()
    }

    #[test]
    fn an_image_of_the_wanted_size_is_taken_as_it_is() {
        let image = waves(16, 16);
        assert_eq!(loaded(&image, ImageFormat::Png, 16).rgb, image.into_rgb8().into_raw());
    }

    #[test]
    fn the_middle_is_cut_and_scaled() {
        // A third each of red, green and blue: the middle is green.
        for (wide, high) in [(60, 20), (20, 60), (120, 40)] {
            let third = |x: u32, y: u32| if wide > high { 3 * x / wide } else { 3 * y / high };
            let pixel = |x: u32, y: u32| {
                let mut rgb = [0; 3];
                rgb[third(x, y) as usize] = 200;
                Rgb(rgb)
            };
            let image = RgbImage::from_fn(wide, high, pixel).into();
            assert_eq!(loaded(&image, ImageFormat::Png, 10).rgb, [0, 200, 0].repeat(100));
        }
        assert_eq!(middle(8, 12_500_000, 32, 32), (8, 8));
        assert_eq!(middle(31, 31, 24, 16), (31, 21));
    }

    #[test]
    fn every_kind_of_pixel_becomes_a_colour() {
        let rgba = ImageBuffer::from_pixel(16, 16, Rgba([200_u8, 0, 0, 0]));
        let half = ImageBuffer::from_pixel(16, 16, LumaA([0_u8, 128]));
        let deep = ImageBuffer::from_pixel(16, 16, Rgb([0_u16, 128 * 257, 0xffff]));
        let grey = GrayImage::from_pixel(16, 16, Luma([77]));
        for (image, expected) in [
            (DynamicImage::from(rgba), [255, 255, 255]),
            (DynamicImage::from(half), [127, 127, 127]),
            (DynamicImage::from(deep), [0, 128, 255]),
            (DynamicImage::from(grey), [77, 77, 77]),
        ] {
            assert_eq!(loaded(&image, ImageFormat::Png, 16).rgb, expected.repeat(256));
        }
        let even = RgbImage::from_pixel(40, 30, Rgb([10, 120, 240])).into();
        for pixel in loaded(&even, ImageFormat::Jpeg, 16).rgb.chunks(3) {
            let near = pixel.iter().zip([10, 120, 240]).all(|(a, b)| a.abs_diff(b) < 8);
            assert!(near, "{pixel:?}");
        }
    }

    #[test]
    fn kinds_of_photos_can_be_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("photo");
        let told = |image: DynamicImage, refused| {
            image.save_with_format(&path, ImageFormat::Png).expect("it is written");
            load(&path, 16, 16, refused).map(drop).map_err(|error| error.to_string())
        };
        let grey: DynamicImage = GrayImage::from_pixel(16, 16, Luma([77])).into();
        let clear: DynamicImage = ImageBuffer::from_pixel(16, 16, Rgba([1_u8, 2, 3, 4])).into();
        let no_grey = Rules { refuse_grey: true, ..Rules::default() };
        let no_alpha = Rules { refuse_alpha: true, ..Rules::default() };
        assert!(told(grey.clone(), no_grey).expect_err("grey").contains("`grey: expand`"));
        assert!(told(clear.clone(), no_alpha).expect_err("alpha").contains("`alpha: white`"));
        for (image, refused) in [(grey, no_alpha), (clear, no_grey), (waves(16, 16), no_grey)] {
            told(image, refused).expect("not refused");
        }
        assert_eq!([[255, 0, 0], [200; 3]].map(|rgb| super::grey(&rgb)), [76, 200]);
    }

    #[test]
    fn what_is_no_image_or_not_whole_is_told() {
        assert_eq!(refused(b"a text"), "it is not an image: neither PNG nor JPEG");
        assert_eq!(refused(b""), "it is not an image: neither PNG nor JPEG");
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let whole = encoded(&waves(40, 40), format);
            // At least the mark of the end is missing.
            for length in (16..whole.len() - 16).step_by(97).chain([whole.len() - 16]) {
                let told = refused(&whole[..length]);
                let expected = ["cannot be decoded", "ends in its middle", "is damaged"];
                assert!(expected.iter().any(|part| told.contains(part)), "{length}: {told}");
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        let told = load(folder.path(), 16, 16, NOT_TINY).expect_err("a folder").to_string();
        assert!(told.contains("it is not a file") || told.contains("cannot read it"), "{told}");
    }

    #[test]
    fn sizes_are_checked_before_anything_is_decoded() {
        assert!(refused(&encoded(&waves(7, 40), ImageFormat::Png)).contains("at least 8 x 8"));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("photo");
        for (wide, high) in [(7, 40), (1, 1)] {
            waves(wide, high).save_with_format(&path, ImageFormat::Png).expect("it is written");
            load(&path, 16, 16, Rules::default()).expect("small photos may be allowed");
        }
        waves(5, 6).save_with_format(&path, ImageFormat::Png).expect("it is written");
        load(&path, 5, 4, NOT_TINY).expect("what is as small as what is wanted may be used");
        let told = load(&path, 6, 6, NOT_TINY).expect_err("too small").to_string();
        assert_eq!(told, "it has 5 x 6 pixels, and at least 6 x 6 are needed");
        // The header of a PNG that says 20,000 x 20,000, and nothing else.
        let mut huge = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut header = b"IHDR".to_vec();
        header.extend([20_000_u32, 20_000].map(u32::to_be_bytes).concat());
        header.extend([8, 2, 0, 0, 0]);
        huge.extend(13_u32.to_be_bytes());
        huge.extend(&header);
        huge.extend(crc32(&header).to_be_bytes());
        huge.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
        let told = refused(&huge);
        assert!(told.contains("20000 x 20000 pixels, and at most 100 megapixels"), "{told}");
    }

    /// The check sum of PNG's chunks.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| {
                (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
            })
        })
    }

    #[test]
    fn pictures_become_what_the_pipeline_reads() {
        let picture = Picture { width: 2, height: 1, rgb: vec![255, 255, 255, 200, 0, 0] };
        let made = |pixel, channels| {
            let shape = [1, 2, channels];
            as_image(
                &ImageType { pixel, shape, classes: 2, whole_epochs: true, views: 1 },
                &picture,
            )
        };
        assert_eq!(made(PixelType::U8, 3).pixels, Pixels::U8(picture.rgb.clone().into()));
        assert_eq!(made(PixelType::F32, 1).pixels, Pixels::F32(vec![255.0, 60.0]));
    }
}
