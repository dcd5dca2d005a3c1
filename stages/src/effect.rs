//! What a part of a stage that changes values at random does in truth: its numbers may leave chance
//! nothing to decide.

use flow::preprocessing::{Chance, Operation, Preprocessing};

/// What such a part does to images.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The same to every image.
    Always(Operation),
    /// What chance decides.
    Random,
}

impl Effect {
    /// Of a change that is another one each time, for a share of the images.
    pub fn random(probability: f64) -> Self {
        if probability == 0.0 { Self::None } else { Self::Random }
    }

    /// Of a factor between two bounds, for a share of the images.
    pub fn of_factor(part: &'static str, lower: f64, upper: f64, probability: f64) -> Self {
        if probability == 0.0 || (lower, upper) == (1.0, 1.0) {
            Self::None
        } else if probability == 1.0 && lower == upper {
            Self::Always(Operation::of(part).with(&format!("{part}.lower"), lower))
        } else {
            Self::Random
        }
    }
}

/// What a stage of such parts does.
pub fn preprocessing<const PARTS: usize>(parts: [Effect; PARTS]) -> Preprocessing {
    let random = parts.contains(&Effect::Random);
    let chance = random.then_some(Chance { field: "", instead: "leave the stage out" });
    let operations = parts.into_iter().filter_map(|part| match part {
        Effect::Always(operation) => Some(operation),
        Effect::None | Effect::Random => None,
    });
    Preprocessing { operations: operations.collect(), chance, ..Preprocessing::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_leave_chance_nothing_are_the_same_for_every_image() {
        assert_eq!(Effect::random(0.0), Effect::None);
        assert_eq!(Effect::random(1.0), Effect::Random);
        assert_eq!(Effect::of_factor("contrast", 1.0, 1.0, 1.0), Effect::None);
        assert_eq!(Effect::of_factor("contrast", 0.5, 1.5, 0.0), Effect::None);
        assert_eq!(Effect::of_factor("contrast", 0.5, 0.5, 0.9), Effect::Random);
        let grey = Effect::of_factor("saturation", 0.0, 0.0, 1.0);
        let Effect::Always(operation) = &grey else { panic!("{grey:?}") };
        assert_eq!(operation.part, "saturation");
        let both = preprocessing([grey.clone(), Effect::Random]);
        assert_eq!((both.operations.len(), both.chance.is_some()), (1, true));
        let one = preprocessing([grey, Effect::None]);
        assert_eq!((one.operations.len(), one.chance.is_some()), (1, false));
    }
}
