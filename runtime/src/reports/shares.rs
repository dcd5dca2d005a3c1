//! The shares of several adapters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Images of a batch for each tower, from some step on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The first step with these shares.
    pub step: u64,
    /// The images of each tower; none for a tower that is not named.
    pub shares: BTreeMap<String, usize>,
}
