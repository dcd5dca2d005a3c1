//! Mirrors images and changes their brightness and contrast at random.

use std::sync::Arc;

use anyhow::Result;
use base::random::Random;
use flow::item::{Sample, SampleId};
use flow::port::{ImageType, PixelType, Port};
use flow::preprocessing::{Operation, Preprocessing};
use flow::stage::{Config, Context, Kind, Map, Mismatch, Offset, Prepares, Runner};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Catalog;
use crate::effect::{self, Effect};
use crate::idle;
use crate::inputs;
use crate::lanes;
use crate::mirror;
use crate::probability;
use crate::switch::Switch;
use crate::workers::Workers;

/// Mirrors images and changes brightness and contrast at random, in this order, on values from 0
/// to 255 that are then not clipped. Each of the three is done with the tutorial's numbers unless
/// it is given others, or switched off with `false`. Switching one off leaves the random numbers
/// of the others as they are.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Distorter {
    /// Left becomes right; `false` for never.
    pub flip: Switch<Flip>,
    /// One number is added to all values of an image; `false` for never. A `whitening` after it
    /// takes it out again: it is there because the tutorial has it.
    pub brightness: Switch<Brightness>,
    /// The distance of each value from the mean of its channel is scaled; `false` for never.
    pub contrast: Switch<Contrast>,
    /// Threads that do it, at most 1024; 0 for one per core.
    pub workers: Workers,
}

/// Left becomes right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Flip {
    /// The share of images that are mirrored, 0 to 1.
    pub probability: f64,
    /// Whether chance is for the first epoch only, and after that an image is mirrored whenever it
    /// was not the last time: no two epochs in a row show it alike (Jordan, "94% on CIFAR-10 in
    /// 3.29 seconds on a single GPU", 2024).
    pub alternating: bool,
}

/// One number is added to all values of an image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Brightness {
    /// The number lies between minus this and this, on the scale of 0 to 255.
    pub max_delta: f64,
    /// The share of images that are changed, 0 to 1.
    pub probability: f64,
}

/// The distance of each value from the mean of its channel is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Contrast {
    /// The least factor; 1 changes nothing.
    pub lower: f64,
    /// The largest factor.
    pub upper: f64,
    /// The share of images that are changed, 0 to 1.
    pub probability: f64,
}

impl Default for Flip {
    fn default() -> Self {
        Self { probability: 0.5, alternating: false }
    }
}

impl Default for Brightness {
    fn default() -> Self {
        Self { max_delta: 63.0, probability: 1.0 }
    }
}

impl Default for Contrast {
    fn default() -> Self {
        Self { lower: 0.2, upper: 1.8, probability: 1.0 }
    }
}

/// The kind of this stage.
pub fn kind(_: &Catalog) -> Kind {
    Kind::of::<Distorter>(
        "distorter",
        "Mirrors images and changes their brightness and contrast at random.",
        "{ flip: { probability: 0.5 }, brightness: false, contrast: { lower: 0.2, upper: 1.8 } }",
    )
}

fn check_probability(part: &str, probability: f64) -> Result<(), Mismatch> {
    let never = format!("for never, write `{part}: false`");
    probability::check(&format!("{part}.probability"), probability, &never)
}

