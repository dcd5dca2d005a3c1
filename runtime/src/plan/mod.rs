//! A pipeline checked whole: every stage with its types, before anything opens.

mod check;
mod links;
mod load;
mod overrides;
mod top;

use crate::config::node::Node;
use crate::port::Port;
use crate::stage::{Config, RunSettings};

pub use self::top::schema as settings_schema;

/// A checked pipeline, its stages in an order in which inputs come before what reads them.
#[derive(Debug)]
pub struct Plan {
    /// What holds for all stages.
    pub settings: RunSettings,
    /// The stages.
    pub stages: Vec<PlannedStage>,
    /// The pipeline as it was read, with everything merged and overridden.
    pub document: Node,
}

/// A checked stage.
#[derive(Debug)]
pub struct PlannedStage {
    /// Its name in the YAML.
    pub id: String,
    /// The name of its kind.
    pub kind: &'static str,
    /// Its fields.
    pub config: Box<dyn Config>,
    /// The stages it reads from, as positions in [`Plan::stages`].
    pub from: Vec<usize>,
    /// The types of what it reads.
    pub inputs: Vec<Port>,
    /// The type of what it puts out.
    pub output: Option<Port>,
}

#[cfg(test)]
mod tests;
