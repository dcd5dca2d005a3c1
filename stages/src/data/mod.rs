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

use std::fmt;
use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use runtime::fetch::Download;
use runtime::item::{Image, Label, Pixels, Sample, SampleId};
use runtime::stage::Mismatch;
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
            ..self.clone()
        }
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
    fn thousands_are_set_apart() {
        let texts = [0, 999, 1_000, 50_000, 30_730_000].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "50,000", "30,730,000"]);
    }
}
