//! Hands a gradient on unchanged.

use compute::kernel::{Args, Binding, Extent::PerImage, Kernel, linear_workgroups};

use crate::form::{WORKGROUP, lengths_per_image, only};

/// Copies values: `output = input`.
pub static KERNEL: Kernel = Kernel {
    name: "copy",
    about: "Copies values.",
    bindings: &[Binding::read("input", PerImage), Binding::write("output", PerImage)],
    lengths: |c| vec![c.size("LENGTH"); 2],
    terms: |_, _| 1,
    variants: &[only("copy", include_str!("../copy.wgsl"), |c, images| {
        linear_workgroups(images * c.size("LENGTH"), WORKGROUP)
    })],
    cpu,
    reference,
    cases: lengths_per_image,
};

fn cpu(args: &mut Args<'_, f32>) {
    args.write("output").copy_from_slice(args.read("input"));
}

fn reference(args: &mut Args<'_, f64>) {
    let input = args.read("input");
    let output = args.write("output");
    let count = args.images() * args.size("LENGTH");
    output[..count].copy_from_slice(&input[..count]);
}
