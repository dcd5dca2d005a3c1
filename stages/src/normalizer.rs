//! Scales images by the statistics of their data set.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use base::random::Random;
use flow::item::Sample;
use flow::lint::{Around, Note};
use flow::port::{ImageType, PixelType, Port};
use flow::preprocessing::{Operation, Preprocessing};
use flow::stage::{Config, Context, Exports, Kind, Map, Mismatch, Prepares, Runner};
use onnx::{Builder, Tensor, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Catalog;
use crate::channels::Channels;
use crate::inputs;
use crate::lanes;
use crate::lints::NORMALIZER_RANGE;
use crate::workers::Workers;

/// Subtracts from each value the mean of its channel over the data set and divides by the channel's
/// standard deviation: unlike `whitening`, the same for every image. Both are on the scale of 0 to
/// 255. CIFAR-10's training images have the means [125.3, 122.95, 113.87] and the deviations
/// [62.99, 62.09, 66.7]; ImageNet's usual numbers are [123.675, 116.28, 103.53] and [58.395, 57.12,
/// 57.375].
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Normalizer {
    /// What is subtracted: a number for each channel, or one for all.
    pub mean: Channels,
    /// What is divided by then: above 0, a number for each channel, or one for all.
    pub deviation: Channels,
    /// Threads that do it, at most 1024; 0 for one per core.
    #[serde(default)]
    pub workers: Workers,
}

/// The kind of this stage.
pub fn kind(_: &Catalog) -> Kind {
    let kind = Kind::of::<Normalizer>(
        "normalizer",
        "Scales images by mean and standard deviation of their data set.",
        "{ mean: [125.3, 122.95, 113.87], deviation: [62.99, 62.09, 66.7] }",
    );
    Kind { lints: vec![&NORMALIZER_RANGE], ..kind }
}

impl Normalizer {
    /// Factor and summand of each channel.
    fn factors(&self, channels: usize) -> Result<Scale, Mismatch> {
        let mut wrong = Vec::new();
        let mut read = |field: &str, numbers: &Channels, least: f64| {
            let found = numbers.written().iter().find(|n| !(n.is_finite() && **n > least));
            if let Some(number) = found {
                let above = if least == 0.0 { " above 0" } else { "" };
                let message = format!("expected numbers{above}, found {number}");
                wrong.push(Mismatch::field(field, message));
            }
            let of_channels = numbers.of(channels);
            if of_channels.is_none() {
                let count = numbers.written().len();
                let message = format!("{count} numbers for images of {channels} channels");
                let help = format!("one for all, or {channels}");
                wrong.push(Mismatch::field(field, message).help(help));
            }
            of_channels.unwrap_or_default()
        };
        let mean = read("mean", &self.mean, f64::NEG_INFINITY);
        let deviation = read("deviation", &self.deviation, 0.0);
        Mismatch::all(wrong)?;
        let scale: Vec<f32> = deviation.iter().map(|deviation| (1.0 / deviation) as f32).collect();
        let shift: Vec<f32> = mean.iter().zip(&deviation).map(|(m, d)| (-m / d) as f32).collect();
        if let Some(at) =
            (0..channels).find(|at| !(scale[*at].is_normal() && shift[*at].is_finite()))
        {
            let (mean, deviation) = (mean[at], deviation[at]);
            let message = format!(
                "a mean of {mean} divided by a deviation of {deviation} is beyond what 32 bits hold"
            );
            return Err(Mismatch::field("deviation", message)
                .help("both are on the scale of the images, 0 to 255"));
        }
        Ok(Scale { scale, shift })
    }
}

impl Config for Normalizer {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let image = inputs::one_samples("normalizer", inputs)?;
        self.factors(image.shape[2])?;
        Ok(Some(Port::Samples(ImageType { pixel: PixelType::F32, ..image })))
    }

    fn notes(&self, around: &Around<'_>) -> Vec<Note> {
        let small = |numbers: &Channels| numbers.written().iter().all(|n| n.abs() <= 1.0);
        let is = |numbers: &Channels, one: f64| numbers.written().iter().all(|n| *n == one);
        // A mean on the right scale and a deviation of 1 only bring images around 0.
        let small_deviation =
            small(&self.deviation) && (small(&self.mean) || !is(&self.deviation, 1.0));
        let small_mean = small(&self.mean) && !is(&self.mean, 0.0);
        if !around.unscaled || !(small_deviation || small_mean) {
            return Vec::new();
        }
        let message = "these numbers are for pixels of 0 to 1, and pixels are 0 to 255 here";
        let (mean, deviation) = (self.mean.times(255.0), self.deviation.times(255.0));
        let help = match small(&self.deviation) && small(&self.mean) {
            true => format!("times 255 they are `mean: {mean}, deviation: {deviation}`"),
            false => "give mean and deviation on the scale of 0 to 255".to_owned(),
        };
        vec![NORMALIZER_RANGE.note(Mismatch::new(message).help(help))]
    }

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        let told = |wrong: Mismatch| anyhow::anyhow!(wrong.message);
        let image = inputs::one_samples("normalizer", context.inputs).map_err(told)?;
        let map = Arc::new(self.factors(image.shape[2]).map_err(told)?);
        Ok(Runner::Map { map, workers: self.workers.count() })
    }

    fn as_exports(&self) -> Option<&dyn Exports> {
        Some(self)
    }

    fn as_prepares(&self) -> Option<&dyn Prepares> {
        Some(self)
    }
}

