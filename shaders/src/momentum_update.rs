//! Gradient descent with momentum.

use compute::kernel::{Args, Binding, Case, Constants, Extent, Kernel, linear_workgroups};
use rayon::prelude::*;

use crate::form::{CHUNK, LENGTHS, WORKGROUP, only};

/// Moves the weights against a decaying sum of their gradients: `momentum = MOMENTUM * momentum +
/// gradients`, `weights -= learning rate * momentum`. With `NESTEROV` the step is against
/// `MOMENTUM * momentum + gradients` instead, with the new momentum.
pub static KERNEL: Kernel = Kernel {
    name: "momentum_update",
    about: "Moves the weights against a decaying sum of their gradients.",
    bindings: &[
        Binding::read("gradients", Extent::Summed),
        Binding::write("momentum", Extent::Whole),
        Binding::write("weights", Extent::Whole),
    ],
    lengths: |c| vec![c.size("LENGTH"); 3],
    terms: |_, _| 4,
    variants: &[only("momentum_update", include_str!("../momentum_update.wgsl"), |c, _| {
        linear_workgroups(c.size("LENGTH"), WORKGROUP)
    })],
    cpu,
    reference,
    cases: || {
        let case = |length, momentum, nesterov| {
            let constants = Constants::default()
                .with("LENGTH", length)
                .with_real("MOMENTUM", momentum)
                .with("NESTEROV", nesterov);
            Case::new(1, constants)
        };
        let mut cases = LENGTHS.map(|length| case(length, 0.9, 0)).to_vec();
        cases.extend(LENGTHS.map(|length| case(length, 0.9, 1)));
        cases.extend([case(33, 0.0, 0), case(33, 0.0, 1), case(33, 0.5, 1)]);
        cases
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let rate = args.step.learning_rate;
    let factor = args.constants.real("MOMENTUM") as f32;
    let nesterov = args.size("NESTEROV") != 0;
    let gradients = args.read("gradients").par_chunks(CHUNK);
    let momentum = args.write("momentum").par_chunks_mut(CHUNK);
    let weights = args.write("weights").par_chunks_mut(CHUNK);
    weights.zip(momentum).zip(gradients).for_each(|((weights, momentum), gradients)| {
        for ((weight, sum), gradient) in weights.iter_mut().zip(momentum).zip(gradients) {
            *sum = factor * *sum + gradient;
            let direction = if nesterov { factor * *sum + gradient } else { *sum };
            *weight -= rate * direction;
        }
    });
}

fn reference(args: &mut Args<'_, f64>) {
    let gradients = args.read("gradients");
    let (momentum, weights) = (args.write("momentum"), args.write("weights"));
    let (rate, factor) = (f64::from(args.step.learning_rate), args.constants.real("MOMENTUM"));
    for i in 0..args.size("LENGTH") {
        momentum[i] = factor * momentum[i] + gradients[i];
        weights[i] -= rate
            * match args.size("NESTEROV") {
                0 => momentum[i],
                _ => factor * momentum[i] + gradients[i],
            };
    }
}
