//! Sums the gradients of an activation that several layers read.

use compute::kernel::{Args, Binding, Extent::PerImage, Kernel, linear_workgroups};

use crate::form::{WORKGROUP, lengths_per_image, only};
use crate::simd::vectorized;

/// Adds values onto sums: `sums += values`.
pub static KERNEL: Kernel = Kernel {
    name: "add_into",
    about: "Adds values onto sums.",
    bindings: &[Binding::write("sums", PerImage), Binding::read("values", PerImage)],
    lengths: |c| vec![c.size("LENGTH"); 2],
    terms: |_, _| 2,
    variants: &[only("add_into", include_str!("../add_into.wgsl"), |c, images| {
        linear_workgroups(images * c.size("LENGTH"), WORKGROUP)
    })],
    cpu,
    reference,
    cases: lengths_per_image,
};

fn cpu(args: &mut Args<'_, f32>) {
    add(args.isa, args.read("values"), args.write("sums"));
}

vectorized! {
    fn add(values: &[f32], sums: &mut [f32]) {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let values = args.read("values");
    let sums = args.write("sums");
    for i in 0..args.images() * args.size("LENGTH") {
        sums[i] += values[i];
    }
}
