//! A run's checkpoints, and the part of their pipeline that scores images: what the command line and
//! the library share.

mod error;
mod photos;
mod predictor;
mod trained;

pub use error::Error;
pub use photos::Photos;
pub use predictor::Predictor;
pub use trained::{AVERAGED, Change, Trained, evaluations, scorer_choice};
