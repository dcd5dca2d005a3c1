//! The derivative of softmax.

use compute::kernel::{Args, Binding, Case, Extent::PerImage, Kernel, linear_workgroups};

use crate::form::{WORKGROUP, only};
use crate::softmax_forward::sizes;

/// `output * (gradient - sum of output * gradient)`, the sum over a row.
pub static KERNEL: Kernel = Kernel {
    name: "softmax_backward",
    about: "Gives the gradient of shares back to what they were made of.",
    bindings: &[
        Binding::read("output", PerImage),
        Binding::read("output_gradients", PerImage),
        Binding::write("input_gradients", PerImage),
    ],
    lengths: |c| vec![c.size("POSITIONS") * c.size("CHANNELS"); 3],
    terms: |c, _| c.size("CHANNELS") + 2,
    variants: &[only("softmax_backward", include_str!("../softmax_backward.wgsl"), |c, images| {
        linear_workgroups(images * c.size("POSITIONS"), WORKGROUP)
    })],
    cpu,
    reference,
    cases: || sizes().into_iter().map(|(images, constants)| Case::new(images, constants)).collect(),
};

fn cpu(args: &mut Args<'_, f32>) {
    let channels = args.size("CHANNELS");
    let outputs = args.read("output").chunks_exact(channels);
    let rows = outputs.zip(args.read("output_gradients").chunks_exact(channels));
    let to = args.write("input_gradients").chunks_exact_mut(channels);
    for ((output, from), to) in rows.zip(to) {
        let mean: f32 = output.iter().zip(from).map(|(share, gradient)| share * gradient).sum();
        for ((to, share), gradient) in to.iter_mut().zip(output).zip(from) {
            *to = share * (gradient - mean);
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let channels = args.size("CHANNELS");
    let rows = args.images() * args.size("POSITIONS");
    let (output, from) = (args.read("output"), args.read("output_gradients"));
    let to = args.write("input_gradients");
    for row in 0..rows {
        let row = row * channels..(row + 1) * channels;
        let mean: f64 = row.clone().map(|i| output[i] * from[i]).sum();
        for i in row {
            to[i] = output[i] * (from[i] - mean);
        }
    }
}
