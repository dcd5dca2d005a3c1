//! The derivative of a decay term.

use compute::kernel::{Args, Binding, Case, Constants, Extent, Kernel, linear_workgroups};
use rayon::prelude::*;

use crate::form::{CHUNK, LENGTHS, WORKGROUP, only};

/// Adds the decay's derivative to the gradients of the weights: `gradients += FACTOR * weights`.
pub static KERNEL: Kernel = Kernel {
    name: "weight_decay_backward",
    about: "Adds the decay of the weights to their gradients.",
    bindings: &[
        Binding::read("weights", Extent::Whole),
        Binding::write("gradients", Extent::Summed),
    ],
    lengths: |c| vec![c.size("LENGTH"); 2],
    terms: |_, _| 2,
    variants: &[only(
        "weight_decay_backward",
        include_str!("../weight_decay_backward.wgsl"),
        |c, _| linear_workgroups(c.size("LENGTH"), WORKGROUP),
    )],
    cpu,
    reference,
    cases: || {
        let constants = |length| Constants::default().with("LENGTH", length);
        // The tutorial's factor is so small that only a large one shows it well.
        let cases = LENGTHS.map(|n| Case::new(1, constants(n).with_real("FACTOR", 0.5)));
        let mut cases = cases.to_vec();
        cases.push(Case::new(1, constants(384 * 192).with_real("FACTOR", 0.004)));
        cases
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let factor = args.constants.real("FACTOR") as f32;
    let weights = args.read("weights");
    let gradients = args.write("gradients");
    gradients.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK)).for_each(|(to, weights)| {
        for (gradient, weight) in to.iter_mut().zip(weights) {
            *gradient += factor * weight;
        }
    });
}

fn reference(args: &mut Args<'_, f64>) {
    let (weights, gradients) = (args.read("weights"), args.write("gradients"));
    for i in 0..args.size("LENGTH") {
        gradients[i] += args.constants.real("FACTOR") * weights[i];
    }
}