impl Exports for Normalizer {
    fn onnx(&self, file: &mut Builder, images: &Value) -> Result<Value> {
        let channels = images.shape.last().copied().unwrap_or_default();
        let mut constant = |name: &str, numbers: &Channels| {
            let numbers = numbers.of(channels).context("there are other channels")?;
            let values = numbers.into_iter().map(|number| number as f32).collect();
            Ok::<_, anyhow::Error>(
                file.constant(name, &Tensor { shape: vec![channels, 1, 1], values }),
            )
        };
        let (mean, deviation) =
            (constant("mean", &self.mean)?, constant("deviation", &self.deviation)?);
        let centred = file.node("Sub", &[&images.name, &mean], &[]);
        let name = file.node("Div", &[&centred, &deviation], &[]);
        Ok(Value { name, ..images.clone() })
    }

    fn in_words(&self, _: &[Port]) -> Option<String> {
        let (mean, deviation) = (self.mean.written(), self.deviation.written());
        Some(format!(
            "of each channel {mean:?} is subtracted, and what is left is divided by {deviation:?} (one \
             number is for all channels)"
        ))
    }
}

impl Prepares for Normalizer {
    fn preprocessing(&self, inputs: &[Port]) -> Option<Preprocessing> {
        let channels = inputs::one_samples("normalizer", inputs).ok()?.shape[2];
        let operation = Operation::default()
            .with("mean", self.mean.plain(channels))
            .with("deviation", self.deviation.plain(channels));
        Some(Preprocessing::always(operation.rescaling()))
    }
}

struct Scale {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Map for Scale {
    fn map(&self, sample: &mut Sample, _: &mut Random) -> Result<()> {
        lanes::scale_and_shift(sample.image.as_f32(), &self.scale, &self.shift);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bytes_port, map, noise, reals};

    fn config(mean: &str, deviation: &str) -> Normalizer {
        let text = format!("{{\"mean\": {mean}, \"deviation\": {deviation}}}");
        serde_json::from_str(&text).expect("right")
    }

    #[test]
    fn every_value_is_what_the_formula_says() {
        let (mean, deviation) = ([125.3, 122.95, 113.87], [62.99, 62.09, 66.7]);
        let mut samples = [noise(0, [5, 7, 3])];
        let before = reals(&samples[0]);
        let config = config("[125.3, 122.95, 113.87]", "[62.99, 62.09, 66.7]");
        map(&config, bytes_port([5, 7, 3]), &mut samples, 1);
        for (at, (after, before)) in reals(&samples[0]).iter().zip(before).enumerate() {
            let expected = (f64::from(before) - mean[at % 3]) / deviation[at % 3];
            assert!((f64::from(*after) - expected).abs() < 1e-6, "{after} {expected}");
        }
    }

    #[test]
    fn one_number_is_for_all_channels() {
        let mut samples = [noise(0, [5, 7, 2])];
        let before = reals(&samples[0]);
        map(&config("0", "255"), bytes_port([5, 7, 2]), &mut samples, 1);
        let close = |(a, b): (&f32, &f32)| (a - b / 255.0).abs() < 1e-6;
        assert!(reals(&samples[0]).iter().zip(&before).all(close));
    }

    #[test]
    fn numbers_that_do_not_fit_are_told_all_at_once() {
        let wrong = |mean, deviation| {
            let config = config(mean, deviation);
            let wrong = config.check(&[bytes_port([8, 8, 3])]).expect_err("it does not fit");
            let also = wrong.also.iter().map(|also| also.field.join("."));
            [wrong.field.join(".")].into_iter().chain(also).collect::<Vec<_>>()
        };
        assert_eq!(wrong("[1, 2]", "0"), ["mean", "deviation"]);
        assert_eq!(wrong("0", "[1, 1, -2]"), ["deviation"]);
        assert_eq!(wrong("[0, 0, 1e38]", "1e-6"), ["deviation"]);
        assert_eq!(wrong("0", "1e-45"), ["deviation"]);
    }
}
