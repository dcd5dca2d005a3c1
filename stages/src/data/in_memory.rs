//! Images that are held in memory as a whole.

use std::borrow::Cow;
use std::fmt;

use anyhow::Result;
use bytes::Bytes;
use flow::item::{Image, Label, Pixels, Sample, SampleId};
use flow::port::PixelType;

use super::dataset::{Dataset, keys_of};
use super::{Images, content};

/// Images of bytes, of which all samples are parts.
#[derive(Clone)]
pub struct InMemory {
    /// For people, such as `CIFAR-10`.
    pub name: String,
    /// Height, width, channels.
    pub shape: [usize; 3],
    /// The names of the classes.
    pub classes: Vec<String>,
    /// The class of each image.
    pub labels: Vec<u32>,
    /// All pixels, one image after the other.
    pub pixels: Bytes,
    /// What a person should know of them, such as that there are fewer than expected.
    pub warning: Option<String>,
    /// [`content`] of each image before it was scaled, where a format scales.
    pub originals: Option<Vec<u64>>,
}

// Without the pixels, of which there are millions.
impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let images = self.labels.len();
        f.debug_struct("InMemory").field("name", &self.name).field("images", &images).finish()
    }
}

impl InMemory {
    /// Bytes of an image.
    fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// [`content`] of each image as it was read.
    fn as_read(&self) -> Vec<u64> {
        let [height, width, _] = self.shape;
        let images = self.pixels.chunks_exact(self.size().max(1));
        images.map(|pixels| content(pixels, height, width)).collect()
    }

    /// An image under this number; its pixels are shared, not copied.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn sample(&self, image: usize, id: SampleId) -> Sample {
        let size = self.size();
        let pixels = self.pixels.slice(image * size..(image + 1) * size);
        Sample {
            id,
            label: Label::Class(self.labels[image]),
            image: Image { shape: self.shape, pixels: Pixels::U8(pixels) },
        }
    }
}

impl Dataset for InMemory {
    fn name(&self) -> &str {
        &self.name
    }

    fn images(&self) -> Images {
        Images { pixel: PixelType::U8, shape: self.shape, classes: self.classes.len() }
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn contents(&self) -> Cow<'_, [u64]> {
        match &self.originals {
            Some(originals) => originals.into(),
            None => self.as_read().into(),
        }
    }

    fn keys<'a>(&self, contents: &'a [u64]) -> Cow<'a, [u64]> {
        match &self.originals {
            Some(originals) => keys_of(&self.as_read(), originals).into(),
            None => contents.into(),
        }
    }

    fn crc32c(&self, images: &[usize]) -> u32 {
        let size = self.size();
        let pixels = |image: usize| &self.pixels[image * size..(image + 1) * size];
        images.iter().fold(0, |crc, image| crc32c::crc32c_append(crc, pixels(*image)))
    }

    fn read(&self, images: &[usize], first: SampleId) -> Result<Vec<Sample>> {
        let ids = (first.index..).map(|index| SampleId { index, ..first });
        Ok(images.iter().zip(ids).map(|(image, id)| self.sample(*image, id)).collect())
    }

    fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pixels: Vec<u8>) -> InMemory {
        InMemory {
            name: String::new(),
            shape: [1, 2, 1],
            classes: vec!["a".to_owned(), "b".to_owned()],
            labels: vec![0, 1, 0],
            pixels: pixels.into(),
            warning: None,
            originals: None,
        }
    }

    #[test]
    fn an_image_is_told_from_others_by_its_pixels() {
        let data = data(vec![1, 2, 1, 2, 3, 4]);
        let contents = data.contents();
        assert_eq!(contents[0], contents[1]);
        assert_ne!(contents[0], contents[2]);
        assert_eq!(content(&[1, 2], 1, 2), contents[0]);
        assert_eq!(data.keys(&contents), contents);
        assert_ne!(content(&[1, 2], 2, 1), contents[0]);
        // Two that were unlike before they were scaled, and are alike now.
        let scaled = InMemory { originals: Some(vec![8, 7, 9]), ..data.clone() };
        assert_eq!(*scaled.contents(), [8, 7, 9]);
        assert_eq!(*scaled.keys(&scaled.contents()), [7, 7, 9]);
    }

    #[test]
    fn images_are_read_without_a_copy_and_in_any_order() {
        let data = data((1..=6).collect());
        let samples = data.read(&[2, 0], SampleId { epoch: 3, index: 5 }).expect("there");
        let ids: Vec<_> = samples.iter().map(|sample| (sample.id.epoch, sample.id.index)).collect();
        assert_eq!(ids, [(3, 5), (3, 6)]);
        let pixels: Vec<&Bytes> = samples
            .iter()
            .map(|sample| match &sample.image.pixels {
                Pixels::U8(bytes) => bytes,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!((&pixels[0][..], &pixels[1][..]), (&[5, 6][..], &[1, 2][..]));
        assert!(data.pixels.as_ptr_range().contains(&pixels[0].as_ptr()));
        assert_eq!(data.crc32c(&[2, 0]), crc32c::crc32c(&[5, 6, 1, 2]));
        assert_eq!(data.crc32c(&[0, 1, 2]), crc32c::crc32c(&data.pixels));
    }
}
