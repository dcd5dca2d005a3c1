//! What can go wrong.

use std::error::Error as StdError;
use std::fmt;

use config::diagnostic::{self, Diagnostic};

/// What a function of this crate gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. For people, `Debug` writes what `Display` does: it is what a `main` that fails
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
            Self::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::Pipeline(_) | Self::Usage(_) | Self::Interrupted => None,
        }
    }
}

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
