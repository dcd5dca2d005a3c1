//! What can go wrong.

use std::error::Error as StdError;
use std::fmt;

use config::diagnostic::{self, Diagnostic};

/// What a function of this crate gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong.
///
/// ```
/// use gradflow::{Error, Pipeline};
///
/// let pipeline = Pipeline::from_yaml("mine", "steps: ten\nstages: {}");
/// match pipeline.check() {
///     Err(Error::Pipeline(diagnostics)) => assert!(!diagnostics.0.is_empty()),
///     other => panic!("{other:?}"),
/// }
/// ```
///
/// For people, `Debug` writes what `Display` does: it is what a `main` that fails
/// with an error prints.
#[non_exhaustive]
pub enum Error {
    /// A pipeline is wrong. Nothing has been opened and nothing was run.
    Pipeline(Diagnostics),
    /// What was asked for is not there, or does not fit.
    Usage(String),
    /// A run was asked to [`Stop`](crate::Stop) before it had anything to keep.
    Interrupted,
    /// Reading, training or computing has failed.
    Failed(Box<dyn StdError + Send + Sync>),
}

/// Everything that is wrong with a pipeline, each with its place in the file.
///
/// ```
/// use gradflow::{Error, Pipeline};
///
/// let text = "steps: ten\nstages: { read: { raeder: {} } }";
/// let Err(Error::Pipeline(diagnostics)) = Pipeline::from_yaml("mine", text).check() else {
///     panic!("two things are wrong");
/// };
/// assert_eq!(diagnostics.0.len(), 2);
/// // As the command prints it: the line, and what to write instead.
/// assert!(diagnostics.to_string().contains("did you mean `reader`?"));
/// ```
#[derive(Clone)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(diagnostic::render(&self.0, false).trim_end())
    }
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Diagnostics {}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipeline(diagnostics) => fmt::Display::fmt(diagnostics, f),
            Self::Usage(message) => f.write_str(message),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Failed(error) => {
                fmt::Display::fmt(error, f)?;
                let mut cause = error.source();
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
        }
    }
}

/// Without a source: what caused it is part of the message.
impl StdError for Error {}

impl From<Vec<Diagnostic>> for Error {
    fn from(diagnostics: Vec<Diagnostic>) -> Self {
        Self::Pipeline(Diagnostics(diagnostics))
    }
}

impl From<inference::Error> for Error {
    fn from(error: inference::Error) -> Self {
        match error {
            inference::Error::Pipeline(diagnostics) => diagnostics.into(),
            inference::Error::Other(error) => failed(error),
            other => Self::Usage(other.to_string()),
        }
    }
}

/// An error of the layers below.
pub(crate) fn failed(error: anyhow::Error) -> Error {
    match error.chain().any(<dyn StdError>::is::<fetch::Interrupted>) {
        true => Error::Interrupted,
        false => Error::Failed(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn a_failure_is_told_with_all_that_caused_it() {
        let cause = Err::<(), _>(anyhow!("no such file")).context("cannot read a.png");
        let error = failed(cause.context("stage read").expect_err("it failed"));
        assert_eq!(error.to_string(), "stage read: cannot read a.png: no such file");
        assert_eq!(format!("{error:?}"), error.to_string());
    }
}
