//! Which images were read.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What tells the images that a stage reads from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// How many there are.
    pub images: u64,
    /// The CRC-32C of their hashes with their labels in ascending order: the same whatever the files
    /// are called.
    pub content: u32,
    /// The CRC-32C of the hashes of all images that a share for validation was taken from.
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
    /// That of images with these hashes and labels, a part of all those if a share was kept back.
    pub fn new(hashes: Vec<u64>, labels: &[u32], all: &[u64], share: Option<String>) -> Self {
        let labelled = hashes.iter().zip(labels);
        Self {
            images: hashes.len() as u64,
            content: checksum(labelled.map(|(hash, label)| (*hash, Some(*label)))),
            whole: Some(checksum(all.iter().map(|hash| (*hash, None)))),
            share,
            trained_on: 0,
            hashes: hashes.into(),
        }
    }
}

/// A CRC-32C with a label added. Below 256 it is one byte, as all labels were before there were more
/// classes, so that checksums of earlier runs hold; any other is four bytes, the lowest first.
pub fn with_label(crc: u32, label: u32) -> u32 {
    match u8::try_from(label) {
        Ok(byte) => crc32c::crc32c_append(crc, &[byte]),
        Err(_) => crc32c::crc32c_append(crc, &label.to_le_bytes()),
    }
}

/// The CRC-32C of hashes, and of labels where they count, in ascending order.
fn checksum(images: impl Iterator<Item = (u64, Option<u32>)>) -> u32 {
    let mut sorted: Vec<_> = images.collect();
    sorted.sort_unstable();
    sorted.into_iter().fold(0, |crc, (hash, label)| {
        let crc = crc32c::crc32c_append(crc, &hash.to_le_bytes());
        label.map_or(crc, |label| with_label(crc, label))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_does_not_count_and_labels_do() {
        let of = |hashes: &[u64], labels: &[u32]| {
            Identity::new(hashes.to_vec(), labels, hashes, None).content
        };
        assert_eq!(of(&[5, 9], &[0, 1]), of(&[9, 5], &[1, 0]));
        assert_ne!(of(&[5, 9], &[0, 1]), of(&[5, 9], &[1, 0]));
        assert_ne!(of(&[5, 9], &[0, 1]), of(&[5, 8], &[0, 1]));
    }

    #[test]
    fn labels_below_256_are_taken_as_they_always_were() {
        // What the version that had labels of one byte made of these.
        let hashes = [0x0123_4567_89ab_cdef, 7, 7];
        let bytes = [
            &7_u64.to_le_bytes()[..],
            &[3],
            &7_u64.to_le_bytes(),
            &[255],
            &0x0123_4567_89ab_cdef_u64.to_le_bytes(),
            &[9],
        ]
        .concat();
        let of = |labels: &[u32]| Identity::new(hashes.to_vec(), labels, &hashes, None);
        assert_eq!(of(&[9, 255, 3]).content, crc32c::crc32c(&bytes));
        assert_ne!(of(&[9, 255, 3]).content, of(&[9, 511, 3]).content);
        assert_ne!(of(&[9, 256, 3]).content, of(&[9, 512, 3]).content);
        assert_eq!(of(&[9, 256, 3]).whole, of(&[1, 2, 3]).whole);
    }
}
