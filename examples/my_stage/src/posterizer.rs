//! A stage: leaves few levels of each colour.

use std::sync::Arc;

use anyhow::Result;
use gradflow::extend::inputs;
use gradflow::extend::item::Sample;
use gradflow::extend::port::{ImageType, PixelType, Port};
use gradflow::extend::preprocessing::{Chance, Operation, Preprocessing};
use gradflow::extend::random::Random;
use gradflow::extend::stage::{Config, Context, Kind, Map, Mismatch, Prepares, Runner};
use gradflow::extend::workers::Workers;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Leaves few levels of each colour, in some images. What is written here is what `inspect` shows.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Posterizer {
    /// Levels of each colour that are left, 1 to 256.
    pub levels: u32,
    /// The share of images that are changed, 0 to 1.
    pub probability: f64,
    /// Threads that do it, at most 1024; 0 for one per core.
    pub workers: Workers,
}

impl Default for Posterizer {
    fn default() -> Self {
        Self { levels: 8, probability: 0.5, workers: Workers::PER_CORE }
    }
}

/// The kind of this stage: its name in the YAML, and a sentence and an example for `inspect`.
pub fn kind() -> Kind {
    let about = "Leaves few levels of each colour, in some images.";
    Kind::of::<Posterizer>("posterizer", about, "{ levels: 8, probability: 0.5 }")
}

impl Config for Posterizer {
    /// What comes out, given what comes in; or what does not fit, without opening anything.
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let image = inputs::one_samples("posterizer", inputs)?;
        let mut wrong = Vec::new();
        if !(1..=256).contains(&self.levels) {
            let message = format!("images cannot have {} levels", self.levels);
            wrong.push(Mismatch::field("levels", message).help("from 1 to 256"));
        }
        if !(0.0..=1.0).contains(&self.probability) {
            let message = format!("expected a share from 0 to 1, found {}", self.probability);
            wrong.push(Mismatch::field("probability", message));
        }
        Mismatch::all(wrong)?;
        Ok(Some(Port::Samples(ImageType { pixel: PixelType::F32, ..image })))
    }

    fn build(&self, _: &Context<'_>) -> Result<Runner> {
        Ok(Runner::Map { map: Arc::new(Posterize(self.clone())), workers: self.workers.count() })
    }

    fn as_prepares(&self) -> Option<&dyn Prepares> {
        Some(self)
    }
}

impl Prepares for Posterizer {
    /// What it does to images, for `check` to compare training with evaluation: with `probability: 1`
    /// the same to each, which an evaluation then needs too; else it is augmentation.
    fn preprocessing(&self, _: &[Port]) -> Option<Preprocessing> {
        Some(match self.probability {
            0.0 => Preprocessing::default(),
            1.0 => Preprocessing::always(Operation::default().with("levels", self.levels)),
            _ => Preprocessing::random(Chance {
                field: "probability",
                instead: "set it to 1, or leave the stage out",
            }),
        })
    }
}

struct Posterize(Posterizer);

impl Map for Posterize {
    /// Changes one image. `random` gives the same numbers for the same image and epoch, on whatever
    /// thread: with no other randomness a run can be repeated and resumed to the bit.
    fn map(&self, sample: &mut Sample, random: &mut Random) -> Result<()> {
        if f64::from(random.unit()) < self.0.probability {
            let step = 256.0 / self.0.levels as f32;
            for value in sample.image.as_f32() {
                *value = (*value / step).floor() * step;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gradflow::extend::item::{Image, Label, Pixels, SampleId};

    use super::*;

    fn posterized(config: Posterizer, index: u64) -> Vec<f32> {
        let pixels = Pixels::U8(vec![0, 63, 64, 200, 255, 128].into());
        let mut sample = Sample {
            id: SampleId { epoch: 0, index },
            label: Label::Class(0),
            image: Image { shape: [1, 2, 3], pixels },
        };
        let mut random = Random::keyed(1, "test", 0, index);
        Posterize(config).map(&mut sample, &mut random).expect("nothing can fail");
        sample.image.as_f32().clone()
    }

    #[test]
    fn four_levels_are_64_apart() {
        let config = Posterizer { levels: 4, probability: 1.0, ..Posterizer::default() };
        assert_eq!(posterized(config, 0), [0.0, 0.0, 64.0, 192.0, 192.0, 128.0]);
    }

    #[test]
    fn a_share_of_the_images_is_changed() {
        let config = Posterizer { probability: 0.25, ..Posterizer::default() };
        let changed = |index: &u64| posterized(config.clone(), *index)[1] != 63.0;
        let count = (0..1000).filter(changed).count();
        assert!((190..310).contains(&count), "{count} of 1000");
    }
}
