//! Takes the colour out of images.

use std::sync::Arc;

use anyhow::{Result, ensure};
use base::random::Random;
use flow::item::{Pixels, Sample};
use flow::port::{ImageType, PixelType, Port};
use flow::preprocessing::{Operation, Preprocessing};
use flow::stage::{Config, Context, Exports, Kind, Map, Mismatch, Offset, Prepares, Runner};
use onnx::{Builder, Tensor, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Catalog;
use crate::effect::{self, Effect};
use crate::idle;
use crate::inputs;
use crate::probability;
use crate::workers::Workers;

/// What red, green and blue contribute to grey, by ITU-R BT.601.
const WEIGHTS: [f32; 3] = [0.299, 0.587, 0.114];

/// Makes grey images of colours: `0.299 * red + 0.587 * green + 0.114 * blue` (ITU-R BT.601, as
/// TensorFlow, PIL and torchvision have it), not rounded.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grayscale {
    /// 1, or 3 for a model of colours: red, green and blue are then the grey.
    #[schemars(extend("enum" = [1, 3]))]
    pub channels: usize,
    /// The share of images that are made grey, 0 to 1: below 1 with 3 channels only.
    pub probability: f64,
    /// Threads that do it, at most 1024; 0 for one per core.
    pub workers: Workers,
}

impl Default for Grayscale {
    fn default() -> Self {
        Self { channels: 1, probability: 1.0, workers: Workers::default() }
    }
}

/// The kind of this stage.
pub fn kind(_: &Catalog) -> Kind {
    Kind::of::<Grayscale>(
        "grayscale",
        "Makes grey images of colours.",
        "{ channels: 3, probability: 0.2 }",
    )
}

impl Config for Grayscale {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let image = inputs::one_samples("grayscale", inputs)?;
        let [height, width, channels] = image.shape;
        if channels != 3 {
            let message = format!("colours have 3 channels, and these images have {channels}");
            return Err(Mismatch::new(message).help("leave the stage out"));
        }
        let mut wrong = Vec::new();
        if !matches!(self.channels, 1 | 3) {
            let message = format!("expected 1 or 3 channels, found {}", self.channels);
            wrong.push(Mismatch::field("channels", message).help("3 for a model of colours"));
        }
        wrong.extend(
            probability::check("probability", self.probability, "for never, leave the stage out")
                .err(),
        );
        if self.channels == 1 && (0.0..1.0).contains(&self.probability) {
            let message =
                "images that stay in colour have 3 channels, and the grey ones would have 1";
            wrong.push(Mismatch::field("probability", message).help("set `channels: 3`"));
        }
        Mismatch::all(wrong)?;
        let shape = [height, width, self.channels];
        Ok(Some(Port::Samples(ImageType { pixel: PixelType::F32, shape, ..image })))
    }

    fn build(&self, _: &Context<'_>) -> Result<Runner> {
        Ok(Runner::Map { map: Arc::new(Grey(self.clone())), workers: self.workers.count() })
    }

    fn warnings(&self, _: &[Port]) -> Vec<Mismatch> {
        idle::warning("", self.probability, false, "leave the stage out").into_iter().collect()
    }

    fn as_exports(&self) -> Option<&dyn Exports> {
        Some(self)
    }

    fn as_prepares(&self) -> Option<&dyn Prepares> {
        Some(self)
    }
}

impl Exports for Grayscale {
    fn onnx(&self, file: &mut Builder, images: &Value) -> Result<Value> {
        ensure!(
            self.probability == 1.0,
            "chance decides which images it makes grey, and a file gives the same for the same image: \
             `probability: 1` can be part of it"
        );
        // A convolution of one pixel.
        let shape = vec![self.channels, WEIGHTS.len(), 1, 1];
        let weights = Tensor { shape, values: WEIGHTS.repeat(self.channels) };
        let weights = file.constant("grey", &weights);
        let name = file.node("Conv", &[&images.name, &weights], &[]);
        let mut shape = images.shape.clone();
        shape.pop();
        shape.push(self.channels);
        Ok(Value { name, shape })
    }

    fn in_words(&self, _: &[Port]) -> Option<String> {
        let [red, green, blue] = WEIGHTS;
        let channels = if self.channels == 1 { "one channel" } else { "all three channels" };
        Some(format!("{channels} are {red} * red + {green} * green + {blue} * blue"))
    }
}

