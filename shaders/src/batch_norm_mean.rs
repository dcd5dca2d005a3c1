//! A batch's mean, of its parts.

use compute::kernel::{
    Args, Binding, Case, Extent::Summed, Extent::Whole, Kernel, linear_workgroups,
};

use crate::batch_norm::{fields, part_length, partials, sizes};
use crate::form::{WORKGROUP, only};

/// Each channel's mean over all positions of the images at hand.
pub static KERNEL: Kernel = Kernel {
    name: "batch_norm_mean",
    about: "Puts the means of a batch's parts together.",
    bindings: &[Binding::read("partials", Summed), Binding::write("mean", Whole)],
    lengths: |c| vec![c.size("SPLITS") * part_length(c), c.size("CHANNELS")],
    terms: |c, _| c.size("SPLITS") + 1,
    variants: &[only("batch_norm_mean", include_str!("../batch_norm_mean.wgsl"), |c, _| {
        linear_workgroups(c.size("CHANNELS"), WORKGROUP)
    })],
    cpu,
    reference,
    cases: || {
        let cases = sizes().into_iter().map(|(images, constants)| {
            let partials = partials(images, &constants);
            Case::new(images, constants).given("partials", partials)
        });
        cases.collect()
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let (partials, mean) = (args.read("partials"), args.write("mean"));
    let mut positions = 0.0;
    mean.fill(0.0);
    for part in partials.chunks_exact(part_length(args.constants)) {
        let (count, means, _) = fields(part);
        positions += count;
        mean.iter_mut().zip(means).for_each(|(sum, mean)| *sum += count * mean);
    }
    mean.iter_mut().for_each(|mean| *mean /= positions);
}

fn reference(args: &mut Args<'_, f64>) {
    let (partials, mean) = (args.read("partials"), args.write("mean"));
    let parts = || partials.chunks_exact(part_length(args.constants));
    let positions: f64 = parts().map(|part| part[0]).sum();
    for (channel, mean) in mean.iter_mut().enumerate() {
        *mean = parts().map(|part| part[0] * part[1 + channel]).sum::<f64>() / positions;
    }
}
