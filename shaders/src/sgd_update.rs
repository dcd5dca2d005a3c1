//! Stochastic gradient descent.

use compute::kernel::{Args, Binding, Case, Constants, Extent, Kernel, linear_workgroups};
use rayon::prelude::*;

use crate::form::{CHUNK, LENGTHS, WORKGROUP, only};

/// Moves the weights against their gradients: `weights -= learning rate * gradients`.
pub static KERNEL: Kernel = Kernel {
    name: "sgd_update",
    about: "Moves the weights against their gradients.",
    bindings: &[
        Binding::read("gradients", Extent::Summed),
        Binding::write("weights", Extent::Whole),
    ],
    lengths: |c| vec![c.size("LENGTH"); 2],
    terms: |_, _| 2,
    variants: &[only("sgd_update", include_str!("../sgd_update.wgsl"), |c, _| {
        linear_workgroups(c.size("LENGTH"), WORKGROUP)
    })],
    cpu,
    reference,
    cases: || LENGTHS.map(|n| Case::new(1, Constants::default().with("LENGTH", n))).to_vec(),
};

fn cpu(args: &mut Args<'_, f32>) {
    let rate = args.step.learning_rate;
    let gradients = args.read("gradients");
    let weights = args.write("weights");
    weights.par_chunks_mut(CHUNK).zip(gradients.par_chunks(CHUNK)).for_each(|(to, gradients)| {
        for (weight, gradient) in to.iter_mut().zip(gradients) {
            *weight -= rate * gradient;
        }
    });
}

fn reference(args: &mut Args<'_, f64>) {
    let (gradients, weights) = (args.read("gradients"), args.write("weights"));
    for i in 0..args.size("LENGTH") {
        weights[i] -= f64::from(args.step.learning_rate) * gradients[i];
    }
}