impl Config for Distorter {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let image = inputs::one_samples("distorter", inputs)?;
        let mut wrong = Vec::new();
        if let Some(flip) = self.flip.on() {
            wrong.extend(check_probability("flip", flip.probability).err());
        }
        if let Some(brightness) = self.brightness.on() {
            wrong.extend(check_probability("brightness", brightness.probability).err());
            let delta = brightness.max_delta;
            if !(delta.is_finite() && delta >= 0.0) {
                let message = format!("expected a number from 0 upwards, found {delta}");
                wrong.push(
                    Mismatch::field("brightness.max_delta", message)
                        .help("values run from 0 to 255; the tutorial has 63"),
                );
            }
        }
        if let Some(contrast) = self.contrast.on() {
            wrong.extend(check_probability("contrast", contrast.probability).err());
            let Contrast { lower, upper, .. } = *contrast;
            if !(lower.is_finite() && lower >= 0.0) {
                let message = format!("expected a factor from 0 upwards, found {lower}");
                wrong.push(
                    Mismatch::field("contrast.lower", message)
                        .help("1 changes nothing; the tutorial has 0.2"),
                );
            }
            if !(upper.is_finite() && upper >= lower) {
                let message = format!("expected at least `lower`, {lower}, found {upper}");
                wrong.push(
                    Mismatch::field("contrast.upper", message)
                        .help("1 changes nothing; the tutorial has 1.8"),
                );
            }
        }
        Mismatch::all(wrong)?;
        Ok(Some(Port::Samples(ImageType { pixel: PixelType::F32, ..image })))
    }

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        let map = Arc::new(Distort {
            config: self.clone(),
            stage: context.stage.to_owned(),
            seed: context.run.seed,
        });
        Ok(Runner::Map { map, workers: self.workers.count() })
    }

    fn warnings(&self, _: &[Port]) -> Vec<Mismatch> {
        let flip = self.flip.on().filter(|flip| !flip.alternating);
        let flip = flip.and_then(|flip| idle::switched_on("flip", flip.probability, false));
        let brightness = self.brightness.on();
        let brightness = brightness
            .and_then(|on| idle::switched_on("brightness", on.probability, on.max_delta == 0.0));
        let contrast = self.contrast.on();
        let contrast = contrast.and_then(|on| {
            idle::switched_on("contrast", on.probability, (on.lower, on.upper) == (1.0, 1.0))
        });
        let off = self.flip.on().is_none()
            && self.brightness.on().is_none()
            && self.contrast.on().is_none();
        let all_off = off.then(|| {
            Mismatch::new("it changes nothing with all three off").help("leave the stage out")
        });
        [flip, brightness, contrast, all_off].into_iter().flatten().collect()
    }

    fn as_prepares(&self) -> Option<&dyn Prepares> {
        Some(self)
    }
}

impl Prepares for Distorter {
    fn offset(&self) -> Offset {
        Offset::Stays
    }

    fn preprocessing(&self, _: &[Port]) -> Option<Preprocessing> {
        let flip = self.flip.on().map_or(Effect::None, |on| match on.probability {
            1.0 if !on.alternating => Effect::Always(Operation::of("flip")),
            probability => Effect::random(probability),
        });
        let brightness = self.brightness.on().map_or(Effect::None, |on| match on.max_delta {
            0.0 => Effect::None,
            _ => Effect::random(on.probability),
        });
        let contrast = self.contrast.on().map_or(Effect::None, |on| {
            Effect::of_factor("contrast", on.lower, on.upper, on.probability)
        });
        Some(effect::preprocessing([flip, brightness, contrast]))
    }

    fn adds_offset(&self) -> Option<&'static str> {
        self.brightness.on().map(|_| "brightness")
    }
}

struct Distort {
    config: Distorter,
    // What the engine keys this stage's random numbers by.
    stage: String,
    seed: u64,
}

impl Distort {
    /// Whether an image is mirrored, by the number drawn for it in this epoch.
    fn flips(&self, id: SampleId, drawn: f64) -> bool {
        match self.config.flip.on() {
            None => false,
            Some(on) if on.alternating => {
                let first = Random::keyed(self.seed, &self.stage, 0, id.index).unit();
                (f64::from(first) < on.probability) == id.epoch.is_multiple_of(2)
            }
            Some(on) => drawn < on.probability,
        }
    }
}

impl Map for Distort {
    fn map(&self, sample: &mut Sample, random: &mut Random) -> Result<()> {
        // All five are drawn whatever is switched on, so that each always gets the same ones.
        let [flip, brighten, delta, contrast, factor] =
            std::array::from_fn(|_| f64::from(random.unit()));
        let id = sample.id;
        let [_, width, channels] = sample.image.shape;
        let values = sample.image.as_f32();
        if self.flips(id, flip) {
            mirror::rows(values, width, channels);
        }
        let delta = match self.config.brightness.on() {
            Some(on) if brighten < on.probability => (2.0 * delta - 1.0) * on.max_delta,
            _ => 0.0,
        };
        let factor = match self.config.contrast.on() {
            Some(on) if contrast < on.probability => on.lower + (on.upper - on.lower) * factor,
            _ => 1.0,
        };
        brighten_and_contrast(values, channels, delta, factor);
        Ok(())
    }
}

