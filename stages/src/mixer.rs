//! Mixes the images of a batch with each other.

use anyhow::{Result, bail};
use base::random::Random;
use flow::channel::Ports;
use flow::item::{Batch, Item, Label};
use flow::port::{ImageType, Port};
use flow::preprocessing::{Chance, Preprocessing};
use flow::stage::{Config, Context, Kind, Mismatch, Prepares, Runner, Stage};
use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Catalog;
use crate::beta::beta;
use crate::idle;
use crate::model::train::check_labels;
use crate::patch::Patch;
use crate::probability;

/// Mixes each image of a batch, and its label, with the one before it in the batch; the first has the
/// last. None is mixed with an image of another batch: the model learns that half a cat is half a label. Its place is behind the batcher. At least
/// one of `mixup` and `cutmix` is given; with both, chance decides for each image.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mixer {
    /// Each value becomes a weighted mean of those of two images.
    pub mixup: Option<Mixup>,
    /// A rectangle shows the other image.
    pub cutmix: Option<Cutmix>,
}

/// Each value becomes a weighted mean of those of two images (Zhang et al., "mixup: beyond empirical
/// risk minimization", 2018).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mixup {
    /// Weights are from the beta distribution with this twice: small numbers leave most images
    /// nearly as they are, 1 makes all weights as likely. From 0.05 to 100.
    pub alpha: f64,
    /// The share of images that are mixed so, 0 to 1.
    pub probability: f64,
}

/// A rectangle shows the other image (Yun et al., "CutMix: regularization strategy to train strong
/// classifiers with localizable features", 2019).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cutmix {
    /// A share `s` is from the beta distribution with this twice; 1 makes all as likely. From 0.05 to
    /// 100. The rectangle has the sides `sqrt(1 - s)` times those of the image, rounded, around any
    /// pixel, and is cut off at the borders: so more of the image stays than `s`, 0.68 of it in the mean
    /// with `alpha: 1`, not 0.5. Labels have the shares of the pixels that are seen.
    pub alpha: f64,
    /// The share of images that are mixed so, 0 to 1.
    pub probability: f64,
}

impl Default for Mixup {
    fn default() -> Self {
        Self { alpha: 0.2, probability: 0.5 }
    }
}

impl Default for Cutmix {
    fn default() -> Self {
        Self { alpha: 1.0, probability: 0.5 }
    }
}

/// The kind of this stage.
pub fn kind(_: &Catalog) -> Kind {
    Kind::of::<Mixer>(
        "mixer",
        "Mixes the images and labels of a batch with each other (mixup, CutMix).",
        "{ mixup: { alpha: 0.2, probability: 0.5 }, cutmix: { alpha: 1, probability: 0.5 } }",
    )
}

