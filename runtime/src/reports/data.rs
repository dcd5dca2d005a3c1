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
