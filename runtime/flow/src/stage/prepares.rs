//! What a stage does to images, for those that look at a pipeline instead of running it.

use crate::port::Port;
use crate::preprocessing::Preprocessing;

/// A stage of which it is known what it does to images.
pub trait Prepares {
    /// What is done to images, for `check` to compare the flow that trains a model with those that
    /// evaluate it; `None` if that is not known for what comes in.
    fn preprocessing(&self, inputs: &[Port]) -> Option<Preprocessing>;

    /// What becomes of a number that a stage before this one added to all values of an image.
    fn offset(&self) -> Offset {
        Offset::Matters
    }

    /// The field by which this stage adds one number to all values of an image, if it does so. Where
    /// that vanishes before anything sees it, `check` says that the field changes nothing.
    fn adds_offset(&self) -> Option<&'static str> {
        None
    }
}

/// What a stage does to a number that was added to all values of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// What is put out depends on it in some other way, or nothing is known of that.
    Matters,
    /// What is put out has the same number added.
    Stays,
    /// What is put out is the same with any such number.
    Vanishes,
}