impl Prepares for Grayscale {
    fn preprocessing(&self, _: &[Port]) -> Option<Preprocessing> {
        let grey = match self.probability {
            1.0 => Effect::Always(Operation::of("grey")),
            probability => Effect::random(probability),
        };
        Some(effect::preprocessing([grey]))
    }

    fn offset(&self) -> Offset {
        // The weights add up to 1.
        Offset::Stays
    }
}

struct Grey(Grayscale);

impl Map for Grey {
    fn map(&self, sample: &mut Sample, random: &mut Random) -> Result<()> {
        let is_grey = f64::from(random.unit()) < self.0.probability;
        let values = sample.image.as_f32();
        let colours = values.as_chunks_mut::<3>().0;
        let grey =
            |pixel: &[f32; 3]| pixel.iter().zip(WEIGHTS).map(|(value, part)| value * part).sum();
        if self.0.channels == 1 {
            sample.image.pixels = Pixels::F32(colours.iter().map(grey).collect());
            sample.image.shape[2] = 1;
        } else if is_grey {
            colours.iter_mut().for_each(|pixel| *pixel = [grey(pixel); 3]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bytes_port, map, noise, reals, sample};

    const SHAPE: [usize; 3] = [5, 7, 3];

    fn changed(config: &Grayscale, count: u64) -> Vec<Sample> {
        let mut samples: Vec<Sample> = (0..count).map(|index| noise(index, SHAPE)).collect();
        map(config, bytes_port(SHAPE), &mut samples, 1);
        samples
    }

    #[test]
    fn grey_is_what_the_formula_says() {
        let mut pixel = [sample(0, 0, [1, 1, 3], vec![200, 100, 50])];
        map(&Grayscale::default(), bytes_port([1, 1, 3]), &mut pixel, 1);
        assert_eq!(pixel[0].image.shape, [1, 1, 1]);
        assert!((reals(&pixel[0])[0] - 124.2).abs() < 1e-4);
        let of_one = changed(&Grayscale::default(), 1);
        let of_three = changed(&Grayscale { channels: 3, ..Grayscale::default() }, 1);
        for (at, colour) in reals(&noise(0, SHAPE)).chunks(3).enumerate() {
            let [red, green, blue] = [0, 1, 2].map(|channel| f64::from(colour[channel]));
            let expected = 0.299 * red + 0.587 * green + 0.114 * blue;
            let found = f64::from(reals(&of_one[0])[at]);
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
            assert_eq!(reals(&of_three[0])[3 * at..3 * at + 3], [found as f32; 3]);
        }
    }

    #[test]
    fn as_many_as_asked_for_are_made_grey_and_the_others_stay() {
        let config = Grayscale { channels: 3, probability: 0.2, ..Grayscale::default() };
        let is_grey = |image: &Sample| reals(image).chunks(3).all(|pixel| pixel[0] == pixel[1]);
        let all = changed(&config, 1000);
        let (grey, colours): (Vec<_>, Vec<_>) = all.iter().partition(|image| is_grey(image));
        assert!((150..250).contains(&grey.len()), "{}", grey.len());
        assert!(colours.iter().all(|image| reals(image) == reals(&noise(image.id.index, SHAPE))));
    }

    #[test]
    fn impossible_fields_are_told_with_their_place() {
        let fields = |config: Grayscale| -> Vec<String> {
            let wrong = config.check(&[bytes_port(SHAPE)]).expect_err("wrong");
            let also = wrong.also.iter().map(|also| also.field.join("."));
            [wrong.field.join(".")].into_iter().chain(also).collect()
        };
        let of =
            |channels, probability| Grayscale { channels, probability, ..Grayscale::default() };
        assert_eq!(fields(of(2, 1.0)), ["channels"]);
        assert_eq!(fields(of(4, 1.5)), ["channels", "probability"]);
        assert_eq!(fields(of(1, 0.5)), ["probability"]);
        assert_eq!(fields(of(3, f64::NAN)), ["probability"]);
        assert!(Grayscale::default().check(&[bytes_port([8, 8, 1])]).is_err());
        assert_eq!(of(3, 0.0).warnings(&[]).len(), 1);
        assert!(of(1, 1.0).warnings(&[]).is_empty());
        let port = of(1, 1.0).check(&[bytes_port(SHAPE)]).expect("right").expect("images");
        assert_eq!(port.to_string(), "images f32[5, 7, 1]");
    }
}
