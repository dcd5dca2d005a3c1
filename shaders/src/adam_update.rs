//! Adam.

use compute::kernel::{Args, Binding, Case, Constants, Extent, Kernel, linear_workgroups};
use rayon::prelude::*;

use crate::form::{CHUNK, LENGTHS, WORKGROUP, only};

/// Moves the weights against the mean of their gradients over the root of their mean square, both
/// corrected for having begun at 0, and against `DECAY` times themselves:
///
/// `means += REST_1 * (gradients - means)`, `squares += REST_2 * (gradients^2 - squares)`,
/// `weights -= learning rate * (means' / (sqrt(squares') + EPSILON) + DECAY * weights)`, where
/// `means' = means / (1 - beta_1^t)`, `squares' = squares / (1 - beta_2^t)`, and `t` counts steps
/// from 1. [`constants`] makes the constants of the betas.
pub static KERNEL: Kernel = Kernel {
    name: "adam_update",
    about: "Moves the weights against the mean of their gradients over the root of their square.",
    bindings: &[
        Binding::read("gradients", Extent::Summed),
        Binding::write("means", Extent::Whole),
        Binding::write("squares", Extent::Whole),
        Binding::write("weights", Extent::Whole),
    ],
    lengths: |c| vec![c.size("LENGTH"); 4],
    terms: |_, _| 8,
    variants: &[only("adam_update", include_str!("../adam_update.wgsl"), |c, _| {
        linear_workgroups(c.size("LENGTH"), WORKGROUP)
    })],
    cpu,
    reference,
    cases: || {
        let case = |length, betas, decay| {
            let squares = (0..length).map(|i| 0.1 + (i % 7) as f64 / 8.0).collect();
            let constants = constants(length, betas, 1e-8, decay);
            // From 0 the new weights are the step alone, and show its every digit.
            let weights = if decay == 0.0 { vec![0.0; length] } else { Vec::new() };
            Case::new(1, constants).given("squares", squares).given("weights", weights)
        };
        let mut cases = LENGTHS.map(|length| case(length, [0.9, 0.999], 0.0)).to_vec();
        cases.push(case(33, [0.0, 0.5], 0.0));
        cases.push(case(257, [0.75, 0.99999], 0.0));
        cases.push(case(257, [0.9, 0.999], 0.1));
        // From means of 0 what a step adds to them shows its every digit.
        let zeros = || vec![0.0; 257];
        let first = Case::new(1, constants(257, [0.9, 0.999], 1e-8, 0.0));
        cases.push(first.given("means", zeros()).given("squares", zeros()));
        cases
    },
};

/// The constants of the kernel for so many weights, `[beta_1, beta_2]`, epsilon and decay. Beside
/// 1 the betas have few digits in f32, so that what they leave is worked out before.
pub fn constants(length: usize, betas: [f64; 2], epsilon: f64, decay: f64) -> Constants {
    // Where nothing is kept its logarithm has no end; this is as good.
    let log = |beta: f64| beta.ln().max(-100.0);
    Constants::default()
        .with("LENGTH", length)
        .with_real("REST_1", 1.0 - betas[0])
        .with_real("REST_2", 1.0 - betas[1])
        .with_real("LOG_1", log(betas[0]))
        .with_real("LOG_2", log(betas[1]))
        .with_real("EPSILON", epsilon)
        .with_real("DECAY", decay)
}

fn cpu(args: &mut Args<'_, f32>) {
    let constant = |name| args.constants.real(name) as f32;
    let rate = args.step.learning_rate;
    let rests = [constant("REST_1"), constant("REST_2")];
    let (epsilon, decay) = (constant("EPSILON"), constant("DECAY"));
    let steps = args.step.step as f32 + 1.0;
    let came = ["LOG_1", "LOG_2"].map(|name| -(steps * constant(name)).exp_m1());
    let gradients = args.read("gradients").par_chunks(CHUNK);
    let means = args.write("means").par_chunks_mut(CHUNK);
    let squares = args.write("squares").par_chunks_mut(CHUNK);
    let weights = args.write("weights").par_chunks_mut(CHUNK);
    weights.zip(means).zip(squares.zip(gradients)).for_each(
        |((weights, means), (squares, gradients))| {
            let states = means.iter_mut().zip(squares);
            for ((weight, (mean, square)), gradient) in
                weights.iter_mut().zip(states).zip(gradients)
            {
                *mean += rests[0] * (gradient - *mean);
                *square += rests[1] * (gradient * gradient - *square);
                let root = (*square / came[1]).sqrt();
                *weight -= rate * (*mean / came[0] / (root + epsilon) + decay * *weight);
            }
        },
    );
}

fn reference(args: &mut Args<'_, f64>) {
    let gradients = args.read("gradients");
    let (means, squares) = (args.write("means"), args.write("squares"));
    let weights = args.write("weights");
    let constant = |name| args.constants.real(name);
    let [beta_1, beta_2] = ["REST_1", "REST_2"].map(|name| 1.0 - constant(name));
    let steps = f64::from(args.step.step) + 1.0;
    for i in 0..args.size("LENGTH") {
        means[i] = beta_1 * means[i] + (1.0 - beta_1) * gradients[i];
        squares[i] = beta_2 * squares[i] + (1.0 - beta_2) * gradients[i].powi(2);
        let mean = means[i] / (1.0 - beta_1.powf(steps));
        let square = squares[i] / (1.0 - beta_2.powf(steps));
        let direction = mean / (square.sqrt() + constant("EPSILON"));
        let rate = f64::from(args.step.learning_rate);
        weights[i] -= rate * (direction + constant("DECAY") * weights[i]);
    }
}
