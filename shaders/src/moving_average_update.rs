//! The moving averages of the weights.

use rayon::prelude::*;
use runtime::kernel::{Args, Binding, Case, Constants, Extent, Kernel, linear_workgroups};

use crate::form::{CHUNK, LENGTHS, WORKGROUP, only};

/// Moves the averages towards the weights: `averages -= (1 - decay) * (averages - weights)`.
pub static KERNEL: Kernel = Kernel {
    name: "moving_average_update",
    about: "Moves the averages towards the weights.",
    bindings: &[Binding::read("weights", Extent::Whole), Binding::write("averages", Extent::Whole)],
    lengths: |c| vec![c.size("LENGTH"); 2],
    terms: |_, _| 2,
    variants: &[only(
        "moving_average_update",
        include_str!("../moving_average_update.wgsl"),
        |c, _| linear_workgroups(c.size("LENGTH"), WORKGROUP),
    )],
    cpu,
    reference,
    cases: || LENGTHS.map(|n| Case::new(1, Constants::default().with("LENGTH", n))).to_vec(),
};

fn cpu(args: &mut Args<'_, f32>) {
    let rest = 1.0 - args.step.average_decay;
    let weights = args.read("weights");
    let averages = args.write("averages");
    averages.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK)).for_each(|(to, weights)| {
        for (average, weight) in to.iter_mut().zip(weights) {
            *average -= rest * (*average - weight);
        }
    });
}

fn reference(args: &mut Args<'_, f64>) {
    let (weights, averages) = (args.read("weights"), args.write("averages"));
    let decay = f64::from(args.step.average_decay);
    for i in 0..args.size("LENGTH") {
        averages[i] = decay * averages[i] + (1.0 - decay) * weights[i];
    }
}
