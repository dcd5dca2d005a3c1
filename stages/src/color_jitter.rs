//! Turns hues and changes saturation at random.

use std::f64::consts::TAU;
use std::sync::Arc;

use anyhow::Result;
use base::random::Random;
use flow::item::Sample;
use flow::port::{ImageType, PixelType, Port};
use flow::preprocessing::Preprocessing;
use flow::stage::{Config, Context, Kind, Map, Mismatch, Offset, Prepares, Runner};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Catalog;
use crate::effect::{self, Effect};
use crate::idle;
use crate::inputs;
use crate::probability;
use crate::switch::Switch;
use crate::workers::Workers;

/// Turns hues and changes saturation at random; `distorter` changes brightness and contrast. A
/// colour is taken apart into its grey, the mean of red, green and blue, and the rest, which is
/// turned around the grey axis and scaled (as in Karras et al., "Training generative adversarial
/// networks with limited data", 2020). That is linear: the mean of an image stays, values are not
/// clipped, and it may stand before or after what changes contrast.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ColorJitter {
    /// Red becomes green, green blue, blue red, or a part of that; `false` for never.
    pub hue: Switch<Hue>,
    /// The distance of a colour from its grey is scaled; `false` for never.
    pub saturation: Switch<Saturation>,
    /// Threads that do it, at most 1024; 0 for one per core.
    pub workers: Workers,
}

/// Colours are turned around the grey axis.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hue {
    /// The largest turn either way, as a share of the whole circle: 0 to 0.5.
    pub max_turn: f64,
    /// The share of images that are changed, 0 to 1.
    pub probability: f64,
}

/// The distance of a colour from its grey is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Saturation {
    /// The least factor; 0 is grey, 1 changes nothing.
    pub lower: f64,
    /// The largest factor.
    pub upper: f64,
    /// The share of images that are changed, 0 to 1.
    pub probability: f64,
}

impl Default for Hue {
    fn default() -> Self {
        Self { max_turn: 0.05, probability: 1.0 }
    }
}

impl Default for Saturation {
    fn default() -> Self {
        Self { lower: 0.6, upper: 1.4, probability: 1.0 }
    }
}

/// The kind of this stage.
pub fn kind(_: &Catalog) -> Kind {
    Kind::of::<ColorJitter>(
        "color_jitter",
        "Turns hues and changes saturation at random.",
        "{ hue: { max_turn: 0.05 }, saturation: { lower: 0.6, upper: 1.4 } }",
    )
}

impl Config for ColorJitter {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let image = inputs::one_samples("color_jitter", inputs)?;
        let channels = image.shape[2];
        if channels != 3 {
            let message = format!("colours have 3 channels, and these images have {channels}");
            return Err(Mismatch::new(message).help("leave the stage out"));
        }
        let mut wrong = Vec::new();
        let mut check_probability = |part: &str, probability| {
            let never = format!("for never, write `{part}: false`");
            wrong.extend(
                probability::check(&format!("{part}.probability"), probability, &never).err(),
            );
        };
        if let Some(hue) = self.hue.on() {
            check_probability("hue", hue.probability);
        }
        if let Some(saturation) = self.saturation.on() {
            check_probability("saturation", saturation.probability);
        }
        if let Some(Hue { max_turn, .. }) = self.hue.on()
            && !(0.0..=0.5).contains(max_turn)
        {
            let message = format!("expected a share of the circle from 0 to 0.5, found {max_turn}");
            wrong.push(Mismatch::field("hue.max_turn", message).help("0.5 is any hue"));
        }
        if let Some(Saturation { lower, upper, .. }) = self.saturation.on() {
            if !(lower.is_finite() && *lower >= 0.0) {
                let message = format!("expected a factor from 0 upwards, found {lower}");
                wrong.push(Mismatch::field("saturation.lower", message).help("0 is grey"));
            }
            if !(upper.is_finite() && upper >= lower) {
                let message = format!("expected at least `lower`, {lower}, found {upper}");
                wrong.push(Mismatch::field("saturation.upper", message).help("1 changes nothing"));
            }
        }
        Mismatch::all(wrong)?;
        Ok(Some(Port::Samples(ImageType { pixel: PixelType::F32, ..image })))
    }

    fn build(&self, _: &Context<'_>) -> Result<Runner> {
        Ok(Runner::Map { map: Arc::new(Jitter(self.clone())), workers: self.workers.count() })
    }

    fn warnings(&self, _: &[Port]) -> Vec<Mismatch> {
        let hue = self.hue.on();
        let saturation = self.saturation.on();
        let both_off = (hue.is_none() && saturation.is_none())
            .then(|| Mismatch::new("it changes nothing with both off").help("leave the stage out"));
        let hue = hue.and_then(|on| idle::switched_on("hue", on.probability, on.max_turn == 0.0));
        let saturation = saturation.and_then(|on| {
            idle::switched_on("saturation", on.probability, (on.lower, on.upper) == (1.0, 1.0))
        });
        [hue, saturation, both_off].into_iter().flatten().collect()
    }

    fn as_prepares(&self) -> Option<&dyn Prepares> {
        Some(self)
    }
}

