//! Lion.

use compute::kernel::{Args, Binding, Case, Constants, Extent, Kernel, linear_workgroups};
use rayon::prelude::*;

use crate::form::{CHUNK, LENGTHS, WORKGROUP, only};
use crate::wgsl;

/// Moves the weights by the learning rate against the sign of a mean of their gradients, of which 0 has
/// none, and against `DECAY` times themselves:
///
/// `weights -= learning rate * (sign(momentum + REST_1 * (gradients - momentum)) + DECAY * weights)`,
/// then `momentum += REST_2 * (gradients - momentum)` (Chen et al., "Symbolic discovery of optimization
/// algorithms", 2023). [`constants`] makes the constants of the betas.
pub static KERNEL: Kernel = Kernel {
    name: "lion_update",
    about: "Moves the weights by the learning rate against the sign of a mean of their gradients.",
    bindings: &[
        Binding::read("gradients", Extent::Summed),
        Binding::write("momentum", Extent::Whole),
        Binding::write("weights", Extent::Whole),
    ],
    lengths: |c| vec![c.size("LENGTH"); 3],
    terms: |_, _| 4,
    variants: &[only(
        "lion_update",
        wgsl!([STEP, LINEAR, NOT_FINITE], "../lion_update.wgsl"),
        |c, _| linear_workgroups(c.size("LENGTH"), WORKGROUP),
    )],
    cpu,
    reference,
    cases: || {
        // Eighths, of which no mean is so close to 0 that its sign is a matter of rounding.
        let eighths = |length: usize, of: fn(usize) -> usize, most: usize| -> Vec<f64> {
            let eighth = |i| (of(i) % (2 * most + 1)) as f64 - most as f64;
            (0..length).map(|i| eighth(i) / 8.0).collect()
        };
        let case = |length, betas, decay| {
            let case = Case::new(1, constants(length, betas, decay))
                .given("gradients", eighths(length, |i| 5 * i, 8))
                .given("momentum", eighths(length, |i| i / 3, 4));
            // From 0 the new weights are the step alone.
            if decay == 0.0 { case.given("weights", vec![0.0; length]) } else { case }
        };
        let mut cases = LENGTHS.map(|length| case(length, [0.9, 0.99], 0.1)).to_vec();
        cases.extend([
            case(257, [0.9, 0.99], 0.0),
            // Many means are 0.
            case(257, [0.5, 0.75], 0.1),
            case(33, [0.0, 0.0], 0.0),
            case(257, [0.95, 0.98], 1.0),
        ]);
        cases
    },
};

/// The constants of the kernel for so many weights, `[beta_1, beta_2]` and decay. Beside 1 the betas
/// have few digits in f32, so that what they leave is worked out before.
pub fn constants(length: usize, betas: [f64; 2], decay: f64) -> Constants {
    Constants::default()
        .with("LENGTH", length)
        .with_real("REST_1", 1.0 - betas[0])
        .with_real("REST_2", 1.0 - betas[1])
        .with_real("DECAY", decay)
}

fn cpu(args: &mut Args<'_, f32>) {
    let constant = |name| args.constants.real(name) as f32;
    let (rests, decay) = ([constant("REST_1"), constant("REST_2")], constant("DECAY"));
    let rate = args.step.learning_rate;
    let gradients = args.read("gradients").par_chunks(CHUNK);
    let momentum = args.write("momentum").par_chunks_mut(CHUNK);
    let weights = args.write("weights").par_chunks_mut(CHUNK);
    weights.zip(momentum).zip(gradients).for_each(|((weights, momentum), gradients)| {
        for ((weight, mean), gradient) in weights.iter_mut().zip(momentum).zip(gradients) {
            let change = gradient - *mean;
            let direction = sign(*mean + rests[0] * change);
            *mean += rests[1] * change;
            *weight -= rate * (direction + decay * *weight);
        }
    });
}

/// -1, 0 or 1; what is not finite stays so, and is found in the weights.
fn sign(mean: f32) -> f32 {
    if mean == 0.0 || !mean.is_finite() { mean } else { mean.signum() }
}

fn reference(args: &mut Args<'_, f64>) {
    let gradients = args.read("gradients");
    let (momentum, weights) = (args.write("momentum"), args.write("weights"));
    let constant = |name| args.constants.real(name);
    let [beta_1, beta_2] = ["REST_1", "REST_2"].map(|name| 1.0 - constant(name));
    let rate = f64::from(args.step.learning_rate);
    for i in 0..args.size("LENGTH") {
        let mean = beta_1 * momentum[i] + (1.0 - beta_1) * gradients[i];
        let direction = match mean {
            0.0 => 0.0,
            mean => mean.signum(),
        };
        weights[i] -= rate * (direction + constant("DECAY") * weights[i]);
        momentum[i] = beta_2 * momentum[i] + (1.0 - beta_2) * gradients[i];
    }
}
