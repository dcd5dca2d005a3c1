//! Prints where the time of a training step of the tutorial's network goes on the `cpu` adapter, and
//! how fast it scores, in each precision that it offers:
//! `cargo run --release -p gradflow-stages --example step_rates -- [IMAGES] [THREADS] [STEPS]`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use compute::adapter::host::Cpu;
use compute::adapter::{Adapter, Lowering, Precise};
use compute::graph::{Graph, Node, Op, Phase, Span};
use compute::kernel::Step;
use compute::precision::Precision;
use compute::session::Session;
use compute::verify::network;
use flow::item::Batch;
use stages::model::golden;

const PHASES: [Phase; 4] = [Phase::Forward, Phase::Loss, Phase::Backward, Phase::Update];

/// How often each kernel is timed; the best counts.
const RUNS: usize = 7;

/// Images that are scored at once.
const SCORED: usize = 1000;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: usize, what: &'static str| {
        arguments.next().map_or(Ok(usual), |text| text.parse()).context(what)
    };
    let (images, threads) = (number(128, "IMAGES")?, number(0, "THREADS")?);
    let steps = number(20, "STEPS")?;
    let graph = golden::graph()?;
    let adapter = Cpu::new(threads)?;
    println!("{}", adapter.info().driver);

    let batch = network::fixed_batch(&graph, images, 0)?;
    let step = Step { learning_rate: 0.1, average_decay: 0.9999, ..Step::of(images) };
    in_turn(&adapter, &graph, "training", &batch, steps, |session| {
        session.train(&batch, &step)?;
        session.losses().map(|_| ())
    })?;
    let scored = network::fixed_batch(&graph, SCORED, 0)?;
    let scoring = Arc::new(graph.inference());
    in_turn(&adapter, &scoring, "scoring", &scored, steps.div_ceil(2), |session| {
        session.score(&scored).map(|_| ())
    })?;
    for precision in &adapter.info().precisions {
        println!("{precision}");
        kernels(&adapter, *precision, &graph, &step)?;
    }
    Ok(())
}

/// Prints the time of each kernel alone.
fn kernels(
    adapter: &dyn Adapter,
    precision: Precision,
    graph: &Arc<Graph>,
    step: &Step,
) -> Result<()> {
    let images = step.images as usize;
    let mut replica = adapter.lower(graph, &Lowering { precision, ..Lowering::of(images) })?;
    let mut total = Duration::ZERO;
    for phase in PHASES {
        for (at, node) in graph.phase(phase).iter().enumerate() {
            let Node::Run(op) = node else { continue };
            let span = Span { phase, nodes: at..at + 1 };
            let mut best = Duration::MAX;
            for _ in 0..RUNS {
                let start = Instant::now();
                replica.run(std::slice::from_ref(&span), step)?;
                best = best.min(start.elapsed());
            }
            total += best;
            let rate = (operations(graph, op) * images) as f64 / best.as_secs_f64() / 1e9;
            println!(
                "{:8.3} ms {rate:8.1} GFLOP/s  {} of {}",
                1e3 * best.as_secs_f64(),
                op.kernel.name,
                graph.layers[op.layer].name
            );
        }
    }
    println!("{:8.3} ms  each kernel alone, over the whole batch", 1e3 * total.as_secs_f64());
    Ok(())
}

/// The floating-point operations of a kernel for an image, as many as its layer's products have;
/// 0 of what is not worth counting.
fn operations(graph: &Graph, op: &Op) -> usize {
    let products = ["conv2d", "dense"].iter().any(|kind| op.kernel.name.starts_with(kind));
    if products { 2 * graph.layers[op.layer].multiply_adds as usize } else { 0 }
}

/// Prints how long some work on a batch takes in each precision, one after the other each time, so
/// that what else the machine does meets all of them alike.
fn in_turn(
    adapter: &dyn Adapter,
    graph: &Arc<Graph>,
    what: &str,
    batch: &Batch,
    times: usize,
    mut work: impl FnMut(&mut Session) -> Result<()>,
) -> Result<()> {
    let images = batch.ids.len();
    let mut sessions = Vec::new();
    for precision in &adapter.info().precisions {
        let mut session = Session::new(&Precise::new(adapter, *precision)?, graph, images)?;
        session.initialize(1)?;
        // The first time touches its memory for the first time.
        work(&mut session)?;
        sessions.push((*precision, session, Vec::new()));
    }
    for _ in 0..times.max(1) {
        for (_, session, durations) in &mut sessions {
            let start = Instant::now();
            work(session)?;
            durations.push(start.elapsed());
        }
    }
    for (precision, _, mut durations) in sessions {
        durations.sort_unstable();
        let rate = |time: Duration| images as f64 / time.as_secs_f64();
        let (median, best) = (durations[durations.len() / 2], durations[0]);
        println!(
            "{what} {images} images in {precision}: median {:.2} ms, {:.0} images/s; best {:.2} ms, \
             {:.0} images/s",
            1e3 * median.as_secs_f64(),
            rate(median),
            1e3 * best.as_secs_f64(),
            rate(best),
        );
    }
    Ok(())
}
