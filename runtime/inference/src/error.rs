//! Why a checkpoint's pipeline cannot be used.

use std::fmt;

use config::diagnostic::{self, Diagnostic};

/// Why a checkpoint's pipeline cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The pipeline is wrong.
    Pipeline(Vec<Diagnostic>),
    /// What was asked for does not fit it.
    Usage {
        /// What was expected and found.
        message: String,
        /// What to do next.
        help: Option<String>,
    },
    /// Anything else.
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipeline(diagnostics) => {
                f.write_str(diagnostic::render(diagnostics, false).trim_end())
            }
            Self::Usage { message, help: None } => f.write_str(message),
            Self::Usage { message, help: Some(help) } => write!(f, "{message}; {help}"),
            Self::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Other(error) => error.source(),
            Self::Pipeline(_) | Self::Usage { .. } => None,
        }
    }
}