impl Prepares for ColorJitter {
    fn offset(&self) -> Offset {
        Offset::Stays
    }

    fn preprocessing(&self, _: &[Port]) -> Option<Preprocessing> {
        let hue = self.hue.on().map_or(Effect::None, |on| match on.max_turn {
            0.0 => Effect::None,
            _ => Effect::random(on.probability),
        });
        let saturation = self.saturation.on().map_or(Effect::None, |on| {
            Effect::of_factor("saturation", on.lower, on.upper, on.probability)
        });
        Some(effect::preprocessing([hue, saturation]))
    }
}

struct Jitter(ColorJitter);

impl Map for Jitter {
    fn map(&self, sample: &mut Sample, random: &mut Random) -> Result<()> {
        // All four are drawn whatever is switched on, so that each always gets the same ones.
        let [turned, turn, scaled, factor] = std::array::from_fn(|_| f64::from(random.unit()));
        let turn = match self.0.hue.on() {
            Some(on) if turned < on.probability => (2.0 * turn - 1.0) * on.max_turn,
            _ => 0.0,
        };
        let factor = match self.0.saturation.on() {
            Some(on) if scaled < on.probability => on.lower + (on.upper - on.lower) * factor,
            _ => 1.0,
        };
        let circulant = circulant(turn, factor);
        for pixel in sample.image.as_f32().as_chunks_mut::<3>().0 {
            let [red, green, blue] = *pixel;
            let [same, next, last] = circulant;
            *pixel = [
                same * red + next * green + last * blue,
                last * red + same * green + next * blue,
                next * red + last * green + same * blue,
            ];
        }
        Ok(())
    }
}

