//! Prints where the time of a training step of the tutorial's network goes on the `cpu` adapter:
//! `cargo run --release -p gradflow-stages --example step_rates -- [IMAGES] [THREADS] [STEPS]`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use runtime::adapter::Adapter;
use runtime::adapter::host::Cpu;
use runtime::graph::{Node, Phase, Span};
use runtime::kernel::Step;
use runtime::session::Session;
use runtime::verify::network;
use stages::model::golden;

const PHASES: [Phase; 4] = [Phase::Forward, Phase::Loss, Phase::Backward, Phase::Update];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: usize, what: &'static str| {
        arguments.next().map_or(Ok(usual), |text| text.parse()).context(what)
    };
    let (images, threads) = (number(128, "IMAGES")?, number(0, "THREADS")?);
    let steps = number(20, "STEPS")?;
    let graph = golden::graph()?;
    let adapter = Cpu::new(threads)?;
    let mut session = Session::new(&adapter, &graph, images)?;
    session.initialize(1)?;
    let batch = network::fixed_batch(&graph, images, 0)?;
    let step = Step { learning_rate: 0.1, average_decay: 0.9999, ..Step::of(images) };
    let mut times = Vec::new();
    for _ in 0..=steps {
        let start = Instant::now();
        session.train(&batch, &step)?;
        session.losses()?;
        times.push(start.elapsed());
    }
    report("training", &mut times, images);

    let mut replica = adapter.lower(&graph, images)?;
    let mut total = Duration::ZERO;
    for phase in PHASES {
        for (at, node) in graph.phase(phase).iter().enumerate() {
            let Node::Run(op) = node else { continue };
            let span = Span { phase, nodes: at..at + 1 };
            let mut best = Duration::MAX;
            for _ in 0..steps.clamp(1, 7) {
                let start = Instant::now();
                replica.run(std::slice::from_ref(&span), &step)?;
                best = best.min(start.elapsed());
            }
            total += best;
            println!(
                "{:8.3} ms  {:?} {} of {}",
                1e3 * best.as_secs_f64(),
                phase,
                op.kernel.name,
                graph.layers[op.layer].name
            );
        }
    }
    println!("{:8.3} ms  all kernels alone", 1e3 * total.as_secs_f64());
    Ok(())
}

fn report(what: &str, times: &mut [Duration], images: usize) {
    // The first step touches its memory for the first time.
    let times = &mut times[1..];
    times.sort_unstable();
    let rate = |time: Duration| images as f64 / time.as_secs_f64();
    println!(
        "{what}, {images} images: median {:.2} ms, {:.0} images/s; best {:.2} ms, {:.0} images/s",
        1e3 * times[times.len() / 2].as_secs_f64(),
        rate(times[times.len() / 2]),
        1e3 * times[0].as_secs_f64(),
        rate(times[0]),
    );
}
