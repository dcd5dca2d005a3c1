//! The YAML of a pipeline: read, decoded, and found again when something in it is wrong.

pub mod decode;
pub mod diagnostic;
pub mod entry;
pub mod escape;
mod merge;
pub mod mismatch;
pub mod node;
pub mod shared;
pub mod shorthand;
pub mod suggest;
pub mod token;
mod written;
pub mod yaml;
