//! Softmax.

use compute::kernel::{
    Args, Binding, Case, Constants, Extent::PerImage, Kernel, linear_workgroups,
};

use crate::form::{WORKGROUP, only};

/// Makes of each row of CHANNELS numbers shares that add up to 1: `e^x / sum of e^x`.
pub static KERNEL: Kernel = Kernel {
    name: "softmax_forward",
    about: "Makes shares that add up to 1 of each row.",
    bindings: &[Binding::read("input", PerImage), Binding::write("output", PerImage)],
    lengths: |c| vec![c.size("POSITIONS") * c.size("CHANNELS"); 2],
    terms: |c, _| c.size("CHANNELS"),
    variants: &[only("softmax_forward", include_str!("../softmax_forward.wgsl"), |c, images| {
        linear_workgroups(images * c.size("POSITIONS"), WORKGROUP)
    })],
    cpu,
    reference,
    cases: || {
        let why = "WGSL's exp may miss by 3 units and 2 more for each 1 of its argument";
        let cases = sizes().into_iter().map(|(images, constants)| Case::new(images, constants));
        let mut cases: Vec<Case> = cases.map(|case| case.loosened(8.0, why)).collect();
        // Powers beyond f32 are none relative to the largest.
        let large = (0..3 * 35).map(|i| f64::from(i % 5) * 100.0 - 200.0).collect();
        cases.push(Case::new(3, size(7, 5)).given("input", large));
        cases
    },
};

fn size(positions: usize, channels: usize) -> Constants {
    Constants::default().with("POSITIONS", positions).with("CHANNELS", channels)
}

/// Images and sizes to test both kernels on.
pub(crate) fn sizes() -> Vec<(usize, Constants)> {
    vec![(1, size(1, 1)), (3, size(7, 5)), (33, size(1, 10)), (2, size(9, 257)), (1, size(300, 3))]
}

fn cpu(args: &mut Args<'_, f32>) {
    let channels = args.size("CHANNELS");
    let rows = args.read("input").chunks_exact(channels);
    for (input, output) in rows.zip(args.write("output").chunks_exact_mut(channels)) {
        // Relative to the largest nothing overflows, and the sum is at least 1. What is no number
        // makes all of the row so.
        let largest = input.iter().fold(f32::NEG_INFINITY, |most, value| most.max(*value));
        let mut sum = 0.0;
        for (output, input) in output.iter_mut().zip(input) {
            *output = (input - largest).exp();
            sum += *output;
        }
        output.iter_mut().for_each(|share| *share /= sum);
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let channels = args.size("CHANNELS");
    let rows = args.images() * args.size("POSITIONS");
    let (input, output) = (args.read("input"), args.write("output"));
    for row in 0..rows {
        let sum: f64 = (0..channels).map(|i| input[row * channels + i].exp()).sum();
        for i in row * channels..(row + 1) * channels {
            output[i] = input[i].exp() / sum;
        }
    }
}
