//! What several adapters report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::adapter::Info;
use crate::adapter::variants::Variants;

/// What several adapters did, on average over some steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TowersStep {
    /// From when the first one had its gradient to when the last one had, in ms.
    pub wait_ms: f64,
    /// Summing gradients, in ms; some of it while adapters are still at work.
    pub reduce_ms: f64,
    /// Adding up the sums of all processes of a job, and waiting for the slowest, in ms, once this
    /// one has its own; 0 for a process that is alone.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub exchange_ms: f64,
    /// Applying the update, and reading the new weights, in ms.
    pub update_ms: f64,
    /// Each of them.
    pub each: Vec<TowerStep>,
}

fn is_zero(ms: &f64) -> bool {
    *ms == 0.0
}

/// What one of several adapters did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TowerStep {
    /// `tower_0`, `tower_1`, ..
    pub name: String,
    /// Images that it computed in a second of the run.
    pub images_per_s: f64,
    /// Computing, in ms, and copying gradients of later layers meanwhile.
    pub compute_ms: f64,
    /// Waiting for the rest of its gradient after that, in ms.
    pub copy_ms: f64,
}

/// Images of a batch for each tower, from some step on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The first step with these shares.
    pub step: u64,
    /// The images of each tower; none for a tower that is not named.
    pub shares: BTreeMap<String, usize>,
}

/// One of several replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TowerReport {
    /// `tower_0`, `tower_1`, ..
    pub name: String,
    /// Its adapter.
    pub adapter: Info,
    /// Its images of the first batch.
    pub images: usize,
    /// What runs on it.
    pub variants: Variants,
}
