//! Images that crossed an edge.

use crate::item::Sample;

/// Images that crossed an edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Tapped {
    /// The stage that put them out.
    pub stage: String,
    /// The images, in the order of the flow.
    pub samples: Vec<Sample>,
}