impl Config for Mixer {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let (image, size) = match inputs {
            [Port::Batches(image, size)] => (*image, *size),
            [other] => {
                return Err(Mismatch::new(format!("mixer takes batches, but gets {other}"))
                    .help("let `from` name a batcher"));
            }
            _ => {
                let message = "mixer takes batches from one stage";
                return Err(Mismatch::new(message).help("let `from` name a batcher"));
            }
        };
        let mixup = self.mixup.map(|m| ("mixup", m.alpha, m.probability));
        let cutmix = self.cutmix.map(|c| ("cutmix", c.alpha, c.probability));
        if mixup.or(cutmix).is_none() {
            let help = "add `mixup: {}`, `cutmix: {}` or both, or leave the stage out";
            return Err(Mismatch::new("there is nothing to mix by").help(help));
        }
        let mut wrong = Vec::new();
        let mut all = 0.0;
        for (part, alpha, probability) in mixup.into_iter().chain(cutmix) {
            if !(0.05..=100.0).contains(&alpha) {
                let message = format!("expected a number from 0.05 to 100, found {alpha}");
                wrong.push(Mismatch::field(&format!("{part}.alpha"), message));
            }
            let never = format!("for never, leave `{part}` out");
            wrong.extend(
                probability::check(&format!("{part}.probability"), probability, &never).err(),
            );
            all += probability;
        }
        if wrong.is_empty() && all > 1.0 {
            let message =
                format!("an image is mixed in one way, and the probabilities add to {all}");
            wrong.push(Mismatch::field("cutmix.probability", message).help("at most 1 in all"));
        }
        if size < 2 {
            wrong.push(Mismatch::new("a batch of one image has nothing to mix"));
        }
        Mismatch::all(wrong)?;
        // No image is there by itself any more, so that nothing can be evaluated on them.
        Ok(Some(Port::Batches(ImageType { whole_epochs: false, ..image }, size)))
    }

    fn warnings(&self, _: &[Port]) -> Vec<Mismatch> {
        let mixup = self.mixup.map(|mixup| ("mixup", mixup.probability));
        let cutmix = self.cutmix.map(|cutmix| ("cutmix", cutmix.probability));
        let idle = |(part, probability)| {
            idle::warning(part, probability, false, &format!("leave `{part}` out"))
        };
        mixup.into_iter().chain(cutmix).filter_map(idle).collect()
    }

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        let [Port::Batches(image, _)] = context.inputs else {
            bail!("a mixer takes batches, and something else is connected to it");
        };
        Ok(Runner::Stage(Box::new(Mixing {
            config: self.clone(),
            classes: image.classes,
            stage: context.stage.to_owned(),
            seed: context.run.seed,
        })))
    }

    fn as_prepares(&self) -> Option<&dyn Prepares> {
        Some(self)
    }
}

impl Prepares for Mixer {
    fn preprocessing(&self, _: &[Port]) -> Option<Preprocessing> {
        Some(Preprocessing::random(Chance { field: "", instead: "leave the stage out" }))
    }
}

struct Mixing {
    config: Mixer,
    classes: usize,
    // What the random numbers are keyed by.
    stage: String,
    seed: u64,
}

impl Stage for Mixing {
    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
        async move {
            while let Some(item) = ports.receive(0).await {
                let Item::Batch(mut batch) = item else { bail!("it takes batches only") };
                check_labels(&batch, self.classes)?;
                self.mix(&mut batch);
                if ports.send(Item::Batch(batch)).await.is_err() {
                    break;
                }
            }
            Ok(())
        }
        .boxed()
    }
}

impl Mixing {
    /// Mixes every image with the one before it as that was.
    fn mix(&self, batch: &mut Batch) {
        let pixels = batch.shape.iter().product::<usize>();
        let (count, shape) = (batch.ids.len(), batch.shape);
        if count < 2 || pixels == 0 {
            return;
        }
        let last = batch.images[(count - 1) * pixels..].to_vec();
        let labels = batch.labels.clone();
        // Backwards, so that the one before is still unmixed.
        for at in (0..count).rev() {
            let (earlier, from) = batch.images.split_at_mut(at * pixels);
            let before = if at == 0 { &last } else { &earlier[(at - 1) * pixels..] };
            let id = batch.ids[at];
            let mut random = Random::keyed(self.seed, &self.stage, id.epoch, id.index);
            let kept = self.mix_image(&mut from[..pixels], before, shape, &mut random);
            if kept < 1.0 {
                let other = &labels[at.checked_sub(1).unwrap_or(count - 1)];
                batch.labels[at] = self.mix_labels(&labels[at], other, kept);
            }
        }
    }

    /// Mixes an image with another, and gives the share that is left of it.
    fn mix_image(
        &self,
        image: &mut [f32],
        other: &[f32],
        shape @ [height, width, _]: [usize; 3],
        random: &mut Random,
    ) -> f32 {
        let drawn = f64::from(random.unit());
        let mixup = self.config.mixup.filter(|mixup| drawn < mixup.probability);
        let up_to = self.config.mixup.map_or(0.0, |mixup| mixup.probability);
        let cutmix = self.config.cutmix.filter(|cutmix| drawn < up_to + cutmix.probability);
        if let Some(Mixup { alpha, .. }) = mixup {
            let kept = beta(alpha, random) as f32;
            for (value, other) in image.iter_mut().zip(other) {
                *value = kept * *value + (1.0 - kept) * other;
            }
            kept
        } else if let Some(Cutmix { alpha, .. }) = cutmix {
            let side = (1.0 - beta(alpha, random)).sqrt();
            let sides = [height, width].map(|length| (length as f64 * side).round() as usize);
            let centre = [random.below(height), random.below(width)];
            let patch = Patch::around(centre, sides, [height, width]);
            for row in patch.rows(shape) {
                image[row.clone()].copy_from_slice(&other[row]);
            }
            1.0 - patch.area() as f32 / (height * width) as f32
        } else {
            1.0
        }
    }

