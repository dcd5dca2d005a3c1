//! Puts images together for one step.

use std::sync::Arc;

use anyhow::{Result, ensure};
use compute::pass::Pass;
use compute::reuse::{Lender, Lent};
use flow::channel::Ports;
use flow::item::{Batch, Item, Label, Pixels, Position, Sample, SampleId, Source};
use flow::port::{ImageType, PixelType, Port};
use flow::preprocessing::Preprocessing;
use flow::stage::{Config, Context, Exports, Kind, Mismatch, Offset, Prepares, Runner, Stage};
use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Catalog;
use crate::inputs;

/// Numbers in a batch beyond which a size can only be a mistake: 8 GiB.
const MOST_NUMBERS: usize = 1 << 31;

/// Puts images together for one step.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Batcher {
    /// Images in one batch.
    pub size: usize,
    /// What becomes of the images that do not fill a batch at the end of an epoch.
    pub partial: Partial,
}

/// What becomes of the images that do not fill a batch at the end of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Partial {
    /// They start the first batch of the next epoch, as in the tutorial: all batches are full.
    #[default]
    Carry,
    /// They make a smaller batch: every image is there once per epoch, as an evaluation needs it.
    Keep,
    /// They are left out: all batches are full and none spans two epochs. An epoch of the training
    /// has as many images as these batches.
    Drop,
}

impl Partial {
    /// The batches of a pass over so many images.
    fn pass(self, images: u64, size: u64) -> Pass {
        match self {
            Self::Carry => Pass::open(images, size),
            Self::Keep => Pass::closed(images, size),
            Self::Drop => Pass::full(images, size),
        }
    }
}

impl Default for Batcher {
    fn default() -> Self {
        Self { size: 128, partial: Partial::Carry }
    }
}

/// The kind of this stage.
pub fn kind(_: &Catalog) -> Kind {
    Kind::of::<Batcher>(
        "batcher",
        "Puts images together into the batch of one step.",
        "{ size: 128, partial: carry }",
    )
}

impl Config for Batcher {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let image = inputs::one_samples("batcher", inputs)?;
        if self.size == 0 {
            return Err(Mismatch::field("size", "a batch of 0 images trains nothing")
                .help("at least 1; the tutorial has 128"));
        }
        let numbers = image.shape.iter().try_fold(self.size, |all, side| all.checked_mul(*side));
        if numbers.is_none_or(|numbers| numbers > MOST_NUMBERS) {
            let message = format!(
                "a batch of {} images {image} holds more than {MOST_NUMBERS} numbers",
                self.size
            );
            return Err(Mismatch::field("size", message).help("the tutorial has 128 images"));
        }
        let whole_epochs = image.whole_epochs && self.partial == Partial::Keep;
        let image = ImageType { pixel: PixelType::F32, whole_epochs, ..image };
        Ok(Some(Port::Batches(image, self.size)))
    }

    fn passes_absent(&self) -> bool {
        true
    }

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        // Behind a queue no epoch ends, and all batches are full.
        let ends = matches!(context.inputs, [Port::Samples(image)] if image.whole_epochs);
        let partial = if ends { self.partial } else { Partial::Carry };
        Ok(Runner::Stage(Box::new(Batching::new(self.size, partial, context.start))))
    }

    fn as_exports(&self) -> Option<&dyn Exports> {
        Some(self)
    }

    fn as_prepares(&self) -> Option<&dyn Prepares> {
        Some(self)
    }
}

impl Exports for Batcher {
    /// One image or many is the same there.
    fn onnx(&self, _: &mut onnx::Builder, images: &onnx::Value) -> Result<onnx::Value> {
        Ok(images.clone())
    }
}

impl Prepares for Batcher {
    fn preprocessing(&self, _: &[Port]) -> Option<Preprocessing> {
        Some(Preprocessing::default())
    }

    fn offset(&self) -> Offset {
        Offset::Stays
    }
}

/// Batches whose memory is kept until the next ones need it.
const MOST_FREE: usize = 4;

/// A batch that is being filled.
struct Batching {
    size: usize,
    partial: Partial,
    // Images of this epoch so far, those already put out included.
    epoch_images: u64,
    // Images of all epochs so far.
    samples: u64,
    number: u64,
    // Images of this batch so far: those of other processes are counted, and are not among these.
    whole: usize,
    ids: Vec<SampleId>,
    labels: Vec<Label>,
    shape: [usize; 3],
    images: Lent<f32>,
    memory: Lender<f32>,
    // Images that were here of the last batch.
    last: Option<usize>,
}

impl Batching {
    fn new(size: usize, partial: Partial, start: Position) -> Self {
        Self {
            size,
            partial,
            epoch_images: start.samples.checked_rem(start.epoch_images).unwrap_or(0),
            samples: start.samples,
            number: start.batches,
            whole: 0,
            ids: Vec::new(),
            labels: Vec::new(),
            shape: [0; 3],
            images: Lent::default(),
            memory: Lender::new(MOST_FREE),
            last: None,
        }
    }

