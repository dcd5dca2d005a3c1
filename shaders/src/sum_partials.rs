//! Finishes a sum that was taken in parts.

use compute::kernel::linear_workgroups;
use compute::kernel::{Args, Binding, Case, Constants, Extent::Summed, Kernel, Variant};
use rayon::prelude::*;

use crate::form::{WORKGROUP, only};
use crate::simd::vectorized;

/// Sums that get a workgroup each: fewer than a GPU runs at once, of which most would idle if
/// every sum had one invocation.
const FEW: usize = 16;

/// Sums that a thread takes at once. Fixed, so that the number of threads changes no result.
const SUMS: usize = 1 << 10;

/// `sums[OFFSET + i] = SCALE * sum of partials[part][i] over the parts`, added to what is there
/// in micro-batches after the first. The other elements of `sums` stay as they are.
pub static KERNEL: Kernel = Kernel {
    name: "sum_partials",
    about: "Sums parts in a fixed order.",
    bindings: &[Binding::read("partials", Summed), Binding::write("sums", Summed)],
    lengths: |c| vec![c.size("PARTS") * c.size("LENGTH"), c.size("TOTAL")],
    terms: |c, _| c.size("PARTS") + 1,
    variants: &[
        Variant {
            name: "sum_partials",
            wgsl: include_str!("../sum_partials.wgsl"),
            tuning: &[],
            applies: |c| c.size("LENGTH") <= FEW,
            workgroups: |c, _| linear_workgroups(c.size("LENGTH"), 1),
        },
        only("sum_partials_any", include_str!("../sum_partials_any.wgsl"), |c, _| {
            linear_workgroups(c.size("LENGTH"), WORKGROUP)
        }),
    ],
    cpu,
    reference,
    cases: || {
        let case = |parts, length, [offset, total]: [usize; 2], scale| {
            let constants = Constants::default()
                .with("PARTS", parts)
                .with("LENGTH", length)
                .with("OFFSET", offset)
                .with("TOTAL", total)
                .with_real("SCALE", scale);
            Case::new(1, constants)
        };
        vec![
            case(1, 1, [0, 1], 1.0),
            case(7, 33, [5, 40], 0.5),
            case(7, 33, [5, 40], 0.5).accumulating(),
            case(33, 257, [0, 257], 1.0).accumulating(),
            case(3, 5000, [1, 5002], -2.0),
            // More parts than invocations in a workgroup, and not a power of two.
            case(1000, 3, [1, 5], 0.5).accumulating(),
            case(257, 16, [0, 16], 1.0),
            // A decay term and a convolution's gradient of the tutorial's network.
            case(64, 1, [1, 3], 0.002),
            case(16, 5 * 5 * 64 * 64, [0, 5 * 5 * 64 * 64], 1.0),
        ]
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let (length, offset) = (args.size("LENGTH"), args.size("OFFSET"));
    let scale = args.constants.real("SCALE") as f32;
    let accumulate = args.step.accumulate != 0;
    let partials = args.read("partials");
    let sums = &mut args.write("sums")[offset..][..length];
    let isa = args.isa;
    sums.par_chunks_mut(SUMS).enumerate().for_each(|(chunk, sums)| {
        add_up(isa, partials, length, chunk * SUMS, scale, accumulate, sums);
    });
}

vectorized! {
    fn add_up(
        partials: &[f32],
        length: usize,
        first: usize,
        scale: f32,
        accumulate: bool,
        sums: &mut [f32],
    ) {
        let mut totals = [0.0; SUMS];
        for part in partials.chunks_exact(length) {
            let part = &part[first..][..sums.len()];
            totals.iter_mut().zip(part).for_each(|(total, value)| *total += value);
        }
        for (sum, total) in sums.iter_mut().zip(totals) {
            *sum = if accumulate { *sum + scale * total } else { scale * total };
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (partials, sums) = (args.read("partials"), args.write("sums"));
    let (length, offset) = (args.size("LENGTH"), args.size("OFFSET"));
    for i in 0..length {
        let sum: f64 = (0..args.size("PARTS")).map(|part| partials[part * length + i]).sum();
        if args.step.accumulate == 0 {
            sums[offset + i] = 0.0;
        }
        sums[offset + i] += args.constants.real("SCALE") * sum;
    }
}
