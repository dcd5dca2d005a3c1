//! TensorBoard's event files: writing them, and cutting them back to a step.

mod cut;
mod folders;
pub mod graph;
pub mod proto;
pub mod record;
mod writer;

pub use cut::{Cut, cut};
pub(crate) use folders::folders;
pub use writer::EventFile;

/// Whether TensorBoard would read a file of this name.
fn is_event_file(name: &str) -> bool {
    name.contains("tfevents")
}
