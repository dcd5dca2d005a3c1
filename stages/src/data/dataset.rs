//! What readers go through: a data set that was opened.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use anyhow::Result;
use flow::item::{Sample, SampleId};

use super::Images;

/// The images of some splits of a data set, opened once for all readers of a run.
///
/// Opening is where everything is told that is wrong with the files: it looks at every image, so that
/// a damaged one ends the run before its first step, or is left out and counted. It has to in any
/// case, as which images are kept back for validation depends on what they show, and so does what
/// is kept of a run to tell one data set from another.
///
/// What is done with the pixels that opening has seen is up to the implementation:
///
/// - [`InMemory`](super::in_memory::InMemory) keeps them in one piece of memory, to which all samples
///   point: a sample costs no more than a label. Formats whose files hold plain pixels use it, and
///   so do photos as long as they fit. Decoding a photo takes far longer than all that is done to
///   it afterwards, so decoding it in each epoch would slow training down and gain nothing while
///   there is memory.
/// - Photos that do not fit are decoded again whenever they are needed, by the workers of the stage
///   that first looks at pixels: [`read`](Self::read) gives samples with
///   [`Pixels::Encoded`](flow::item::Pixels::Encoded), which a shuffler passes on as they are.
///   So neither an epoch's order nor the number of images is bounded by memory, and only what a few
///   batches need is there at a time.
///
/// Images are numbered from 0 in an order that depends on nothing but the files. Every method may be
/// called by several threads at once.
pub trait Dataset: fmt::Debug + Send + Sync {
    /// For people, such as `CIFAR-10`.
    fn name(&self) -> &str;

    /// The type of every image.
    fn images(&self) -> Images;

    /// The names of the classes. A label is a place in this list.
    fn classes(&self) -> &[String];

    /// The class of each image, and so how many images there are.
    fn labels(&self) -> &[u32];

    /// [`content`](super::content) of each image before it was scaled: an image is the same one
    /// whatever size it is read in.
    fn contents(&self) -> Cow<'_, [u64]>;

    /// What a share of the images is drawn by, given their [`contents`](Self::contents). Images that
    /// are alike as they are read have the same key, even if they differed before they were scaled.
    fn keys<'a>(&self, contents: &'a [u64]) -> Cow<'a, [u64]> {
        contents.into()
    }

    /// The CRC-32C of the pixels of these images as they are read, one after the other.
    ///
    /// # Panics
    /// If there is no such image.
    fn crc32c(&self, images: &[usize]) -> u32;

    /// These images, numbered in a row from `first` on.
    ///
    /// # Errors
    /// If one cannot be read any more: names it.
    ///
    /// # Panics
    /// If there is no such image.
    fn read(&self, images: &[usize], first: SampleId) -> Result<Vec<Sample>>;

    /// What a person should know of them, such as that there are fewer than expected.
    fn warning(&self) -> Option<&str> {
        None
    }
}

/// A data set that readers share.
#[derive(Debug)]
pub struct Shared(pub Box<dyn Dataset>);

impl Deref for Shared {
    type Target = dyn Dataset;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

/// What images have for [keys](Dataset::keys), given the contents of each as it is read and before it
/// was scaled: the least of the latter among those that are alike as they are read.
pub(super) fn keys_of(read: &[u64], originals: &[u64]) -> Vec<u64> {
    let mut keys = std::collections::HashMap::new();
    for (read, original) in read.iter().zip(originals) {
        let key = keys.entry(*read).or_insert(*original);
        *key = (*key).min(*original);
    }
    read.iter().map(|read| keys[read]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_are_alike_as_they_are_read_have_one_key() {
        assert_eq!(keys_of(&[1, 1, 2], &[8, 7, 9]), [7, 7, 9]);
        assert!(keys_of(&[], &[]).is_empty());
    }
}
