//! Gives every image mean 0 and standard deviation 1.

use std::sync::Arc;

use anyhow::Result;
use base::random::Random;
use flow::item::Sample;
use flow::port::{ImageType, PixelType, Port};
use flow::preprocessing::{Operation, Preprocessing};
use flow::stage::{Config, Context, Exports, Kind, Map, Mismatch, Offset, Prepares, Runner};
use onnx::{Attribute, Builder, Tensor, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Catalog;
use crate::inputs;
use crate::lanes;
use crate::workers::Workers;

/// Subtracts from each image the mean of all its values and divides by their standard deviation,
/// but by no less than 1 / sqrt(number of values), so that an image of one colour becomes all 0.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Whitening {
    /// Threads that do it, at most 1024; 0 for one per core.
    pub workers: Workers,
}

/// The kind of this stage.
pub fn kind(_: &Catalog) -> Kind {
    Kind::of::<Whitening>(
        "whitening",
        "Gives every image mean 0 and standard deviation 1 over all its values.",
        "{}",
    )
}

impl Config for Whitening {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let image = inputs::one_samples("whitening", inputs)?;
        Ok(Some(Port::Samples(ImageType { pixel: PixelType::F32, ..image })))
    }

    fn build(&self, _: &Context<'_>) -> Result<Runner> {
        Ok(Runner::Map { map: Arc::new(Whiten), workers: self.workers.count() })
    }

    fn as_exports(&self) -> Option<&dyn Exports> {
        Some(self)
    }

    fn as_prepares(&self) -> Option<&dyn Prepares> {
        Some(self)
    }
}

impl Exports for Whitening {
    fn onnx(&self, file: &mut Builder, images: &Value) -> Result<Value> {
        let mean_of = |file: &mut Builder, from: &str| {
            file.node("ReduceMean", &[from], &[("axes", Attribute::Ints(vec![1, 2, 3]))])
        };
        let mean = mean_of(file, &images.name);
        let centred = file.node("Sub", &[&images.name, &mean], &[]);
        let squares = file.node("Mul", &[&centred, &centred], &[]);
        let variance = mean_of(file, &squares);
        let deviation = file.node("Sqrt", &[&variance], &[]);
        let least = least_deviation(images.shape.iter().product()) as f32;
        let least = file.constant("least", &Tensor { shape: Vec::new(), values: vec![least] });
        let divisor = file.node("Max", &[&deviation, &least], &[]);
        let name = file.node("Div", &[&centred, &divisor], &[]);
        Ok(Value { name, ..images.clone() })
    }

    fn in_words(&self, _: &[Port]) -> Option<String> {
        Some(
            "the mean of all values of the image is subtracted, and what is left is divided by their \
             standard deviation (over n, not n - 1), by 1 / sqrt(n) at least, n being the number of \
             values"
                .to_owned(),
        )
    }
}

impl Prepares for Whitening {
    fn preprocessing(&self, _: &[Port]) -> Option<Preprocessing> {
        Some(Preprocessing::always(Operation::default().of_whole_image().rescaling()))
    }

    fn offset(&self) -> Offset {
        Offset::Vanishes
    }
}

/// What the values of an image are divided by at least.
fn least_deviation(values: usize) -> f64 {
    1.0 / (values.max(1) as f64).sqrt()
}

struct Whiten;

