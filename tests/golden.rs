//! The golden curve is the f64 reference's, not that of the code under test.

use std::sync::Arc;

use runtime::adapter::host::Reference;
use runtime::adapter::{Adapter, DeviceKind, Info, Limits, Replica};
use runtime::graph::Graph;
use stages::model::golden;

/// The reference as an adapter.
struct Slow(Info);

impl Adapter for Slow {
    fn info(&self) -> &Info {
        &self.0
    }

    fn lower(&self, graph: &Arc<Graph>, micro_batch: usize) -> anyhow::Result<Box<dyn Replica>> {
        Ok(Box::new(Reference::lower(graph, micro_batch)?))
    }
}

/// All 20 steps take minutes, so only the first are computed anew; `GRADFLOW_GOLDEN=20` prints
/// all, to be written down after a change of the network.
#[test]
fn the_reference_walks_the_golden_curve() {
    let steps = std::env::var("GRADFLOW_GOLDEN").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let slow = Slow(Info {
        name: "reference".to_owned(),
        backend: "f64",
        driver: String::new(),
        kind: DeviceKind::Cpu,
        limits: Limits::NONE,
    });
    let curve = golden::first_steps(&slow, steps).expect("the reference runs");
    println!("{curve:.6?}");
    assert_eq!(curve.len() as u64, steps);
    assert!(golden::worst(&curve) < 1e-5, "{curve:?}");
}
