//! The first half of a decay term, and of the norm of gradients.

use compute::kernel::{Args, Binding, Case, Constants, Extent, Kernel, linear_workgroups};
use rayon::prelude::*;

use crate::form::only;

/// Running sums within a part: as many as a processor's vector registers hold with room to spare.
const LANES: usize = 16;

/// The sums of the squares of `PARTS` contiguous shares of the weights.
pub static KERNEL: Kernel = Kernel {
    name: "l2_partials",
    about: "Sums the squares of weights in parts.",
    bindings: &[
        Binding::read("weights", Extent::Whole),
        Binding::write("partials", Extent::Summed),
    ],
    lengths: |c| vec![c.size("LENGTH"), c.size("PARTS")],
    terms: |c, _| c.size("LENGTH").div_ceil(c.size("PARTS")),
    variants: &[only("l2_partials", include_str!("../l2_partials.wgsl"), |c, _| {
        linear_workgroups(c.size("PARTS"), 1)
    })],
    cpu,
    reference,
    cases: || {
        // The last two are weights that the tutorial's network decays.
        let sizes = [(1, 1), (7, 3), (33, 7), (5, 9), (257, 1), (2304 * 384, 64), (384 * 192, 64)];
        sizes
            .map(|(length, parts)| {
                Case::new(1, Constants::default().with("LENGTH", length).with("PARTS", parts))
            })
            .to_vec()
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let share = args.size("LENGTH").div_ceil(args.size("PARTS"));
    let weights = args.read("weights");
    args.write("partials").par_iter_mut().enumerate().for_each(|(part, partial)| {
        // The last parts are short or empty where the shares do not come out even.
        let start = (part * share).min(weights.len());
        let end = (start + share).min(weights.len());
        let mut lanes = [0.0; LANES];
        for weights in weights[start..end].chunks(LANES) {
            lanes.iter_mut().zip(weights).for_each(|(lane, weight)| *lane += weight * weight);
        }
        *partial = lanes.iter().sum();
    });
}

fn reference(args: &mut Args<'_, f64>) {
    let (weights, partials) = (args.read("weights"), args.write("partials"));
    let parts = args.size("PARTS");
    let share = weights.len().div_ceil(parts);
    partials.fill(0.0);
    for (i, weight) in weights.iter().enumerate() {
        partials[i / share] += weight * weight;
    }
}
