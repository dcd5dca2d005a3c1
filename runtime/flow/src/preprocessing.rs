//! What a stage does to images on their way to a model, said in a form in which the flow that trains
//! and the one that evaluates can be compared.

use std::fmt::Debug;

use serde::Serialize;

use config::diagnostic::Diagnostic;
use config::node::Node;

/// What is done to the images that a run trains on.
pub trait TrainingFlow: Debug + Send + Sync {
    /// What was done otherwise to the images of a run with this pipeline; `source` is what that run
    /// is called.
    ///
    /// # Errors
    /// Everything that keeps its pipeline from being read.
    fn differences_from(
        &self,
        source: &str,
        pipeline: &str,
    ) -> Result<Vec<String>, Vec<Diagnostic>>;
}

/// What a stage does to images. The default is for a stage that leaves them as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocessing {
    /// What height and width are multiplied by: for each, the least and the largest factor. Cutting
    /// and padding are no scaling.
    pub scale: [[f64; 2]; 2],
    /// What is done to every image alike, in order.
    pub operations: Vec<Operation>,
    /// Whether chance decides about anything.
    pub chance: Option<Chance>,
}

impl Default for Preprocessing {
    fn default() -> Self {
        Self { scale: [[1.0; 2]; 2], operations: Vec::new(), chance: None }
    }
}

impl Preprocessing {
    /// A stage that does this one thing to every image.
    pub fn always(operation: Operation) -> Self {
        Self { operations: vec![operation], ..Self::default() }
    }

    /// A stage that is augmentation and nothing else.
    pub fn random(chance: Chance) -> Self {
        Self { chance: Some(chance), ..Self::default() }
    }
}

/// Something that is done to every image alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Operation {
    /// Which part of the stage does it, as its field is called; empty for the stage itself.
    pub part: &'static str,
    /// The fields that decide what is done, with their values in one form: what is written in two
    /// ways and means the same is equal here.
    pub fields: Vec<(String, Node)>,
    /// Whether all of the image has a part in each new value, as where its mean is subtracted: what
    /// was cut off before then matters.
    pub of_whole_image: bool,
    /// Whether values have another range afterwards than the 0 to 255 of the data.
    pub rescales: bool,
}

impl Operation {
    /// One that a part of a stage does.
    pub fn of(part: &'static str) -> Self {
        Self { part, ..Self::default() }
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Serialize) -> Self {
        // What a config holds has been read from plain data, so that it has such a form.
        self.fields.push((field.to_owned(), Node::of(&value).unwrap_or(Node::Null)));
        self
    }

    /// Says that values have another range afterwards.
    #[must_use]
    pub fn rescaling(self) -> Self {
        Self { rescales: true, ..self }
    }

    /// Says that it depends on the image as a whole.
    #[must_use]
    pub fn of_whole_image(self) -> Self {
        Self { of_whole_image: true, ..self }
    }
}

/// That chance decides what becomes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    /// The field that says so; empty for the stage as a whole.
    pub field: &'static str,
    /// What to do in a flow that evaluates.
    pub instead: &'static str,
}
