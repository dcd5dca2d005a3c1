//! What crosses the edges of a pipeline.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::graph::Graph;
use crate::pass::{Pass, StepsAhead, images_in};
use crate::reuse::Lent;

/// Which image of which pass over the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SampleId {
    /// The pass over the data, from 0.
    pub epoch: u64,
    /// The image's number in its data set, from 0.
    pub index: u64,
}

/// What an image shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Label {
    /// One class.
    Class(u32),
    /// A probability per class.
    Distribution(Arc<[f32]>),
}

impl Label {
    /// Writes one probability per class.
    pub fn write(&self, classes: &mut [f32]) {
        match self {
            Self::Class(class) => {
                classes.fill(0.0);
                if let Some(value) = classes.get_mut(*class as usize) {
                    *value = 1.0;
                }
            }
            Self::Distribution(values) => classes.copy_from_slice(values),
        }
    }
}

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

/// How long a run goes on; the limit reached first counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Passes over what is trained on, in whole images.
    pub epochs: Option<f64>,
    /// Steps of the optimiser.
    pub steps: Option<u64>,
}

impl Limit {
    /// Both limits: what is reached first counts.
    pub fn and(&self, other: Option<&Self>) -> Self {
        let first = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let other = other.copied().unwrap_or_default();
        Self {
            epochs: first(self.epochs, other.epochs),
            steps: self.steps.into_iter().chain(other.steps).min(),
        }
    }

    /// Whether one more step is within the limit: the `step`-th, counted from 0, with which
    /// `images` will have been seen.
    pub fn allows(&self, step: u64, images: u64, epoch_images: u64) -> bool {
        self.steps.is_none_or(|steps| step < steps)
            && self.epochs.is_none_or(|epochs| images <= images_in(epochs, epoch_images))
    }

    /// Steps of the whole run, if it has an end.
    pub fn total_steps(&self, ahead: &StepsAhead) -> Option<u64> {
        let images = self.epochs.map(|epochs| images_in(epochs, ahead.pass.images));
        let by_epochs = images.map(|images| ahead.steps_within(images));
        by_epochs.into_iter().chain(self.steps).min()
    }

    /// Images of the whole run, if it has an end. With a limit in epochs they are those of the
    /// epochs, of which the last few may fill no step.
    pub fn total_images(&self, ahead: &StepsAhead) -> Option<u64> {
        let by_epochs = self.epochs.map(|epochs| images_in(epochs, ahead.pass.images));
        let by_steps = self.steps.map(|steps| ahead.images_after(steps));
        by_epochs.into_iter().chain(by_steps).min()
    }
}

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// For people: `CIFAR-10 train, 50,000 images`.
    pub description: String,
    /// Images in one pass.
    pub epoch_images: u64,
    /// Which part of the data set: `train`, `test`.
    pub split: String,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// What this data stands in for, if it is not what was asked for.
    pub stands_in_for: Option<String>,
    /// A run limit of the data's own, beside the pipeline's.
    pub limit: Option<Limit>,
    /// Where images come class by class, the most of one class in a row.
    #[serde(skip)]
    pub in_a_row: Option<u64>,
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

/// Images for one step.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Where they come from.
    pub source: Arc<Source>,
    /// The batch's number in its flow, from 0.
    pub number: u64,
    /// Which images they are.
    pub ids: Vec<SampleId>,
    /// What they show.
    pub labels: Vec<Label>,
    /// Height, width, channels of each.
    pub shape: [usize; 3],
    /// All pixels, one image after the other.
    pub images: Lent<f32>,
    /// Images of the whole batch: more than are here if other processes of the job have the others.
    pub whole: usize,
    /// Whether the last image of an epoch is the last of this batch.
    pub ends_epoch: bool,
    /// How the flow is cut into batches.
    pub pass: Pass,
    /// Images of the flow up to the end of this batch, those that were left out included: where
    /// the flow goes on after it.
    pub samples_end: u64,
}

