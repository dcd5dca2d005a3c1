//! What was read.

use serde::{Deserialize, Serialize};

use super::Identity;

/// A data set in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataReport {
    /// The stage that read it.
    pub stage: String,
    /// For people: `CIFAR-10 train, 50,000 images`.
    pub description: String,
    /// Which part of the data set.
    pub split: String,
    /// The CRC-32C of all pixels, then all labels.
    pub crc32c: u32,
    /// Which images these are; absent in runs of early versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

/// The part of a data set that is there to be trained on.
pub const TRAIN: &str = "train";

impl DataReport {
    /// Whether both are of the same images with the same labels, in whatever order.
    pub fn same_images(&self, other: &Self) -> bool {
        match (&self.identity, &other.identity) {
            (Some(one), Some(other)) => (one.images, one.content) == (other.images, other.content),
            // What an earlier version kept depends on the order.
            _ => self.crc32c == other.crc32c,
        }
    }

    /// Whether it claims to be of images that are not trained on.
    pub fn is_held_out(&self) -> bool {
        self.split != TRAIN
    }

    /// The hashes of the content of the images, as far as they are known.
    pub fn hashes(&self) -> &[u64] {
        self.identity.as_ref().map_or(&[], |identity| &identity.hashes)
    }

    /// The share for validation that was kept back, as it is written in the YAML.
    pub fn share(&self) -> Option<&str> {
        self.identity.as_ref()?.share.as_deref()
    }
}
