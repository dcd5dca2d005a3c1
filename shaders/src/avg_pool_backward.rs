//! The derivative of average pooling.

use compute::kernel::linear_workgroups;
use compute::kernel::{Args, Binding, Case, Constants, Extent::PerImage, Kernel};

use crate::form::{WORKGROUP, only};
use crate::simd::vectorized;
use crate::windows::{Windows, sizes};

/// Gives each gradient in equal shares to the pixels of its window that lie inside the image.
pub static KERNEL: Kernel = Kernel {
    name: "avg_pool_backward",
    about: "Gives each gradient in equal shares to the pixels of its window.",
    bindings: &[
        Binding::read("output_gradients", PerImage),
        Binding::write("input_gradients", PerImage),
    ],
    lengths: |c| {
        let output = c.size("OUT_HEIGHT") * c.size("OUT_WIDTH") * c.size("CHANNELS");
        vec![output, input_length(c)]
    },
    terms: |c, _| {
        // Windows over one element.
        c.size("KERNEL_HEIGHT").div_ceil(c.size("STRIDE_Y"))
            * c.size("KERNEL_WIDTH").div_ceil(c.size("STRIDE_X"))
            + 1
    },
    variants: &[only(
        "avg_pool_backward",
        include_str!("../avg_pool_backward.wgsl"),
        |c, images| linear_workgroups(images * input_length(c), WORKGROUP),
    )],
    cpu,
    reference,
    cases: || sizes().into_iter().map(|(images, constants)| Case::new(images, constants)).collect(),
};

fn input_length(c: &Constants) -> usize {
    c.size("IN_HEIGHT") * c.size("IN_WIDTH") * c.size("CHANNELS")
}

fn cpu(args: &mut Args<'_, f32>) {
    let pool = Windows::from(args.constants);
    let from = args.read("output_gradients").chunks_exact(pool.output());
    let to = args.write("input_gradients").chunks_exact_mut(pool.input());
    for (from, to) in from.zip(to) {
        share_out(args.isa, &pool, from, to);
    }
}

vectorized! {
    fn share_out(pool: &Windows, from: &[f32], to: &mut [f32]) {
        to.fill(0.0);
        for (from, window) in from.chunks_exact(pool.channels).zip(pool.iter()) {
            let share = window.share();
            for ky in window.rows.clone() {
                for kx in window.columns.clone() {
                    let to = &mut to[pool.place(&window, [ky, kx])..][..pool.channels];
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += share * from);
                }
            }
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let size = |name| args.constants.size(name);
    let from = args.read("output_gradients");
    let (height, width, channels) = (size("IN_HEIGHT"), size("IN_WIDTH"), size("CHANNELS"));
    let to = args.write("input_gradients");
    to[..args.images() * height * width * channels].fill(0.0);
    let mut next = from.iter();
    for image in 0..args.images() {
        for oy in 0..size("OUT_HEIGHT") {
            for ox in 0..size("OUT_WIDTH") {
                let mut pixels = Vec::new();
                for ky in 0..size("KERNEL_HEIGHT") {
                    for kx in 0..size("KERNEL_WIDTH") {
                        let y = (oy * size("STRIDE_Y") + ky) as isize - size("PAD_TOP") as isize;
                        let x = (ox * size("STRIDE_X") + kx) as isize - size("PAD_LEFT") as isize;
                        if y >= 0 && x >= 0 && y < height as isize && x < width as isize {
                            pixels.push((image * height + y as usize) * width + x as usize);
                        }
                    }
                }
                for (channel, gradient) in (0..channels).zip(&mut next) {
                    for pixel in &pixels {
                        to[pixel * channels + channel] += gradient / pixels.len() as f64;
                    }
                }
            }
        }
    }
}