    fn mix_labels(&self, label: &Label, other: &Label, kept: f32) -> Label {
        let mut shares = vec![0.0; self.classes];
        add(label, kept, &mut shares);
        add(other, 1.0 - kept, &mut shares);
        Label::Distribution(shares.into())
    }
}

/// Adds a part of a label.
fn add(label: &Label, part: f32, shares: &mut [f32]) {
    match label {
        Label::Class(class) => shares[*class as usize] += part,
        Label::Distribution(given) => {
            shares.iter_mut().zip(&**given).for_each(|(share, given)| *share += part * given);
        }
    }
}

#[cfg(test)]
mod tests {
    use compute::pass::Pass;
    use flow::item::SampleId;

    use super::*;
    use crate::testing::{bytes_port, run, settings, source};

    const SHAPE: [usize; 3] = [8, 6, 2];
    const PIXELS: usize = 8 * 6 * 2;

    /// Image `i` holds `i` everywhere, and its class is its number.
    fn batch(epoch: u64, images: usize) -> Batch {
        Batch {
            source: source(10),
            number: 0,
            ids: (0..images as u64).map(|index| SampleId { epoch, index }).collect(),
            labels: (0..images).map(|at| Label::Class(at as u32)).collect(),
            shape: SHAPE,
            images: (0..images).flat_map(|at| vec![at as f32; PIXELS]).collect(),
            whole: images,
            ends_epoch: true,
            pass: Pass::open(10, images as u64),
            samples_end: images as u64,
        }
    }

    fn port(size: usize) -> Port {
        let Port::Samples(image) = bytes_port(SHAPE) else { panic!("not images") };
        Port::Batches(image, size)
    }

    fn mixed(config: &Mixer, batch: Batch) -> Batch {
        let port = port(batch.ids.len().max(2));
        let (mut items, _) = run(config, port, vec![Item::Batch(batch)], &settings(3));
        match items.pop() {
            Some(Item::Batch(batch)) if items.is_empty() => batch,
            other => panic!("{other:?}"),
        }
    }

    /// What is left of the class of each image, and of the class before it.
    fn shares(batch: &Batch) -> Vec<(f32, f32)> {
        let count = batch.labels.len();
        let share = |(at, label): (usize, &Label)| {
            let mut shares = vec![0.0; 10];
            label.write(&mut shares);
            assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            (shares[at], shares[(at + count - 1) % count])
        };
        batch.labels.iter().enumerate().map(share).collect()
    }

    fn only_mixup() -> Mixer {
        let mixup = Some(Mixup { alpha: 1.0, probability: 1.0 });
        Mixer { mixup, cutmix: None }
    }

    fn only_cutmix() -> Mixer {
        let cutmix = Some(Cutmix { alpha: 1.0, probability: 1.0 });
        Mixer { mixup: None, cutmix }
    }

    #[test]
    fn mixup_weighs_images_as_it_weighs_labels() {
        let batch = mixed(&only_mixup(), batch(0, 10));
        for (at, (own, other)) in shares(&batch).into_iter().enumerate() {
            let before = (at + 9) % 10;
            let expected = own * at as f32 + other * before as f32;
            let values = &batch.images[at * PIXELS..][..PIXELS];
            assert!(values.iter().all(|value| (value - expected).abs() < 1e-5), "{at}");
        }
        let kept: Vec<f32> = shares(&batch).into_iter().map(|(own, _)| own).collect();
        assert!(kept.iter().any(|k| *k < 0.3) && kept.iter().any(|k| *k > 0.7), "{kept:?}");
    }

