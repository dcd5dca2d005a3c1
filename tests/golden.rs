//! The golden curve is where the f64 reference goes, not only the code under test.

use std::sync::Arc;

use compute::adapter::host::Reference;
use compute::adapter::{Adapter, DeviceKind, Identity, Info, Limits, Lowering, Replica};
use compute::graph::Graph;
use compute::precision::Precision;
use stages::model::golden;

/// The reference as an adapter.
struct Slow(Info);

impl Adapter for Slow {
    fn info(&self) -> &Info {
        &self.0
    }

    fn lower(&self, graph: &Arc<Graph>, how: &Lowering) -> anyhow::Result<Box<dyn Replica>> {
        Ok(Box::new(Reference::lower(graph, how.micro_batch)?))
    }
}

/// The loss before the second step depends on every kernel of a whole step. The reference takes
/// its time: more steps would only add more of the same.
#[test]
fn the_reference_begins_the_golden_curve() {
    let steps = 2;
    let slow = Slow(Info {
        name: "reference".to_owned(),
        backend: "f64",
        driver: String::new(),
        kind: DeviceKind::Cpu,
        identity: Identity::default(),
        limits: Limits::NONE,
        precisions: vec![Precision::F32],
    });
    let curve = golden::first_steps(&slow, steps).expect("the reference runs");
    assert_eq!(curve.len() as u64, steps);
    assert!(golden::worst(&curve) < 1e-5, "{curve:?}");
}
