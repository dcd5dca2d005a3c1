//! Images of one split of a data set, in memory, and the formats they are read from.

pub mod cifar10;
pub mod place;
pub mod synthetic;

use std::fmt;

use bytes::Bytes;
use runtime::item::{Image, Label, Pixels, Sample, SampleId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The images to train on.
    Train,
    /// The images to evaluate on.
    Test,
}

impl Split {
    /// Its name in the YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
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