/// Where in its flow a stage begins to put out: at the start of a run at 0, when it is resumed
/// where the training stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Images before it, counted over all epochs.
    pub samples: u64,
    /// Batches before it.
    pub batches: u64,
    /// Images in one epoch, as they were when the run stopped; 0 at the start of a run.
    pub epoch_images: u64,
}

/// How far a training run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub steps: u64,
    /// Images trained on, repetitions counted.
    pub images: u64,
    /// Where the training flow goes on.
    pub position: Position,
    /// Images of an epoch that are trained on; 0 in checkpoints of versions that counted all.
    #[serde(default)]
    pub epoch_images: u64,
    /// The first loss that was looked at, at least 1: what later ones are measured by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_loss: Option<f64>,
}

impl Progress {
    /// Epochs: passes over what is trained on.
    pub fn epochs(&self) -> f64 {
        self.images as f64 / self.images_per_epoch() as f64
    }

    /// Images of an epoch, at least 1.
    pub fn images_per_epoch(&self) -> u64 {
        match self.epoch_images {
            0 => self.position.epoch_images.max(1),
            images => images,
        }
    }
}

/// The gradient of a batch, described but not yet computed.
///
/// Whoever owns the weights decides where it is computed: on one adapter, or cut over several.
#[derive(Clone, Debug)]
pub struct GradientTask {
    /// The images.
    pub batch: Batch,
}

/// The trained numbers after some step, and all that is needed to go on from there.
#[derive(Clone, Debug)]
pub struct Weights {
    /// How far the training has come.
    pub progress: Progress,
    /// The data trained on.
    pub source: Arc<Source>,
    /// The model.
    pub graph: Arc<Graph>,
    /// The weights, in the order of the graph's parameters.
    pub raw: Vec<Vec<f32>>,
    /// Their moving averages.
    pub averages: Vec<Vec<f32>>,
    /// What is kept from step to step without being trained, in the order of [`Graph::states`].
    pub states: Vec<Vec<f32>>,
}

impl Weights {
    /// The CRC-32C of all numbers.
    pub fn crc32c(&self) -> u32 {
        let tensors = self.raw.iter().chain(&self.averages).chain(&self.states);
        tensors.fold(0, |crc, tensor| crc32c::crc32c_append(crc, bytemuck::cast_slice(tensor)))
    }
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

    #[test]
    fn a_run_ends_at_whichever_limit_comes_first() {
        let limit = Limit { epochs: Some(1.0), steps: Some(500) };
        // The tutorial's 390.625 batches an epoch: 390 are whole.
        let ahead =
            StepsAhead { pass: Pass::open(50_000, 128), batches: 1, done: Progress::default() };
        assert_eq!(limit.total_steps(&ahead), Some(390));
        assert_eq!(limit.total_images(&ahead), Some(50_000));
        assert!(limit.allows(389, 390 * 128, 50_000));
        assert!(!limit.allows(390, 391 * 128, 50_000));
        let limit = Limit { steps: Some(5), ..limit };
        assert!(limit.allows(4, 640, 50_000) && !limit.allows(5, 768, 50_000));
        assert_eq!((limit.total_steps(&ahead), limit.total_images(&ahead)), (Some(5), Some(640)));
        let own = Limit { epochs: Some(0.5), steps: None };
        let both = Limit { epochs: Some(0.5), steps: Some(5) };
        assert_eq!(limit.and(Some(&own)), both);
        assert_eq!(limit.and(None), limit);
        assert!(Limit::default().allows(u64::MAX, u64::MAX, 1));
        assert_eq!(Limit::default().total_steps(&ahead), None);
    }

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
    fn an_epoch_is_what_is_trained_on() {
        let position = Position { epoch_images: 31, ..Position::default() };
        let old = Progress { images: 62, position, ..Progress::default() };
        assert_eq!(old.epochs(), 2.0);
        assert_eq!(Progress { epoch_images: 16, images: 64, ..old }.epochs(), 4.0);
        assert_eq!(Progress::default().epochs(), 0.0);
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
