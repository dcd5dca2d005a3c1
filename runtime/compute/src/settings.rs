//! What computes, and how.

use crate::adapter::Lowering;
use crate::adapter::forms::Forms;
use crate::adapter::several::{Brought, Several};
use crate::job::Job;
use crate::precision::Precision;

/// What computes, and how.
#[derive(Clone, Debug, Default)]
pub struct ComputeSettings {
    /// The adapter asked for, on the command line or in the YAML; `None` for `auto`.
    pub adapter: Option<String>,
    /// The adapters that train, if said on the command line.
    pub adapters: Option<Several>,
    /// Whether that is the one of `--adapter`, which names what computes and not what trains.
    pub adapter_alone: bool,
    /// The adapters to choose from, if they are not those of the machine.
    pub brought: Brought,
    /// Whether fewer adapters than asked for are an error.
    pub strict: bool,
    /// The processes that run this pipeline together.
    pub job: Job,
    /// What the model's images are computed in.
    pub precision: Precision,
    /// Whether the fastest forms of kernels are to be found by timing them.
    pub autotune: bool,
    /// How the forms of kernels are chosen.
    pub forms: Forms,
}

impl ComputeSettings {
    /// On this adapter; `None` for `auto`.
    pub fn on(adapter: Option<String>) -> Self {
        Self { adapter, ..Self::default() }
    }

    /// How an adapter is to take a graph for batches of so many images.
    pub fn lowering(&self, batch: usize) -> Lowering {
        Lowering { forms: self.forms.clone(), ..Lowering::of(batch) }
    }
}
