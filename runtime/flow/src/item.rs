//! What crosses the edges of a pipeline.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;

pub use compute::batch::{Batch, Label, SampleId, Source};
pub use compute::limit::Limit;
pub use compute::progress::{Position, Progress};
pub use compute::weights::Weights;

/// The values of an image: height, width, channels, the channel running fastest.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// Bytes, 0 to 255, shared with the data set in memory.
    U8(Bytes),
    /// Reals; unscaled images run from 0 to 255.
    F32(Vec<f32>),
    /// Made where they are first needed: [`Image::decode`].
    Encoded(Encoded),
    /// None here: another process of the job has this image.
    Elsewhere,
}

/// Makes the pixels of images that are not held in memory. Workers of any number of threads call it
/// at once.
pub trait Decode: Send + Sync {
    /// The pixels of the image of this number, the same each time.
    ///
    /// # Errors
    /// If they cannot be made any more: names the image.
    fn decode(&self, image: u64) -> Result<Pixels>;
}

/// An image that is still to be decoded. It takes no memory for its pixels, so that a whole epoch of
/// them can be shuffled, and images of other processes of the job are never decoded here.
#[derive(Clone)]
pub struct Encoded {
    /// What makes its pixels.
    pub from: Arc<dyn Decode>,
    /// Its number there.
    pub image: u64,
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Encoded").field(&self.image).finish()
    }
}

impl PartialEq for Encoded {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.from, &other.from) && self.image == other.image
    }
}

/// One image.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Height, width, channels.
    pub shape: [usize; 3],
    /// The values.
    pub pixels: Pixels,
}

impl Image {
    /// Makes the pixels if they are [`Pixels::Encoded`]. Whatever looks at pixels calls this first;
    /// for a [`Map`](crate::stage::Map) its worker has done so.
    ///
    /// # Errors
    /// If they cannot be made any more.
    pub fn decode(&mut self) -> Result<()> {
        if let Pixels::Encoded(Encoded { from, image }) = &self.pixels {
            self.pixels = from.decode(*image)?;
        }
        Ok(())
    }

    /// Makes the pixels reals (0 to 255 stay 0 to 255) and gives them to be changed in place. There
    /// are none where none are here, or none were [decoded](Self::decode).
    pub fn as_f32(&mut self) -> &mut Vec<f32> {
        match &self.pixels {
            Pixels::U8(bytes) => {
                self.pixels = Pixels::F32(bytes.iter().map(|byte| f32::from(*byte)).collect());
            }
            Pixels::Encoded(_) | Pixels::Elsewhere => self.pixels = Pixels::F32(Vec::new()),
            Pixels::F32(_) => {}
        }
        match &mut self.pixels {
            Pixels::F32(values) => values,
            Pixels::U8(_) | Pixels::Encoded(_) | Pixels::Elsewhere => {
                unreachable!("the lines above made them reals")
            }
        }
    }
}

/// One image with its label on its way through the per-image stages.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Which image it is.
    pub id: SampleId,
    /// What it shows.
    pub label: Label,
    /// The image.
    pub image: Image,
}

/// Some images in a row.
#[derive(Clone, Debug)]
pub struct Block {
    /// Where they come from.
    pub source: Arc<Source>,
    /// The images.
    pub samples: Vec<Sample>,
    /// Whether the last image of an epoch is the last of this block.
    pub ends_epoch: bool,
}

/// The gradient of a batch, described but not yet computed.
///
/// Whoever owns the weights decides where it is computed: on one adapter, or cut over several.
#[derive(Clone, Debug)]
pub struct GradientTask {
    /// The images.
    pub batch: Batch,
}

/// The class scores of a batch.
#[derive(Clone, Debug)]
pub struct Scores {
    /// How far the training of the weights had come.
    pub progress: Progress,
    /// Whether those were moving averages.
    pub averaged: bool,
    /// The images, as the model saw them.
    pub batch: Batch,
    /// Epochs that make one evaluation: views of each image.
    pub views: usize,
    /// One number per image and class.
    pub logits: Vec<f32>,
    /// The cross-entropy of each image.
    pub image_loss: Vec<f32>,
    /// The number of classes.
    pub classes: usize,
}

impl Scores {
    /// The softmax of each image's scores, in 64 bits. Where a score is no finite number, all of
    /// the image's probabilities are `NaN`.
    pub fn probabilities(&self) -> impl Iterator<Item = Vec<f64>> + '_ {
        self.logits.chunks_exact(self.classes.max(1)).map(softmax)
    }
}

fn softmax(scores: &[f32]) -> Vec<f64> {
    if scores.iter().any(|score| !score.is_finite()) {
        return vec![f64::NAN; scores.len()];
    }
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> =
        scores.iter().map(|score| (f64::from(*score) - f64::from(highest)).exp()).collect();
    let all: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / all).collect()
}

/// Anything that crosses an edge.
#[derive(Clone, Debug)]
pub enum Item {
    /// Images.
    Block(Block),
    /// Images for one step.
    Batch(Batch),
    /// A gradient to compute.
    GradientTask(GradientTask),
    /// Trained numbers.
    Weights(Arc<Weights>),
    /// Class scores.
    Scores(Scores),
}

impl Item {
    /// The images in it, those included that other processes of the job have.
    pub fn images(&self) -> usize {
        match self {
            Self::Block(block) => block.samples.len(),
            Self::Batch(batch) => batch.whole,
            Self::GradientTask(task) => task.batch.whole,
            Self::Weights(_) => 0,
            Self::Scores(scores) => scores.batch.ids.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels that tell the number of their image.
    struct Numbered;

    impl Decode for Numbered {
        fn decode(&self, image: u64) -> Result<Pixels> {
            anyhow::ensure!(image < 256, "there is no image {image}");
            Ok(Pixels::U8(vec![image as u8].into()))
        }
    }

    #[test]
    fn pixels_are_made_when_they_are_asked_for() {
        let from: Arc<dyn Decode> = Arc::new(Numbered);
        let encoded = |image| Encoded { from: Arc::clone(&from), image };
        let image = |image| Image { shape: [1, 1, 1], pixels: Pixels::Encoded(encoded(image)) };
        let mut seven = image(7);
        assert_eq!(seven, image(7));
        assert_ne!(seven, image(8));
        seven.decode().expect("it is there");
        assert_eq!(seven.pixels, Pixels::U8(vec![7].into()));
        seven.decode().expect("nothing is left to do");
        assert_eq!(seven.as_f32(), &[7.0]);
        assert!(image(256).decode().is_err());
    }

    #[test]
    fn probabilities_add_up_to_1_however_large_the_scores() {
        let one = softmax(&[0.0, f32::ln(3.0)]);
        assert!((one[0] - 0.25).abs() < 1e-7 && (one[1] - 0.75).abs() < 1e-7, "{one:?}");
        assert_eq!(softmax(&[1e38, 1e38, -1e38]), [0.5, 0.5, 0.0]);
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(softmax(&[wrong, 0.0]).iter().all(|share| share.is_nan()), "{wrong}");
        }
    }
}
