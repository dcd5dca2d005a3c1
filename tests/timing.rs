//! Times by a device's own clock against the host's, on every adapter of the machine.

mod common;

use std::sync::Arc;
use std::time::Duration;

use compute::adapter::{Adapter, Timing};
use compute::graph::{Graph, Phase, TensorId};
use compute::kernel::{Access, Step};
use compute::session::Session;

/// The time of something that keeps an adapter busy for a while.
fn busy(adapter: &dyn Adapter) -> Timing {
    let probe = shaders::PROBES.arithmetic;
    let case = (probe.sizes)();
    let graph = Arc::new(Graph::of_one(probe.kernel, &case.constants));
    let mut session = Session::new(adapter, &graph, case.images).expect("it fits");
    for (at, binding) in probe.kernel.bindings.iter().enumerate() {
        if binding.access == Access::Read {
            let len = graph.tensor(TensorId(at)).len_for(session.micro_batch());
            session.write(TensorId(at), &vec![1.0; len]).expect("it is written");
        }
    }
    let step = Step::of(session.micro_batch());
    let mut timed = |uses| {
        let spans = vec![graph.whole(Phase::Forward); uses];
        session.timed(&spans, &step).expect("it runs")
    };
    timed(1);
    let mut uses = 1;
    loop {
        let timing = timed(uses);
        if timing.host >= Duration::from_millis(50) {
            return timing;
        }
        uses *= 2;
    }
}

#[test]
fn a_device_takes_no_longer_than_the_host_waits_for_it() {
    for adapter in common::gpus() {
        let info = adapter.info();
        // Starting it and hearing of its end is little of so long a time. A busy machine may make
        // either take any time, but not always.
        let is_plausible = (0..100).any(|_| {
            let Timing { host, device } = busy(&adapter);
            println!("{} ({}): {device:?} of {host:?}", info.name, info.backend);
            assert!(device.is_none_or(|device| device <= host), "{device:?} of {host:?}");
            if info.backend == "vulkan" && info.name.contains("llvmpipe") {
                assert!(device.is_some(), "it has a clock");
            }
            device.is_none_or(|device| device >= host / 10)
        });
        assert!(is_plausible, "far less than the host waited, each time");
    }
}

#[test]
fn the_host_times_what_has_no_clock() {
    let Timing { host, device } = busy(&common::cpu(2));
    assert!(host >= Duration::from_millis(50));
    assert_eq!(device, None);
}
