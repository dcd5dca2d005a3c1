//! Images of one split of a data set, in memory, and the formats they are read from: a file each,
//! and a line each in [`format`].

pub mod cifar;
pub mod cifar10;
pub mod cifar100;
pub mod classes;
mod csv;
pub mod format;
pub mod idx;
pub mod images;
mod mat;
pub mod order;
pub mod place;
pub mod svhn;
pub mod synthetic;
pub mod validation;
mod xxhash;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use fetch::Download;
use flow::item::{Image, Label, Pixels, Sample, SampleId};
use flow::lint::Note;
use flow::photo;
use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use place::Place;

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The images to train on; without those for validation, if there are any.
    Train,
    /// The share of the images to train on that `validation` keeps back.
    Validation,
    /// The images to evaluate on.
    Test,
}

impl Split {
    /// Its name in the YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// What is known of a data set's images before any is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Images {
    /// Height, width, channels.
    pub shape: [usize; 3],
    /// The number of classes.
    pub classes: usize,
}

/// A format that data sets are kept in. A new one is a file beside these, and a line in each list
/// of [`format`].
pub trait Format: fmt::Debug {
    /// How people call it, such as `CIFAR-10`.
    fn title(&self) -> &str;

    /// What is wrong with its fields; opens no file.
    ///
    /// # Errors
    /// With the field.
    fn check(&self) -> Result<(), Mismatch> {
        Ok(())
    }

    /// The type of the images, once the fields are right.
    fn images(&self) -> Images;

    /// Looks for a split at a path that a person gave; `None` if nothing of the kind is there.
    ///
    /// # Errors
    /// If something is there that cannot be looked at.
    fn find(&self, path: &Path, split: Split) -> Result<Option<Place>>;

    /// Reads the images to train on, for `validation` all of them as well, or those to test with.
    ///
    /// # Errors
    /// If a file is missing, cannot be read or is not what it should be: names the file, the
    /// record, what was expected, and what to do.
    fn load(&self, place: &Place, split: Split) -> Result<DataSet>;

    /// What a person may want to change of its fields; opens no file.
    fn notes(&self) -> Vec<Note> {
        Vec::new()
    }

    /// Whether the images of `split: validation` are files of their own, and no share of others.
    fn divides_validation(&self) -> bool {
        false
    }

    /// How photos are taken that come in place of the images: as this format takes its own.
    fn photo_rules(&self) -> photo::Rules {
        photo::Rules::default()
    }

    /// The file or folder that a split is read from.
    ///
    /// # Errors
    /// If that cannot be told.
    fn reads(&self, place: &Place, _: Split) -> Result<PathBuf> {
        Ok(place.path().to_owned())
    }

    /// What lies beside that, holds the same data set as far as its name says, and is not read.
    fn not_read(&self, _: &Place) -> Option<PathBuf> {
        None
    }

    /// How to get the data, for people.
    fn how_to_get(&self) -> String;

    /// What it can be downloaded with.
    fn download(&self) -> Option<&'static Download> {
        None
    }

    /// The files of the download that a split needs; all if it has an archive.
    fn files(&self, _: Split) -> Vec<&'static str> {
        Vec::new()
    }
}

/// All images of one split.
#[derive(Clone)]
pub struct DataSet {
    /// For people, such as `CIFAR-10`.
    pub name: String,
    /// Height, width, channels.
    pub shape: [usize; 3],
    /// The names of the classes.
    pub classes: Vec<String>,
    /// The class of each image.
    pub labels: Vec<u8>,
    /// All pixels, one image after the other.
    pub pixels: Bytes,
    /// What a person should know of them, such as that there are fewer than expected.
    pub warning: Option<String>,
    /// [`content`] of each image before it was scaled, where a format scales: an image is the same
    /// one whatever size it is read in.
    pub originals: Option<Vec<u64>>,
}

/// What tells an image from others, by its pixels alone: neither its name, its label nor the images
/// around it count.
pub fn content(pixels: &[u8], height: usize, width: usize) -> u64 {
    xxhash::xxh64(pixels, (width as u64) << 32 | height as u64)
}

// Without the pixels, of which there are millions.
impl fmt::Debug for DataSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let images = self.labels.len();
        f.debug_struct("DataSet").field("name", &self.name).field("images", &images).finish()
    }
}

