//! How fast an adapter can be at best, and what of a kernel that bounds (its roofline: S. Williams,
//! A. Waterman, D. Patterson, "Roofline: an insightful visual performance model", 2009).

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::kernels::{bytes, flop, time};
use compute::adapter::Adapter;
use compute::graph::{Graph, Op, Phase, TensorId};
use compute::kernel::{Access, Step};
use compute::probe::{Probe, Probes};
use compute::session::Session;

/// How long each is measured at least.
const LEAST: Duration = Duration::from_millis(500);

/// The most that an adapter does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peaks {
    /// 10^9 floating-point operations in a second, a multiply-add counted as two.
    pub gflop_per_s: f64,
    /// 10^9 bytes read from and written to memory in a second.
    pub gbyte_per_s: f64,
}

/// What keeps a kernel from being faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// How fast the adapter computes.
    Arithmetic,
    /// How fast it reads and writes.
    Memory,
}

impl Peaks {
    /// The least time for so many operations and bytes, in ms: computing goes on while memory is
    /// read and written.
    pub fn least_ms(&self, flop: f64, bytes: f64) -> f64 {
        (flop / self.gflop_per_s).max(bytes / self.gbyte_per_s) / 1e6
    }

    /// Which of the two takes longer.
    pub fn bound(&self, flop: f64, bytes: f64) -> Bound {
        if flop / self.gflop_per_s >= bytes / self.gbyte_per_s {
            Bound::Arithmetic
        } else {
            Bound::Memory
        }
    }
}

/// Measures them: the best of some runs counts, as whatever else goes on only takes time.
///
/// # Errors
/// If the adapter fails.
pub fn peaks(adapter: &dyn Adapter, probes: &Probes) -> Result<Peaks> {
    let run = |probe: &Probe| -> Result<(f64, f64, f64)> {
        let case = (probe.sizes)();
        let graph = Arc::new(Graph::of_one(probe.kernel, &case.constants));
        let mut session = Session::new(adapter, &graph, case.images)?;
        let images = session.micro_batch();
        for (at, binding) in probe.kernel.bindings.iter().enumerate() {
            // Memory that was never written may be no memory at all.
            if binding.access == Access::Read {
                let tensor = TensorId(at);
                session.write(tensor, &vec![1.0; graph.tensor(tensor).len_for(images)])?;
            }
        }
        let span = graph.whole(Phase::Forward);
        let (each, _) = time(&mut session, &span, &Step::of(images), LEAST)?;
        let of = |amount: fn(&Graph, &Op, usize) -> f64| -> f64 {
            graph.ops(Phase::Forward).map(|op| amount(&graph, op, images)).sum()
        };
        Ok((each.min_ms.max(f64::MIN_POSITIVE), of(flop), of(bytes)))
    };
    let (arithmetic_ms, flop, _) = run(&probes.arithmetic)?;
    let (memory_ms, _, bytes) = run(&probes.memory)?;
    Ok(Peaks { gflop_per_s: flop / arithmetic_ms / 1e6, gbyte_per_s: bytes / memory_ms / 1e6 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use compute::adapter::host::Cpu;
    use compute::kernel::{Args, Binding, Constants, Extent, Variant};
    use compute::kernel::{Case, Kernel};

    #[test]
    fn what_takes_longer_bounds() {
        let peaks = Peaks { gflop_per_s: 100.0, gbyte_per_s: 10.0 };
        assert_eq!(peaks.least_ms(1e9, 1e6), 10.0);
        assert_eq!(peaks.bound(1e9, 1e6), Bound::Arithmetic);
        assert_eq!(peaks.least_ms(1e6, 1e9), 100.0);
        assert_eq!(peaks.bound(1e6, 1e9), Bound::Memory);
    }

    /// Takes about a millisecond for each image.
    fn idle(args: &mut Args<'_, f32>) {
        std::thread::sleep(Duration::from_millis(args.images() as u64));
        assert!(args.read("x").iter().all(|x| *x == 1.0), "memory is written before");
    }

    static KERNEL: Kernel = Kernel {
        name: "kernel",
        about: "",
        bindings: &[
            Binding::read("x", Extent::PerImage),
            Binding::write("y", Extent::PerImage),
            Binding::write("all", Extent::Whole),
        ],
        lengths: |_| vec![1000, 500, 0],
        terms: |_, _| 4000,
        variants: &[Variant {
            name: "kernel",
            wgsl: "",
            tuning: &[],
            applies: |_| true,
            workgroups: |_, _| [1, 1, 1],
        }],
        cpu: idle,
        reference: |_| {},
        cases: Vec::new,
    };

    #[test]
    fn peaks_are_amounts_over_times() {
        let probe = Probe { kernel: &KERNEL, sizes: || Case::new(4, Constants::default()) };
        let adapter = Cpu::new(1).expect("the cpu adapter starts");
        let peaks = peaks(&adapter, &Probes { arithmetic: probe, memory: probe });
        let Peaks { gflop_per_s, gbyte_per_s } = peaks.expect("it runs");
        // 4 ms at least: a busy machine only makes them longer.
        assert!(gflop_per_s <= 4.0 && gflop_per_s > 0.0, "{gflop_per_s}");
        assert!(gbyte_per_s <= 0.006 && gbyte_per_s > 0.0, "{gbyte_per_s}");
    }
}
