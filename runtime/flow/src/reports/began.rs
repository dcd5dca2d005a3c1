//! What a run took over from another one.

use super::{DataReport, ImageSet};

/// What a run begins with, if that is what another one has learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct Began {
    /// The checkpoint.
    pub from: String,
    /// The data that was read there.
    pub data: Vec<DataReport>,
    /// The images that it was trained on, if that is known.
    pub images: Option<ImageSet>,
}
