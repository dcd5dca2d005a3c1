//! Trains a pipeline and prints its losses: `cargo run --release --example train -- pipeline.yaml 100`

use std::error::Error;

use gradflow::{Event, Pipeline};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("expected a pipeline's file")?;
    let steps: u64 = arguments.next().ok_or("expected a number of steps")?.parse()?;
    let run = Pipeline::load(file)?.set("steps", steps)?.run(|event| match event {
        Event::Step(step) => println!("step {}: loss {:.4}", step.step, step.loss),
        Event::Warning(text) => eprintln!("warning: {text}"),
        _ => {}
    })?;
    for evaluation in run.history()?.evaluations {
        println!("precision @ 1 after {} steps: {:.3}", evaluation.step, evaluation.precision_at_1);
    }
    println!("{}", run.folder().display());
    Ok(())
}