    /// Adds an image and gives the batch if it is complete now.
    fn add(&mut self, source: &Arc<Source>, sample: Sample, last: bool) -> Result<Option<Batch>> {
        if sample.image.pixels != Pixels::Elsewhere {
            self.take_in(sample)?;
        }
        self.whole += 1;
        self.epoch_images += 1;
        self.samples += 1;
        let full = self.whole == self.size;
        let ends_epoch = match self.partial {
            Partial::Carry | Partial::Keep => last,
            // What is left of the epoch will not fill another batch.
            Partial::Drop => {
                let left = source.epoch_images.checked_sub(self.epoch_images);
                last || left.is_some_and(|left| left < self.size as u64)
            }
        };
        let complete = full || (last && self.partial == Partial::Keep);
        let batch = complete.then(|| self.take(source, ends_epoch));
        if last {
            let images = std::mem::take(&mut self.epoch_images);
            if self.partial == Partial::Drop {
                // Every further epoch would be like this one, and nothing would ever come out.
                ensure!(
                    images >= self.size as u64,
                    "an epoch of {images} images fills no batch of {}, and `partial: drop` leaves \
                     out what fills none.\nMake `size` smaller, or set `partial: keep`",
                    self.size
                );
                self.whole = 0;
                self.ids.clear();
                self.labels.clear();
                self.images = Lent::default();
            }
        }
        Ok(batch)
    }

    fn take_in(&mut self, mut sample: Sample) -> Result<()> {
        sample.image.decode()?;
        if self.ids.is_empty() {
            self.shape = sample.image.shape;
            let images = self.last.unwrap_or(self.size);
            self.ids.reserve_exact(images);
            self.labels.reserve_exact(images);
            self.images = self.memory.lend(images * self.shape.iter().product::<usize>());
        }
        ensure!(
            sample.image.shape == self.shape,
            "image {} is {:?} where {:?} was expected: images of one batch must have one shape",
            sample.id.index,
            sample.image.shape,
            self.shape
        );
        match &sample.image.pixels {
            Pixels::F32(values) => self.images.extend_from_slice(values),
            Pixels::U8(values) => self.images.extend(values.iter().map(|v| f32::from(*v))),
            Pixels::Encoded(_) | Pixels::Elsewhere => {}
        }
        self.ids.push(sample.id);
        self.labels.push(sample.label);
        Ok(())
    }

    fn take(&mut self, source: &Arc<Source>, ends_epoch: bool) -> Batch {
        let number = self.number;
        self.number += 1;
        self.last = Some(self.ids.len());
        Batch {
            source: source.clone(),
            number,
            ids: std::mem::take(&mut self.ids),
            labels: std::mem::take(&mut self.labels),
            shape: self.shape,
            images: std::mem::take(&mut self.images),
            whole: std::mem::take(&mut self.whole),
            ends_epoch,
            pass: self.partial.pass(source.epoch_images, self.size as u64),
            samples_end: self.samples,
        }
    }
}

