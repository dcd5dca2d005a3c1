//! The YAML of a pipeline: read, decoded, and found again when something in it is wrong.

pub mod decode;
pub mod entry;
mod merge;
pub mod node;
pub(crate) mod suggest;
pub(crate) mod token;
pub mod yaml;
