//! Images, known by hashes of their content.

/// The hashes of some images, each once, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSet(pub Vec<u64>);

impl ImageSet {
    /// The set of these.
    pub fn new(mut hashes: Vec<u64>) -> Self {
        hashes.sort_unstable();
        hashes.dedup();
        Self(hashes)
    }

    /// How many of these images are in the set.
    pub fn count(&self, images: &[u64]) -> u64 {
        images.iter().filter(|image| self.0.binary_search(image).is_ok()).count() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The images of both.
    pub fn and(&self, other: &Self) -> Self {
        Self::new([&self.0[..], &other.0].concat())
    }

    /// The images of this one that are not in the other.
    pub fn without(&self, other: &Self) -> Self {
        let kept = self.0.iter().filter(|image| other.0.binary_search(image).is_err());
        Self(kept.copied().collect())
    }
}