/// Adds `delta`, then scales the distance from each channel's mean, in one pass: the mean moves
/// with `delta`, so ((x + delta) - (mean + delta)) * factor + mean + delta is one line in x.
fn brighten_and_contrast(values: &mut [f32], channels: usize, delta: f64, factor: f64) {
    if factor == 1.0 {
        if delta != 0.0 {
            let delta = delta as f32;
            values.iter_mut().for_each(|value| *value += delta);
        }
        return;
    }
    let shift: Vec<f32> = lanes::channel_means(values, channels)
        .iter()
        .map(|mean| (mean * (1.0 - factor) + delta) as f32)
        .collect();
    lanes::scale_and_shift(values, &vec![factor as f32; channels], &shift);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bytes_port, map, noise, reals};

    const SHAPE: [usize; 3] = [24, 24, 3];
    const OFF: Distorter = Distorter {
        flip: Switch::Off,
        brightness: Switch::Off,
        contrast: Switch::Off,
        workers: Workers::PER_CORE,
    };

    fn always_flip() -> Distorter {
        Distorter { flip: Switch::On(Flip { probability: 1.0, alternating: false }), ..OFF }
    }

    fn distorted(config: &Distorter, samples: &[Sample], seed: u64) -> Vec<Vec<f32>> {
        let mut samples = samples.to_vec();
        map(config, bytes_port(samples[0].image.shape), &mut samples, seed);
        samples.iter().map(reals).collect()
    }

    fn samples(count: u64) -> Vec<Sample> {
        (0..count).map(|index| noise(index, SHAPE)).collect()
    }

    #[test]
    fn flipping_twice_changes_nothing_and_once_reverses_the_rows() {
        for channels in [1, 2, 3] {
            let shape = [5, 7, channels];
            let before = noise(0, shape);
            let mut once = [before.clone()];
            map(&always_flip(), bytes_port(shape), &mut once, 1);
            let (from, to) = (reals(&before), reals(&once[0]));
            for y in 0..5 {
                for x in 0..7 {
                    let pixel = |values: &[f32], x: usize| {
                        values[(y * 7 + x) * channels..][..channels].to_vec()
                    };
                    assert_eq!(pixel(&from, x), pixel(&to, 6 - x));
                }
            }
            map(&always_flip(), bytes_port(shape), &mut once, 1);
            assert_eq!(reals(&once[0]), from);
        }
    }

    #[test]
    fn half_of_the_images_are_flipped() {
        let config = Distorter { flip: Switch::default(), ..OFF };
        let samples = samples(1000);
        let flipped = distorted(&config, &samples, 1)
            .iter()
            .zip(&samples)
            .filter(|(after, before)| **after != reals(before))
            .count();
        assert!((430..570).contains(&flipped), "{flipped} of 1000");
    }

    #[test]
    fn an_alternating_flip_begins_as_the_other_and_then_never_repeats_itself() {
        let flipped = |alternating, epoch| -> Vec<bool> {
            let flip = Switch::On(Flip { alternating, ..Flip::default() });
            let mut samples = samples(400);
            samples.iter_mut().for_each(|sample| sample.id.epoch = epoch);
            let after = distorted(&Distorter { flip, ..OFF }, &samples, 1);
            after.iter().zip(&samples).map(|(after, before)| *after != reals(before)).collect()
        };
        let first = flipped(true, 0);
        assert_eq!(first, flipped(false, 0));
        assert_ne!(first, flipped(false, 2), "chance alone repeats nothing");
        let other: Vec<bool> = first.iter().map(|flipped| !flipped).collect();
        for epoch in 1..5 {
            let expected = if epoch % 2 == 0 { &first } else { &other };
            assert_eq!(&flipped(true, epoch), expected, "epoch {epoch}");
        }
    }

    #[test]
    fn brightness_adds_one_number_within_bounds_and_does_not_clip() {
        let config = Distorter { brightness: Switch::default(), ..OFF };
        let samples = samples(500);
        let mut deltas = Vec::new();
        for (after, before) in distorted(&config, &samples, 1).iter().zip(&samples) {
            let before = reals(before);
            let delta = after[0] - before[0];
            assert!(after.iter().zip(&before).all(|(a, b)| (a - b - delta).abs() < 1e-3));
            deltas.push(delta);
        }
        assert!(deltas.iter().all(|delta| (-63.0..63.0).contains(delta)));
        assert!(deltas.iter().any(|delta| *delta < -55.0) && deltas.iter().any(|d| *d > 55.0));
    }

    #[test]
    fn contrast_scales_around_the_mean_of_each_channel() {
        let config =
            Distorter { brightness: Switch::default(), contrast: Switch::default(), ..OFF };
        let samples = samples(200);
        let mut factors = Vec::new();
        for (after, before) in distorted(&config, &samples, 1).iter().zip(&samples) {
            let before = reals(before);
            let mean = |values: &[f32], channel| {
                let of_channel = values.iter().skip(channel).step_by(3);
                of_channel.map(|value| f64::from(*value)).sum::<f64>() / 576.0
            };
            let delta = mean(after, 0) - mean(&before, 0);
            let factor =
                (f64::from(after[0]) - mean(after, 0)) / (f64::from(before[0]) - mean(&before, 0));
            factors.push(factor);
            for (at, value) in after.iter().enumerate() {
                let mean = mean(&before, at % 3);
                let expected = (f64::from(before[at]) - mean) * factor + mean + delta;
                assert!((f64::from(*value) - expected).abs() < 0.05, "{value} {expected}");
            }
        }
        assert!(factors.iter().all(|factor| (0.19..1.81).contains(factor)));
        assert!(factors.iter().any(|f| *f < 0.4) && factors.iter().any(|f| *f > 1.6));
    }

    #[test]
    fn one_switched_off_leaves_the_numbers_of_the_others() {
        let samples = samples(50);
        let delta = |config: &Distorter| -> Vec<f32> {
            let after = distorted(config, &samples, 1);
            after.iter().zip(&samples).map(|(a, b)| sum(a) - sum(&reals(b))).collect()
        };
        fn sum(values: &[f32]) -> f32 {
            values.iter().sum::<f32>() / values.len() as f32
        }
        let all = delta(&Distorter::default());
        let some = delta(&Distorter { brightness: Switch::default(), ..OFF });
        assert!(all.iter().zip(&some).all(|(a, b)| (a - b).abs() < 0.01));
    }

    #[test]
    fn a_distortion_depends_on_the_seed_and_the_sample_and_not_on_the_order() {
        let forth = samples(20);
        let back: Vec<Sample> = forth.iter().rev().cloned().collect();
        let mut reversed = distorted(&Distorter::default(), &back, 1);
        reversed.reverse();
        assert_eq!(distorted(&Distorter::default(), &forth, 1), reversed);
        assert_ne!(distorted(&Distorter::default(), &forth, 2), reversed);
    }

    #[test]
    fn what_changes_nothing_is_told() {
        let told = |text| {
            let config: Distorter = serde_json::from_str(text).expect(text);
            let warnings = config.warnings(&[bytes_port(SHAPE)]);
            warnings.iter().map(|warning| warning.field.join(".")).collect::<Vec<_>>()
        };
        assert!(told("{}").is_empty());
        assert_eq!(told(r#"{"flip": false, "brightness": false, "contrast": false}"#), [""]);
        let idle = r#"{"flip": {"probability": 0}, "brightness": {"max_delta": 0},
                       "contrast": {"lower": 1, "upper": 1}}"#;
        assert_eq!(told(idle), ["flip.probability", "brightness", "contrast"]);
        // Mirrored in every other epoch.
        assert!(told(r#"{"flip": {"probability": 0, "alternating": true}}"#).is_empty());
    }

    #[test]
    fn the_tutorials_numbers_are_the_defaults() {
        let read = |text| serde_json::from_str::<Distorter>(text).expect(text);
        let default = read("{}");
        assert_eq!(default.flip.on().expect("on").probability, 0.5);
        assert_eq!(default.brightness.on().expect("on").max_delta, 63.0);
        let contrast = default.contrast.on().expect("on");
        assert_eq!((contrast.lower, contrast.upper), (0.2, 1.8));
        let some = read(r#"{"brightness": null, "contrast": {"lower": 0.5}}"#);
        assert_eq!((some.brightness.on(), some.contrast.on().expect("on").upper), (None, 1.8));
    }

    #[test]
    fn impossible_numbers_are_told_with_their_place() {
        let field = |config: Distorter| {
            config.check(&[bytes_port(SHAPE)]).expect_err("impossible").field.join(".")
        };
        let flip = Switch::On(Flip { probability: 1.5, alternating: false });
        assert_eq!(field(Distorter { flip, ..OFF }), "flip.probability");
        let brightness = Switch::On(Brightness { max_delta: -1.0, probability: 1.0 });
        assert_eq!(field(Distorter { brightness, ..OFF }), "brightness.max_delta");
        let contrast = Switch::On(Contrast { lower: 2.0, ..Contrast::default() });
        assert_eq!(field(Distorter { contrast, ..OFF }), "contrast.upper");
        let contrast = Switch::On(Contrast { lower: f64::NAN, ..Contrast::default() });
        assert_eq!(field(Distorter { contrast, ..OFF }), "contrast.lower");
    }
}
