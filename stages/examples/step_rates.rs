//! Prints where the time of a training step of the tutorial's network goes on the `cpu` adapter, and
//! how fast it scores:
//! `cargo run --release -p gradflow-stages --example step_rates -- [IMAGES] [THREADS] [STEPS]`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use runtime::adapter::host::Cpu;
use runtime::adapter::{Adapter, Lowering};
use runtime::graph::{Graph, Node, Op, Phase, Span};
use runtime::kernel::Step;
use runtime::session::Session;
use runtime::verify::network;
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

    let mut session = Session::new(&adapter, &graph, images)?;
    session.initialize(1)?;
    let batch = network::fixed_batch(&graph, images, 0)?;
    let step = Step { learning_rate: 0.1, average_decay: 0.9999, ..Step::of(images) };
    report("training", images, steps, || {
        session.train(&batch, &step)?;
        session.losses().map(|_| ())
    })?;
    let mut session = Session::new(&adapter, &Arc::new(graph.inference()), SCORED)?;
    session.initialize(1)?;
    let batch = network::fixed_batch(&graph, SCORED, 0)?;
    report("scoring", SCORED, steps.div_ceil(2), || session.score(&batch).map(|_| ()))?;

    let mut replica = adapter.lower(&graph, &Lowering::of(images))?;
    let mut total = Duration::ZERO;
    for phase in PHASES {
        for (at, node) in graph.phase(phase).iter().enumerate() {
            let Node::Run(op) = node else { continue };
            let span = Span { phase, nodes: at..at + 1 };
            let mut best = Duration::MAX;
            for _ in 0..RUNS {
                let start = Instant::now();
                replica.run(std::slice::from_ref(&span), &step)?;
                best = best.min(start.elapsed());
            }
            total += best;
            let rate = (operations(&graph, op) * images) as f64 / best.as_secs_f64() / 1e9;
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

/// Prints how long some work on so many images takes.
fn report(
    what: &str,
    images: usize,
    times: usize,
    mut work: impl FnMut() -> Result<()>,
) -> Result<()> {
    // The first time touches its memory for the first time.
    work()?;
    let mut durations = Vec::new();
    for _ in 0..times.max(1) {
        let start = Instant::now();
        work()?;
        durations.push(start.elapsed());
    }
    durations.sort_unstable();
    let rate = |time: Duration| images as f64 / time.as_secs_f64();
    let (median, best) = (durations[durations.len() / 2], durations[0]);
    println!(
        "{what} {images} images: median {:.2} ms, {:.0} images/s; best {:.2} ms, {:.0} images/s",
        1e3 * median.as_secs_f64(),
        rate(median),
        1e3 * best.as_secs_f64(),
        rate(best),
    );
    Ok(())
}
