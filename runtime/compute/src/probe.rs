//! Kernels that an adapter's peaks are measured by.

use crate::kernel::{Case, Kernel};

/// A kernel that does one thing only, as fast as an adapter can.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// The kernel. It computes with numbers only.
    pub kernel: &'static Kernel,
    /// On how much it is run.
    pub sizes: fn() -> Case,
}

/// What the peaks of any adapter are measured by; the engine knows no kernel itself.
#[derive(Clone, Copy, Debug)]
pub struct Probes {
    /// Multiplies and adds without reading or writing memory meanwhile.
    pub arithmetic: Probe,
    /// Reads and writes more than caches hold.
    pub memory: Probe,
}