/// The first row of the matrix that turns by a share of the circle and scales what is not grey. No
/// channel is different from the others, so that each further row is the one before it moved on.
///
/// Rodrigues' rotation about (1, 1, 1) / sqrt(3): the grey part is 1/3 everywhere, the identity less
/// that is scaled by the cosine, and the cross product with the axis by the sine.
fn circulant(turn: f64, factor: f64) -> [f32; 3] {
    let (sine, cosine) = (TAU * turn).sin_cos();
    let third = 1.0 / 3.0;
    let across = factor * sine / 3.0_f64.sqrt();
    [
        (third + factor * cosine * (1.0 - third)) as f32,
        (third - factor * cosine * third - across) as f32,
        (third - factor * cosine * third + across) as f32,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bytes_port, map, noise, reals};

    const SHAPE: [usize; 3] = [9, 11, 3];
    const OFF: ColorJitter =
        ColorJitter { hue: Switch::Off, saturation: Switch::Off, workers: Workers::PER_CORE };

    fn changed(config: &ColorJitter, samples: &[Sample], seed: u64) -> Vec<Vec<f32>> {
        let mut samples = samples.to_vec();
        map(config, bytes_port(SHAPE), &mut samples, seed);
        samples.iter().map(reals).collect()
    }

    fn samples(count: u64) -> Vec<Sample> {
        (0..count).map(|index| noise(index, SHAPE)).collect()
    }

    /// Grey, distance from it, and angle around it.
    fn polar(pixel: &[f32]) -> [f64; 3] {
        let [r, g, b] = [0, 1, 2].map(|channel| f64::from(pixel[channel]));
        let (x, y) = ((2.0 * r - g - b) / 6.0_f64.sqrt(), (g - b) / 2.0_f64.sqrt());
        [(r + g + b) / 3.0, x.hypot(y), y.atan2(x)]
    }

    #[test]
    fn a_third_of_the_circle_moves_the_channels_on() {
        let close = |found: [f32; 3], expected: [f32; 3]| {
            found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6)
        };
        assert!(close(circulant(0.0, 1.0), [1.0, 0.0, 0.0]));
        // Green takes red's value: its row begins with 1.
        assert!(close(circulant(1.0 / 3.0, 1.0), [0.0, 0.0, 1.0]));
        assert!(close(circulant(-1.0 / 3.0, 1.0), [0.0, 1.0, 0.0]));
        assert!(close(circulant(0.3, 0.0), [1.0 / 3.0; 3]));
    }

    #[test]
    fn grey_stays_and_one_turn_and_one_factor_hold_for_an_image() {
        let samples = samples(200);
        let (mut turns, mut factors) = (Vec::new(), Vec::new());
        for (after, before) in changed(&ColorJitter::default(), &samples, 1).iter().zip(&samples) {
            let before = reals(before);
            let pairs = after.chunks(3).zip(before.chunks(3));
            let all: Vec<_> = pairs.map(|(a, b)| (polar(a), polar(b))).collect();
            // A pixel that is nearly grey says little of angles.
            let (a, b) = all.iter().max_by(|a, b| a.1[1].total_cmp(&b.1[1])).expect("pixels");
            let turn = (a[2] - b[2] + TAU * 1.5).rem_euclid(TAU) - TAU / 2.0;
            let factor = a[1] / b[1];
            for (a, b) in &all {
                assert!((a[0] - b[0]).abs() < 1e-3, "grey: {a:?} {b:?}");
                assert!((a[1] - factor * b[1]).abs() < 1e-2, "{a:?} {b:?}");
                let off = (a[2] - b[2] - turn).rem_euclid(TAU);
                assert!(off.min(TAU - off) * b[1] < 1e-2, "{a:?} {b:?} {turn}");
            }
            turns.push(turn / TAU);
            factors.push(factor);
        }
        assert!(turns.iter().all(|turn| turn.abs() < 0.0501));
        assert!(turns.iter().any(|t| *t < -0.04) && turns.iter().any(|t| *t > 0.04));
        assert!(factors.iter().all(|factor| (0.599..1.401).contains(factor)));
        assert!(factors.iter().any(|f| *f < 0.7) && factors.iter().any(|f| *f > 1.3));
    }

    #[test]
    fn one_switched_off_leaves_the_numbers_of_the_other() {
        let samples = samples(20);
        let distance = |config: &ColorJitter| -> Vec<f64> {
            changed(config, &samples, 1).iter().map(|values| polar(&values[..3])[1]).collect()
        };
        let both = distance(&ColorJitter::default());
        let one = distance(&ColorJitter { saturation: Switch::default(), ..OFF });
        assert!(both.iter().zip(&one).all(|(a, b)| (a - b).abs() < 1e-2));
        let values: Vec<Vec<f32>> = samples.iter().map(reals).collect();
        assert_eq!(changed(&OFF, &samples, 1), values);
        assert_eq!(OFF.warnings(&[bytes_port(SHAPE)]).len(), 1);
        let idle = ColorJitter {
            hue: Switch::On(Hue { max_turn: 0.0, ..Hue::default() }),
            saturation: Switch::On(Saturation { lower: 1.0, upper: 1.0, probability: 1.0 }),
            ..OFF
        };
        let warnings = idle.warnings(&[bytes_port(SHAPE)]);
        assert_eq!([&*warnings[0].field, &*warnings[1].field], [["hue"], ["saturation"]]);
    }

    #[test]
    fn a_change_depends_on_the_seed_and_the_sample_and_not_on_the_order() {
        let forth = samples(20);
        let back: Vec<Sample> = forth.iter().rev().cloned().collect();
        let mut reversed = changed(&ColorJitter::default(), &back, 1);
        reversed.reverse();
        assert_eq!(changed(&ColorJitter::default(), &forth, 1), reversed);
        assert_ne!(changed(&ColorJitter::default(), &forth, 2), reversed);
    }

    #[test]
    fn impossible_numbers_are_told_with_their_place() {
        let field = |config: ColorJitter| {
            config.check(&[bytes_port(SHAPE)]).expect_err("impossible").field.join(".")
        };
        let hue = Switch::On(Hue { max_turn: 0.6, ..Hue::default() });
        assert_eq!(field(ColorJitter { hue, ..OFF }), "hue.max_turn");
        let hue = Switch::On(Hue { probability: 2.0, ..Hue::default() });
        assert_eq!(field(ColorJitter { hue, ..OFF }), "hue.probability");
        let saturation = Switch::On(Saturation { lower: f64::NAN, ..Saturation::default() });
        assert_eq!(field(ColorJitter { saturation, ..OFF }), "saturation.lower");
        let saturation = Switch::On(Saturation { upper: 0.5, ..Saturation::default() });
        assert_eq!(field(ColorJitter { saturation, ..OFF }), "saturation.upper");
        assert!(ColorJitter::default().check(&[bytes_port([8, 8, 1])]).is_err());
    }
}