impl DataSet {
    /// The CRC-32C of all pixels, then all labels: whether two runs read the same.
    pub fn crc32c(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.pixels), &self.labels)
    }

    /// Only these images, in this order.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn pick(&self, images: &[usize]) -> Self {
        let size: usize = self.shape.iter().product();
        let mut pixels = Vec::with_capacity(images.len() * size);
        for index in images {
            pixels.extend_from_slice(&self.pixels[index * size..(index + 1) * size]);
        }
        Self {
            labels: images.iter().map(|index| self.labels[*index]).collect(),
            pixels: pixels.into(),
            originals: self
                .originals
                .as_ref()
                .map(|originals| images.iter().map(|index| originals[*index]).collect()),
            ..self.clone()
        }
    }

    /// [`content`] of each image, before it was scaled.
    pub fn contents(&self) -> Vec<u64> {
        self.originals.clone().unwrap_or_else(|| self.read())
    }

    /// [`content`] of each image as it was read.
    fn read(&self) -> Vec<u64> {
        let [height, width, channels] = self.shape;
        let images = self.pixels.chunks_exact((height * width * channels).max(1));
        images.map(|pixels| content(pixels, height, width)).collect()
    }

    /// What a share of the images is drawn by, given their [`contents`](Self::contents). Images that
    /// are alike as they were read have the same key, even if they differed before they were scaled.
    pub fn keys<'a>(&self, contents: &'a [u64]) -> Cow<'a, [u64]> {
        let Some(originals) = &self.originals else { return contents.into() };
        let read = self.read();
        let mut keys: HashMap<u64, u64> = HashMap::new();
        for (read, original) in read.iter().zip(originals) {
            let key = keys.entry(*read).or_insert(*original);
            *key = (*key).min(*original);
        }
        read.iter().map(|read| keys[read]).collect::<Vec<_>>().into()
    }

    /// The image of this number in this pass over the data; its pixels are shared, not copied.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn sample(&self, epoch: u64, index: usize) -> Sample {
        let size: usize = self.shape.iter().product();
        let pixels = self.pixels.slice(index * size..(index + 1) * size);
        Sample {
            id: SampleId { epoch, index: index as u64 },
            label: Label::Class(self.labels[index].into()),
            image: Image { shape: self.shape, pixels: Pixels::U8(pixels) },
        }
    }
}

/// So many zeros, or an error where an allocation of that size would end the program.
pub(crate) fn zeros(bytes: usize) -> Result<Vec<u8>> {
    let mut room = Vec::<u8>::new();
    room.try_reserve_exact(bytes)
        .with_context(|| format!("{} bytes do not fit into memory", thousands(bytes as u64)))?;
    drop(room);
    // Memory of zeros is there at once, which filling what was reserved is not.
    Ok(vec![0; bytes])
}

/// `50,000` for 50000.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_told_from_others_by_its_pixels() {
        let data = DataSet {
            name: String::new(),
            shape: [1, 2, 1],
            classes: Vec::new(),
            labels: vec![0, 1, 0],
            pixels: vec![1, 2, 1, 2, 3, 4].into(),
            warning: None,
            originals: None,
        };
        let contents = data.contents();
        assert_eq!(contents[0], contents[1]);
        assert_ne!(contents[0], contents[2]);
        assert_eq!(content(&[1, 2], 1, 2), contents[0]);
        assert_eq!(*data.keys(&contents), *contents);
        assert_ne!(content(&[1, 2], 2, 1), contents[0]);
        // Two that were unlike before they were scaled, and are alike now.
        let scaled = DataSet { originals: Some(vec![8, 7, 9]), ..data };
        assert_eq!(scaled.contents(), [8, 7, 9]);
        assert_eq!(*scaled.keys(&[8, 7, 9]), [7, 7, 9]);
        assert_eq!(scaled.pick(&[2, 0]).contents(), [9, 8]);
    }

    #[test]
    fn what_does_not_fit_into_memory_is_an_error() {
        assert_eq!(zeros(3).expect("they fit"), [0; 3]);
        let told = zeros(isize::MAX as usize).expect_err("too many").to_string();
        assert!(told.ends_with("bytes do not fit into memory"), "{told}");
    }

    #[test]
    fn thousands_are_set_apart() {
        let texts = [0, 999, 1_000, 50_000, 30_730_000].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "50,000", "30,730,000"]);
    }
}
