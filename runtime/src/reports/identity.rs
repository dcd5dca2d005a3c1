//! Which images were read.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What tells the images that a stage reads from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// How many there are.
    pub images: u64,
    /// The CRC-32C of their hashes in ascending order: the same whatever the files are called.
    pub content: u32,
    /// The same of all images that a share for validation was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<u32>,
    /// That share, as it can be written in the YAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// How many of them the run, or one that it began with, was trained on though it evaluates on
    /// them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub trained_on: u64,
    /// A hash of the content of each.
    #[serde(skip)]
    pub hashes: Arc<[u64]>,
}

fn is_zero(images: &u64) -> bool {
    *images == 0
}

impl Identity {
    /// That of images with these hashes, a part of all those if a share was kept back.
    pub fn new(hashes: Vec<u64>, all: &[u64], share: Option<String>) -> Self {
        Self {
            images: hashes.len() as u64,
            content: checksum(&hashes),
            whole: Some(checksum(all)),
            share,
            trained_on: 0,
            hashes: hashes.into(),
        }
    }
}

/// The CRC-32C of hashes in ascending order.
fn checksum(hashes: &[u64]) -> u32 {
    let mut sorted = hashes.to_vec();
    sorted.sort_unstable();
    sorted.iter().fold(0, |crc, hash| crc32c::crc32c_append(crc, &hash.to_le_bytes()))
}
