//! A batch's variance, of its parts.

use compute::kernel::{
    Args, Binding, Case, Extent::Summed, Extent::Whole, Kernel, linear_workgroups,
};

use crate::batch_norm::{fields, part_length, partials, sizes};
use crate::form::{WORKGROUP, only};

/// Each channel's mean squared distance from `mean`, over all positions of the images at hand. The
/// mean may be that of more images than these: the mean of such distances over all is the variance.
pub static KERNEL: Kernel = Kernel {
    name: "batch_norm_variance",
    about: "Puts the squared distances of a batch's parts together, from the mean of all of them.",
    bindings: &[
        Binding::read("partials", Summed),
        Binding::read("mean", Whole),
        Binding::write("variance", Whole),
    ],
    lengths: |c| {
        let channels = c.size("CHANNELS");
        vec![c.size("SPLITS") * part_length(c), channels, channels]
    },
    terms: |c, _| c.size("SPLITS") + 1,
    variants: &[only(
        "batch_norm_variance",
        include_str!("../batch_norm_variance.wgsl"),
        |c, _| linear_workgroups(c.size("CHANNELS"), WORKGROUP),
    )],
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
    let (partials, mean) = (args.read("partials"), args.read("mean"));
    let variance = args.write("variance");
    let mut positions = 0.0;
    variance.fill(0.0);
    for part in partials.chunks_exact(part_length(args.constants)) {
        let (count, means, squares) = fields(part);
        positions += count;
        let channels = means.iter().zip(squares).zip(mean);
        for (sum, ((part_mean, squares), mean)) in variance.iter_mut().zip(channels) {
            let apart = part_mean - mean;
            *sum += squares + count * apart * apart;
        }
    }
    variance.iter_mut().for_each(|variance| *variance /= positions);
}

fn reference(args: &mut Args<'_, f64>) {
    let (partials, mean) = (args.read("partials"), args.read("mean"));
    let variance = args.write("variance");
    let parts = || partials.chunks_exact(part_length(args.constants));
    let positions: f64 = parts().map(|part| part[0]).sum();
    for (channel, variance) in variance.iter_mut().enumerate() {
        let squares = parts().map(|part| {
            let (count, means, squares) = fields(part);
            squares[channel] + count * (means[channel] - mean[channel]).powi(2)
        });
        *variance = squares.sum::<f64>() / positions;
    }
}