    #[test]
    fn cutmix_gives_a_label_the_share_of_what_is_seen() {
        let mut partly = 0;
        for epoch in 0..20 {
            let batch = mixed(&only_cutmix(), batch(epoch, 10));
            for (at, (own, other)) in shares(&batch).into_iter().enumerate() {
                let values = &batch.images[at * PIXELS..][..PIXELS];
                let count = |n: usize| values.iter().filter(|value| **value == n as f32).count();
                let before = (at + 9) % 10;
                assert_eq!(count(at) + count(before), PIXELS);
                assert!((count(at) as f32 / PIXELS as f32 - own).abs() < 1e-6, "{own} {other}");
                partly += u32::from(own > 0.0 && other > 0.0);
            }
        }
        assert!(partly > 150, "{partly} of 200");
    }

    #[test]
    fn chance_leaves_some_as_they_are_and_decides_between_both() {
        let config = Mixer {
            mixup: Some(Mixup { alpha: 1.0, probability: 0.25 }),
            cutmix: Some(Cutmix { alpha: 1.0, probability: 0.25 }),
        };
        let (mut plain, mut blended, mut cut) = (0, 0, 0);
        for epoch in 0..100 {
            let batch = mixed(&config, batch(epoch, 10));
            for (values, label) in batch.images.chunks(PIXELS).zip(&batch.labels) {
                match label {
                    Label::Class(class) => {
                        assert!(values.iter().all(|value| *value == *class as f32));
                        plain += 1;
                    }
                    Label::Distribution(_) if values.iter().all(|v| v.fract() == 0.0) => cut += 1,
                    Label::Distribution(_) => blended += 1,
                }
            }
        }
        // A rectangle may be too small to show anything.
        assert!((440..600).contains(&plain), "{plain} {blended} {cut}");
        assert!((190..310).contains(&blended) && (170..310).contains(&cut), "{blended} {cut}");
    }

    #[test]
    fn mixed_images_can_be_mixed_again_and_one_alone_stays() {
        let twice = mixed(&only_mixup(), mixed(&only_mixup(), batch(0, 4)));
        for label in &twice.labels {
            let Label::Distribution(shares) = label else { panic!("mixed") };
            assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
        let one = mixed(&only_mixup(), batch(0, 1));
        assert_eq!((one.labels, one.images), (batch(0, 1).labels, batch(0, 1).images));
    }

    #[test]
    fn a_mixture_depends_on_the_seed_and_the_images_alone() {
        let a = mixed(&only_cutmix(), batch(0, 10));
        let mut numbered = batch(0, 10);
        numbered.number = 7;
        assert_eq!(mixed(&only_cutmix(), numbered).images, a.images);
        assert_ne!(mixed(&only_cutmix(), batch(1, 10)).images, a.images);
    }

    #[test]
    fn what_cannot_be_mixed_is_told() {
        let field = |config: Mixer| config.check(&[port(128)]).expect_err("wrong").field.join(".");
        assert_eq!(field(Mixer::default()), "");
        let none = Some(Mixup { alpha: 1.0, probability: 0.0 });
        let warnings = Mixer { mixup: none, ..only_cutmix() }.warnings(&[port(128)]);
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].field, ["mixup", "probability"]);
        let mixup = Some(Mixup { alpha: 0.0, ..Mixup::default() });
        assert_eq!(field(Mixer { mixup, ..Mixer::default() }), "mixup.alpha");
        let cutmix = Some(Cutmix { probability: 0.6, ..Cutmix::default() });
        let both = Mixer { mixup: Some(Mixup::default()), cutmix };
        assert_eq!(field(both), "cutmix.probability");
        let wrong = only_mixup().check(&[bytes_port(SHAPE)]).expect_err("no batches");
        assert!(wrong.message.contains("takes batches"), "{}", wrong.message);
        assert!(only_mixup().check(&[port(1)]).is_err());
        match only_mixup().check(&[port(128)]) {
            Ok(Some(Port::Batches(image, 128))) => assert!(!image.whole_epochs),
            other => panic!("{other:?}"),
        }
    }
}
