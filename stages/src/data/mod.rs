//! Data sets, and the formats they are read from: a file each, and a line each in the list.

pub mod cifar;
pub mod classes;
mod csv;
pub mod dataset;
pub mod format;
pub mod in_memory;
mod mat;
pub mod order;
pub mod part;
pub mod place;
pub mod validation;
mod xxhash;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use config::node::Node;
use fetch::Download;
use flow::lint::Note;
use flow::photo;
use flow::port::PixelType;
use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use dataset::Dataset;
use format::{FormatKind, ImageSource, Origin};
use place::Place;

base::registry! {
    /// Every format that comes with Gradflow.
    pub fn formats() -> Vec<FormatKind> from kind();

    pub mod cifar10;
    pub mod cifar100;
    pub mod svhn;
    pub mod idx;
    pub mod images;
    pub mod synthetic;
}

/// What can be downloaded by these formats, with the defaults of their fields.
pub fn downloads(formats: &[FormatKind]) -> Vec<&'static Download> {
    let format = |kind: &FormatKind| {
        let fields = Node::Map(Vec::new());
        (kind.parse)(&fields, &config::node::Path::default(), &mut Vec::new())
    };
    let download = |source: &dyn ImageSource| match source.origin() {
        Origin::Files(format) => format.download(),
        Origin::Drawn(_) => None,
    };
    formats.iter().filter_map(format).filter_map(|parsed| download(&*parsed.value)).collect()
}

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
    /// The type of the values.
    pub pixel: PixelType,
    /// Height, width, channels.
    pub shape: [usize; 3],
    /// The number of classes.
    pub classes: usize,
}

/// A format that data sets are kept in. Its values are the fields that YAML gives it.
pub trait Format: fmt::Debug + Send + Sync {
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

    /// Opens the images to train on, for `validation` all of them as well, or those to test with.
    ///
    /// # Errors
    /// If a file is missing, cannot be read or is not what it should be: names the file, the
    /// record, what was expected, and what to do.
    fn open(&self, place: &Place, split: Split) -> Result<Box<dyn Dataset>>;

    /// What a person may want to change of its fields; opens no file.
    fn notes(&self) -> Vec<Note> {
        Vec::new()
    }

    /// Whether the images of `split: validation` are files of their own, and no share of others.
    fn divides_validation(&self) -> bool {
        false
    }

    /// Whether each class keeps back its share for validation, unless the YAML says otherwise.
    fn is_stratified(&self) -> bool {
        false
    }

    /// Fields that say which images are read, where they are, or what they are called, and nothing of
    /// the pixels or the numbers of the classes. The size is compared as that of the images, of
    /// whatever format.
    fn selecting_fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// The split whose files those of another are a share of, if they have none of their own.
    fn files_of(&self, split: Split) -> Split {
        match split {
            Split::Validation if !self.divides_validation() => Split::Train,
            split => split,
        }
    }

    /// What a person should know of what lies beside a split's images.
    fn beside(&self, _: &Place, _: Split) -> Option<String> {
        None
    }

    /// How photos are taken that come in place of the images: as this format takes its own.
    fn photo_rules(&self) -> photo::Rules {
        photo::Rules::default()
    }

    /// The file or folder that a split is read from.
    ///
    /// # Errors
    /// If that cannot be told.
    fn reads(&self, place: &Place, _: Split) -> Result<PathBuf> {
        Ok(place.path().to_owned())
    }

    /// What lies beside that, holds the same data set as far as its name says, and is not read.
    fn not_read(&self, _: &Place) -> Option<PathBuf> {
        None
    }

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

/// What tells an image from others, by its pixels alone: neither its name, its label nor the images
/// around it count.
pub fn content(pixels: &[u8], height: usize, width: usize) -> u64 {
    xxhash::xxh64(pixels, (width as u64) << 32 | height as u64)
}

/// So many zeros, or an error where an allocation of that size would end the program.
pub(crate) fn zeros(bytes: usize) -> Result<Vec<u8>> {
    let mut room = Vec::<u8>::new();
    room.try_reserve_exact(bytes)
        .with_context(|| format!("{} bytes do not fit into memory", thousands(bytes as u64)))?;
    drop(room);
    // Memory of zeros is there at once, which filling what was reserved is not.
    Ok(vec![0; bytes])
}

/// Names for people; of many the first, and how many more there are.
pub(crate) fn listed(names: &[String]) -> String {
    const MOST: usize = 20;
    match names.len() {
        0..=MOST => names.join(", "),
        all => format!("{} and {} more", names[..MOST].join(", "), thousands((all - MOST) as u64)),
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
    fn what_does_not_fit_into_memory_is_an_error() {
        assert_eq!(zeros(3).expect("they fit"), [0; 3]);
        let told = zeros(isize::MAX as usize).expect_err("too many").to_string();
        assert!(told.ends_with("bytes do not fit into memory"), "{told}");
    }

    #[test]
    fn of_many_names_the_first_are_listed() {
        let names = |count: usize| (0..count).map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(listed(&names(3)), "0, 1, 2");
        assert!(listed(&names(20)).ends_with("18, 19"));
        assert!(listed(&names(1_021)).ends_with("18, 19 and 1,001 more"));
    }

    #[test]
    fn thousands_are_set_apart() {
        let texts = [0, 999, 1_000, 50_000, 30_730_000].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "50,000", "30,730,000"]);
    }
}
