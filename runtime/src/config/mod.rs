//! The YAML of a pipeline: read, decoded, and found again when something in it is wrong.

pub mod decode;
pub mod entry;
pub mod node;
mod suggest;
