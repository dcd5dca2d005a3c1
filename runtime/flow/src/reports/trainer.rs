//! What trains.

use std::collections::BTreeMap;

use serde::Serialize;

use compute::adapter::variants::{Record, RunRecord, Variants};
use compute::adapter::{AdapterReport, Info};
use compute::towers::report::TowerReport;

/// What computes the steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrainerReport {
    /// The stage that trains.
    pub stage: String,
    /// Its adapter; the first of several.
    pub adapter: Info,
    /// Images in a batch, of all adapters together.
    pub batch: usize,
    /// What runs on it, which says how many images are computed at once.
    pub variants: Variants,
    /// The replicas of the model where there are several, in order.
    pub towers: Vec<TowerReport>,
    /// What holds the weights of several replicas and applies updates to them.
    pub holder: Option<Record>,
    /// What runs in the other processes of a job, by the names of their replicas.
    pub elsewhere: BTreeMap<String, Record>,
    /// The replicas of each process of a job; empty for one that is alone.
    pub processes: Vec<usize>,
}

impl TrainerReport {
    /// What runs, to be kept.
    pub fn record(&self) -> RunRecord {
        let record = |adapter: &Info, variants: &Variants| Record {
            adapter: AdapterReport::from(adapter),
            variants: variants.clone(),
        };
        let towers = self.towers.iter();
        let here = towers.map(|t| (t.name.clone(), record(&t.adapter, &t.variants)));
        RunRecord {
            first: record(&self.adapter, &self.variants),
            towers: here.chain(self.elsewhere.clone()).collect(),
            holder: self.holder.clone(),
            processes: self.processes.clone(),
        }
    }
}
