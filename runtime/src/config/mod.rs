//! The YAML of a pipeline.

pub mod decode;
pub mod node;
