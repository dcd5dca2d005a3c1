//! Each kernel of a step by itself.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{KernelTime, Spread};
use compute::adapter::{Clock, Timing};
use compute::graph::{Graph, Node, Op, Phase, Span};
use compute::kernel::{Access, Dtype, Step};
use compute::session::Session;
use flow::item::Batch;

/// How often each is timed at least.
const RUNS: usize = 5;

/// How long one timing takes at least: what it costs to start a kernel and to wait for it must not
/// count.
const LEAST: Duration = Duration::from_millis(10);

/// Uses of a kernel in one timing, at most.
const MOST: usize = 256;

/// Times every kernel of a step on this batch, or as much of it as is computed at once.
///
/// # Errors
/// If the adapter fails.
pub fn kernels(session: &mut Session, batch: &Batch) -> Result<Vec<KernelTime>> {
    let images = session.micro_batch().min(batch.ids.len());
    // A whole step first, so that every kernel finds numbers that it could find in training.
    let step = Step::of(batch.ids.len());
    session.train(batch, &step)?;
    let graph = std::sync::Arc::clone(session.graph());
    let phases = [
        (Phase::Forward, "forward"),
        (Phase::Loss, "loss"),
        (Phase::Backward, "backward"),
        (Phase::Update, "update"),
    ];
    let variants = session.variants();
    let mut times = Vec::new();
    for (phase, name) in phases {
        for (at, node) in graph.phase(phase).iter().enumerate() {
            let Node::Run(op) = node else { continue };
            let span = Span { phase, nodes: at..at + 1 };
            let layer = graph.layers.get(op.layer).map_or("", |layer| &layer.name);
            let (each, clock) = time(session, &span, &Step::of(images), Duration::ZERO)?;
            times.push(KernelTime {
                layer: layer.to_owned(),
                kernel: op.kernel.name.to_owned(),
                form: variants.form(op).map(str::to_owned),
                phase: name.to_owned(),
                each,
                clock,
                flop: flop(&graph, op, images),
                bytes: bytes(&graph, op, images),
            });
        }
    }
    Ok(times)
}

/// How long one use of these nodes takes, measured for at least so long. By the adapter's own clock
/// if it gave every time, else by the host's: times of both are not to be compared.
pub(super) fn time(
    session: &mut Session,
    span: &Span,
    step: &Step,
    least: Duration,
) -> Result<(Spread, Clock)> {
    let mut once = |uses: usize| session.timed(&vec![span.clone(); uses], step);
    let mut uses = 1;
    // The first use may have to fetch its code and data.
    once(uses)?;
    while once(uses)?.host < LEAST && uses < MOST {
        uses *= 2;
    }
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < RUNS || start.elapsed() < least {
        times.push(once(uses)?);
    }
    let (times, clock) = by_one_clock(&times);
    let ms = |time: Duration| 1e3 * time.as_secs_f64() / uses as f64;
    Ok((Spread::of(times.into_iter().map(ms).collect()), clock))
}

fn by_one_clock(times: &[Timing]) -> (Vec<Duration>, Clock) {
    match times.iter().map(|time| time.device).collect() {
        Some(times) => (times, Clock::Device),
        None => (times.iter().map(|time| time.host).collect(), Clock::Host),
    }
}

/// The operations of these phases.
pub(super) fn flop_of(graph: &Graph, phases: &[Phase], images: usize) -> f64 {
    let ops = phases.iter().flat_map(|phase| graph.ops(*phase));
    ops.map(|op| flop(graph, op, images)).sum()
}

/// Two operations for each term of each sum, by what the kernel declares.
pub(super) fn flop(graph: &Graph, op: &Op, images: usize) -> f64 {
    let terms = (op.kernel.terms)(&op.constants, images);
    let bindings = op.kernel.bindings.iter().zip(&op.tensors);
    let written = bindings.filter(|(b, _)| b.access == Access::Write && b.dtype == Dtype::Real);
    let sums: usize = written.map(|(_, id)| graph.tensor(*id).len_for(images)).sum();
    2.0 * sums as f64 * terms as f64
}

/// Every binding once, 4 bytes a number.
pub(super) fn bytes(graph: &Graph, op: &Op, images: usize) -> f64 {
    op.tensors.iter().map(|id| 4.0 * graph.tensor(*id).len_for(images) as f64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_time_by_the_host_makes_all_of_them_so() {
        let ms = Duration::from_millis;
        let by_both = Timing { host: ms(5), device: Some(ms(3)) };
        let by_host = Timing { host: ms(6), device: None };
        assert_eq!(by_one_clock(&[by_both, by_both]), (vec![ms(3), ms(3)], Clock::Device));
        assert_eq!(by_one_clock(&[by_both, by_host]), (vec![ms(5), ms(6)], Clock::Host));
    }
}
