//! The YAML of a pipeline: read, decoded, and found again when something in it is wrong.

pub mod decode;
pub mod entry;
pub(crate) mod escape;
mod merge;
pub mod node;
pub(crate) mod shared;
pub(crate) mod suggest;
pub(crate) mod token;
mod written;
pub mod yaml;
