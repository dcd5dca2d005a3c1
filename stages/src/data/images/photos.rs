//! Photos that are decoded whenever they are needed, as all of them do not fit into memory.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use flow::item::{Decode, Encoded, Image, Label, Pixels, Sample, SampleId};

use super::survey::Seen;
use crate::data;
use crate::data::dataset::{Dataset, keys_of};

/// Photos on disk.
#[derive(Debug)]
pub(super) struct Photos {
    pub(super) name: String,
    pub(super) classes: Vec<String>,
    pub(super) labels: Vec<u32>,
    pub(super) warning: Option<String>,
    pub(super) files: Arc<Files>,
}

/// Where they are, and how they are decoded.
pub(super) struct Files {
    pub(super) format: super::Images,
    /// Each, and what was seen of it.
    pub(super) all: Vec<(PathBuf, Seen)>,
}

// Without the files, of which there may be millions.
impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("count", &self.all.len()).finish()
    }
}

impl Files {
    fn seen(&self) -> impl Iterator<Item = &Seen> {
        self.all.iter().map(|(_, seen)| seen)
    }
}

impl Decode for Files {
    fn decode(&self, image: u64) -> Result<Pixels> {
        let (path, seen) = &self.all[usize::try_from(image)?];
        let mut pixels = vec![0; self.format.shape().iter().product()];
        let name = path.display();
        self.format.decode(path, &mut pixels).with_context(|| {
            format!("{name} was read at the start of the run, and is not any more")
        })?;
        // Which images are kept back for validation depends on what they show.
        ensure!(
            crc32c::crc32c(&pixels) == seen.crc32c,
            "{name} shows something else than at the start of the run: leave files as they are while \
             they are trained on"
        );
        Ok(Pixels::U8(pixels.into()))
    }
}

impl Dataset for Photos {
    fn name(&self) -> &str {
        &self.name
    }

    fn images(&self) -> data::Images {
        data::Format::images(&self.files.format)
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn contents(&self) -> Cow<'_, [u64]> {
        self.files.seen().map(|seen| seen.original).collect()
    }

    fn keys<'a>(&self, contents: &'a [u64]) -> Cow<'a, [u64]> {
        let read: Vec<u64> = self.files.seen().map(|seen| seen.read).collect();
        keys_of(&read, contents).into()
    }

    fn crc32c(&self, images: &[usize]) -> u32 {
        let size: usize = self.files.format.shape().iter().product();
        let seen = images.iter().map(|image| self.files.all[*image].1.crc32c);
        seen.fold(0, |crc, next| crc32c::crc32c_combine(crc, next, size))
    }

    fn read(&self, images: &[usize], first: SampleId) -> Result<Vec<Sample>> {
        let ids = (first.index..).map(|index| SampleId { index, ..first });
        let sample = |(image, id): (&usize, SampleId)| {
            let from: Arc<dyn Decode> = self.files.clone();
            Sample {
                id,
                label: Label::Class(self.labels[*image]),
                image: Image {
                    shape: self.files.format.shape(),
                    pixels: Pixels::Encoded(Encoded { from, image: *image as u64 }),
                },
            }
        };
        Ok(images.iter().zip(ids).map(sample).collect())
    }

    fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}