impl Stage for Batching {
    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
        async move {
            while let Some(item) = ports.receive(0).await {
                let block = inputs::block(item)?;
                let count = block.samples.len();
                for (at, sample) in block.samples.into_iter().enumerate() {
                    let last = block.ends_epoch && at + 1 == count;
                    if let Some(batch) = self.add(&block.source, sample, last)?
                        && ports.send(Item::Batch(batch)).await.is_err()
                    {
                        return Ok(());
                    }
                }
            }
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use flow::item::{Decode, Encoded};

    use super::*;
    use crate::testing::{bytes_port, epochs, run, settings, try_run};

    /// Gives back the numbers of images, up to 10.
    struct Numbers;

    impl Decode for Numbers {
        fn decode(&self, image: u64) -> Result<Pixels> {
            ensure!(image < 10, "image {image} is gone");
            Ok(Pixels::U8(vec![image as u8].into()))
        }
    }

    /// Size, first image, and whether it ends an epoch, of the batches of 2 epochs of 10 images.
    fn batches(size: usize, partial: Partial) -> Vec<(usize, u64, bool)> {
        let config = Batcher { size, partial };
        let (items, _) = run(&config, bytes_port([1, 1, 1]), epochs(2, 10, 3), &settings(3));
        items
            .into_iter()
            .enumerate()
            .map(|(number, item)| {
                let Item::Batch(batch) = item else { panic!("not a batch") };
                assert_eq!(batch.number, number as u64);
                assert_eq!(batch.labels.len(), batch.ids.len());
                let samples = batch.ids.len() as u64;
                let (before, after) = (number as u64, number as u64 + 1);
                let counted = batch.pass.images_after(after) - batch.pass.images_after(before);
                assert_eq!(counted, samples, "{:?}", batch.pass);
                let expected: Vec<f32> = batch.ids.iter().map(|id| id.index as f32).collect();
                assert_eq!(batch.images, expected);
                (batch.ids.len(), batch.ids[0].index, batch.ends_epoch)
            })
            .collect()
    }

    #[test]
    fn images_that_are_still_encoded_are_decoded() {
        let batched = |images: u64| {
            let mut items = epochs(1, images, 3);
            let from: Arc<dyn Decode> = Arc::new(Numbers);
            for item in &mut items {
                let Item::Block(block) = item else { panic!("not a block") };
                for sample in &mut block.samples {
                    let (from, image) = (Arc::clone(&from), sample.id.index);
                    sample.image.pixels = Pixels::Encoded(Encoded { from, image });
                }
            }
            let config = Batcher { size: 5, partial: Partial::Keep };
            try_run(&config, bytes_port([1, 1, 1]), items, &settings(3))
        };
        let (ended, items, _) = batched(10);
        ended.expect("all are there");
        let Item::Batch(batch) = &items[1] else { panic!("not a batch") };
        assert_eq!(batch.images, vec![5.0, 6.0, 7.0, 8.0, 9.0]);
        let told = batched(11).0.expect_err("one is gone");
        assert!(format!("{told:#}").contains("image 10 is gone"), "{told:#}");
    }

    #[test]
    fn carried_batches_run_on_across_epochs() {
        assert_eq!(
            batches(4, Partial::Carry),
            [(4, 0, false), (4, 4, false), (4, 8, false), (4, 2, false), (4, 6, true)]
        );
    }

    #[test]
    fn kept_batches_hold_every_image_once_per_epoch() {
        let epoch = [(4, 0, false), (4, 4, false), (2, 8, true)];
        assert_eq!(batches(4, Partial::Keep), [epoch, epoch].concat());
        let epoch = [(5, 0, false), (5, 5, true)];
        assert_eq!(batches(5, Partial::Keep), [epoch, epoch].concat());
        assert_eq!(batches(64, Partial::Keep), [(10, 0, true), (10, 0, true)]);
    }

    #[test]
    fn dropped_images_are_those_that_fill_no_batch() {
        let epoch = [(4, 0, false), (4, 4, true)];
        assert_eq!(batches(4, Partial::Drop), [epoch, epoch].concat());
        assert_eq!(batches(10, Partial::Drop), [(10, 0, true), (10, 0, true)]);
    }

    #[test]
    fn a_flow_without_ends_of_epochs_has_full_batches_only() {
        let Port::Samples(image) = bytes_port([1, 1, 1]) else { panic!("not images") };
        let queue = Port::Samples(ImageType { whole_epochs: false, ..image });
        for partial in [Partial::Carry, Partial::Keep, Partial::Drop] {
            let config = Batcher { size: 4, partial };
            let mut items = epochs(2, 10, 3);
            for item in &mut items {
                if let Item::Block(block) = item {
                    block.ends_epoch = false;
                }
            }
            let (items, _) = run(&config, queue.clone(), items, &settings(3));
            let passes = items.iter().map(|item| match item {
                Item::Batch(batch) => batch.pass,
                _ => panic!("not a batch"),
            });
            assert_eq!(passes.collect::<Vec<_>>(), [Pass::open(10, 4); 5]);
        }
    }

    #[test]
    fn an_epoch_that_fills_no_batch_is_an_error_if_it_is_dropped() {
        let config = Batcher { size: 11, partial: Partial::Drop };
        let (ran, out, _) = try_run(&config, bytes_port([1, 1, 1]), epochs(2, 10, 3), &settings(3));
        let message = ran.expect_err("nothing ever comes out").to_string();
        assert!(message.contains("10 images fills no batch of 11"), "{message}");
        assert!(out.is_empty());
    }

    #[test]
    fn only_kept_batches_of_whole_epochs_make_whole_epochs() {
        let whole = |partial, whole_epochs| {
            let Port::Samples(image) = bytes_port([1, 1, 1]) else { panic!("not images") };
            let input = Port::Samples(ImageType { whole_epochs, ..image });
            match (Batcher { size: 4, partial }).check(&[input]) {
                Ok(Some(Port::Batches(image, 4))) => image.whole_epochs,
                other => panic!("{other:?}"),
            }
        };
        assert!(whole(Partial::Keep, true));
        assert!(!whole(Partial::Keep, false));
        assert!(!whole(Partial::Carry, true));
        assert!(!whole(Partial::Drop, true));
    }

    #[test]
    fn it_puts_out_reals_and_refuses_empty_batches() {
        let port = Batcher::default().check(&[bytes_port([24, 24, 3])]).expect("right");
        assert_eq!(
            port.map(|port| port.to_string()).as_deref(),
            Some("batches 128 x f32[24, 24, 3]")
        );
        let config = Batcher { size: 0, ..Batcher::default() };
        assert_eq!(config.check(&[bytes_port([1, 1, 1])]).expect_err("0").field, ["size"]);
        let config = Batcher { size: usize::MAX / 2, ..Batcher::default() };
        assert_eq!(config.check(&[bytes_port([24, 24, 3])]).expect_err("huge").field, ["size"]);
    }
}
