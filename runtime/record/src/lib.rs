//! What is kept of a run: its folder with checkpoints, metrics, TensorBoard's files and a report, and
//! what is read back from them.

pub mod checkpoint;
pub mod compare;
pub mod metrics;
pub mod provenance;
pub mod recorder;
pub mod report;
pub mod run_folder;
pub mod sink;
pub mod tensorboard;
