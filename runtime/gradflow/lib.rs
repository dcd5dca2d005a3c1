//! Trains vision models on any GPU from a pipeline in YAML: load one, change it, run it, and use what
//! it has learnt.
//!
//! ```
//! use gradflow::{Image, Pipeline, Run};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let runs = folder.path();
//! let run = Pipeline::load("runtime/gradflow/drawings.yaml")?
//!     .set("steps", 3)?
//!     .runs(runs)
//!     .run(|event| {
//!         if let gradflow::Event::Step(step) = event {
//!             println!("step {}: loss {:.3}", step.step, step.loss);
//!         }
//!     })?;
//!
//! // Later, in this program or in another one:
//! let model = Run::open(run.folder())?.latest()?.model()?;
//! let image = Image::from_rgb(32, 32, vec![128; 32 * 32 * 3])?;
//! let prediction = model.predict(&image)?;
//! let (class, probability) = prediction.best();
//! println!("{class}: {probability:.2}");
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! |---|---|
//! | train, with the checks, the recording and the determinism of the command | [`Pipeline`] |
//! | read what a run has measured, and find its checkpoints | [`Run`], [`Checkpoint`] |
//! | classify images | [`Model`], [`Image`], [`Prediction`] |
//! | add stages, layers, kernels and sinks of your own | [`Registry`], [`extend`] |
//! | end a run from another thread | [`Stop`] |
//! | have a command line with what was added | [`command`] |
//!
//! The library installs no signal handler and no logger, prints nothing, and sets no environment
//! variable. It reads those that say where data is, as the command does: `GRADFLOW_DATA`,
//! `GRADFLOW_CACHE`, `GRADFLOW_MIRROR` and `GRADFLOW_OFFLINE`.

pub mod command;
mod error;
pub mod extend;
mod image;
mod model;
mod pipeline;
mod registry;
mod run;

pub use base::stop::Stop;
pub use config::diagnostic::{Diagnostic, Severity};
pub use flow::event::Event;
pub use flow::reports::{EvaluationReport, StepReport};
pub use record::metrics::History;

pub use error::{Diagnostics, Error, Result};
pub use image::Image;
pub use model::{Model, Prediction};
pub use pipeline::{Builder, Pipeline};
pub use registry::Registry;
pub use run::{Checkpoint, Run};
