//! What is wrong with a part of a configuration, before it is known where that is written.

/// What is wrong with a stage's configuration. The engine adds the stage, the ports and the place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Where below the stage's fields: `["layers", "2", "conv2d", "kernel"]`; empty for all of it.
    pub field: Vec<String>,
    /// What was expected and found.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
    /// What else is wrong with the stage: everything is told at once.
    pub also: Vec<Self>,
}

impl Mismatch {
    /// Nothing, or all of these as one.
    ///
    /// # Errors
    /// The first, with the others beside it.
    pub fn all(found: Vec<Self>) -> Result<(), Self> {
        let mut found = found.into_iter();
        match found.next() {
            None => Ok(()),
            Some(mut first) => {
                first.also.extend(found);
                Err(first)
            }
        }
    }

    /// Something wrong with the stage as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Something wrong with one field (dots separate nested ones).
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Self {
            field: field.split('.').map(str::to_owned).collect(),
            message: message.into(),
            ..Self::default()
        }
    }

    /// Adds what to do next.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Moves the place below another field.
    pub fn below(mut self, outer: &[&str]) -> Self {
        self.field.splice(0..0, outer.iter().map(|part| (*part).to_owned()));
        self.also = self.also.into_iter().map(|other| other.below(outer)).collect();
        self
    }
}
