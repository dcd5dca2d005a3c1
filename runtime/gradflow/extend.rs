//! What a stage, a layer, an optimiser, a schedule, a format of data, a kernel or a sink is made of, for
//! crates that add some.
//!
//! `examples/my_stage` in the repository has a stage, a layer, a kernel and a sink, and `gradflow new
//! NAME` makes a crate like it. Add them to a [`Registry`](crate::Registry).

pub use base::{random, regular_file};
pub use compute::{adapter, graph, job, kernel, precision, verify};
pub use flow::{event, item, lint, picture, port, preprocessing, reports, stage};
pub use record::sink;
pub use shaders;
pub use stages::model::{layer, layers};
pub use stages::{Catalog, data, inputs, optimizer, schedule, workers};