impl Map for Whiten {
    fn map(&self, sample: &mut Sample, _: &mut Random) -> Result<()> {
        let values = sample.image.as_f32();
        let (mean, variance) = lanes::mean_and_variance(values);
        let least = least_deviation(values.len());
        let (mean, scale) = (mean as f32, (1.0 / variance.sqrt().max(least)) as f32);
        // Subtracting first keeps an image of one colour at exactly 0.
        values.iter_mut().for_each(|value| *value = (*value - mean) * scale);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flow::item::Pixels;

    use super::*;
    use crate::testing::{bytes_port, map, noise, reals, sample};

    const SHAPE: [usize; 3] = [24, 24, 3];

    fn whitened(sample: &Sample) -> Vec<f32> {
        let mut samples = [sample.clone()];
        map(&Whitening::default(), bytes_port(SHAPE), &mut samples, 1);
        reals(&samples[0])
    }

    fn with_reals(sample: &Sample, change: impl Fn(usize, f32) -> f32) -> Sample {
        let mut sample = sample.clone();
        let values = reals(&sample);
        sample.image.pixels =
            Pixels::F32(values.iter().enumerate().map(|(at, v)| change(at, *v)).collect());
        sample
    }

    fn mean(values: impl Iterator<Item = f64>) -> f64 {
        let (sum, count) = values.fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
        sum / count
    }

    fn close(a: &[f32], b: &[f64], tolerance: f64) -> bool {
        a.iter().zip(b).all(|(a, b)| (f64::from(*a) - b).abs() < tolerance)
    }

    #[test]
    fn the_mean_is_0_and_the_deviation_1() {
        let values = whitened(&noise(0, SHAPE));
        assert!(mean(values.iter().map(|v| f64::from(*v))).abs() < 1e-6);
        assert!((mean(values.iter().map(|v| f64::from(*v).powi(2))) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn an_image_of_one_colour_becomes_0() {
        for value in [0, 1, 77, 255] {
            let flat = sample(0, 0, SHAPE, vec![value; 1728]);
            assert!(whitened(&flat).iter().all(|value| *value == 0.0));
        }
        let flat = with_reals(&noise(0, SHAPE), |_, _| 100.3);
        assert!(whitened(&flat).iter().all(|value| *value == 0.0));
    }

    #[test]
    fn the_divisor_is_at_least_one_over_the_root_of_1728() {
        // One value differs by 0.1: the deviation is 0.1 * sqrt(1727) / 1728 = 0.0024.
        let faint = with_reals(&noise(0, SHAPE), |at, _| if at == 0 { 0.1 } else { 0.0 });
        let expected = (0.1 - 0.1 / 1728.0) / 0.024_056_261;
        assert!((f64::from(whitened(&faint)[0]) - expected).abs() < 1e-5);
    }

    #[test]
    fn brightness_makes_no_difference() {
        let image = noise(1, SHAPE);
        let plain: Vec<f64> = whitened(&image).iter().map(|v| f64::from(*v)).collect();
        for delta in [-63.0, 12.5, 63.0] {
            let brighter = whitened(&with_reals(&image, |_, value| value + delta));
            assert!(close(&brighter, &plain, 1e-5));
        }
    }

    #[test]
    fn contrast_only_shifts_the_balance_within_and_between_channels() {
        // With W the mean variance within channels, B the variance of the channel means m_c and M
        // the mean of all: (f (x - m_c) + (m_c - M)) / sqrt(f^2 W + B).
        let image = with_reals(&noise(2, SHAPE), |at, value| value * 0.5 + 40.0 * (at % 3) as f32);
        let values: Vec<f64> = reals(&image).iter().map(|v| f64::from(*v)).collect();
        let channel = |c: usize| values.iter().copied().skip(c).step_by(3);
        let means = [0, 1, 2].map(|c| mean(channel(c)));
        let overall = mean(means.into_iter());
        let within = mean((0..3).map(|c| mean(channel(c).map(|v| (v - means[c]).powi(2)))));
        let between = mean(means.iter().map(|m| (m - overall).powi(2)));
        for (factor, delta) in [(0.2, -40.0), (1.0, 0.0), (1.8, 63.0)] {
            let distorted = with_reals(&image, |at, value| {
                let centre = means[at % 3];
                ((f64::from(value) - centre) * factor + centre + delta) as f32
            });
            let root = (factor * factor * within + between).sqrt();
            let expected: Vec<f64> = values
                .iter()
                .enumerate()
                .map(|(at, v)| (factor * (v - means[at % 3]) + means[at % 3] - overall) / root)
                .collect();
            assert!(close(&whitened(&distorted), &expected, 1e-5));
        }
    }
}
