//! An image to be classified.

use std::path::PathBuf;

use flow::photo::{self, Rules};
use flow::picture::Picture;

use crate::error::failed;
use crate::{Error, Result};

/// An image to be classified: a file, or values in memory.
///
/// ```
/// use gradflow::Image;
///
/// let grey = Image::from_rgb(4, 2, vec![128; 4 * 2 * 3])?;
/// let short = Image::from_rgb(4, 2, vec![128; 4 * 2]).expect_err("no colours");
/// assert_eq!(short.to_string(), "expected 4 x 2 pixels of 3 bytes, 24 in all, found 8");
/// # Ok::<(), gradflow::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image(Content);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    File(PathBuf),
    Rgb { width: u32, height: u32, values: Vec<u8> },
}

impl Image {
    /// A PNG or JPEG file. It is read when it is classified, and an error then if it is not there.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self(Content::File(path.into()))
    }

    /// An image of `width` by `height` pixels: for each row from the top, for each pixel from the
    /// left, red, green and blue from 0 to 255.
    ///
    /// # Errors
    /// If the image is empty, or has not as many values as that.
    pub fn from_rgb(width: u32, height: u32, values: Vec<u8>) -> Result<Self> {
        let expected = u64::from(width) * u64::from(height) * 3;
        if expected == 0 || expected != values.len() as u64 {
            return Err(Error::Usage(format!(
                "expected {width} x {height} pixels of 3 bytes, {expected} in all, found {}",
                values.len()
            )));
        }
        Ok(Self(Content::Rgb { width, height, values }))
    }

    /// The image in the size that a model reads.
    pub(crate) fn picture(&self, width: usize, height: usize, rules: Rules) -> Result<Picture> {
        match &self.0 {
            Content::File(path) => {
                let cannot = || format!("cannot use {}", path.display());
                let loaded = photo::load(path, width, height, rules);
                loaded.map_err(|error| failed(error.context(cannot())))
            }
            Content::Rgb { width: wide, height: high, values } => {
                photo::fit([*wide, *high], values.clone(), width, height, rules).map_err(failed)
            }
        }
    }
}
