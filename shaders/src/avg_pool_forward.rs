//! Average pooling.

use compute::kernel::linear_workgroups;
use compute::kernel::{Args, Binding, Case, Constants, Extent::PerImage, Kernel};

use crate::form::{WORKGROUP, only};
use crate::simd::vectorized;
use crate::strips::{Strips, in_strips, lanes};
use crate::windows::{Window, Windows, sizes};

/// The mean over windows of each channel. Padding does not count: a sum is divided by the pixels of
/// its window that lie inside the image. A window that lies wholly in the padding gives 0.
pub static KERNEL: Kernel = Kernel {
    name: "avg_pool_forward",
    about: "Takes the mean over windows of each channel.",
    bindings: &[Binding::read("input", PerImage), Binding::write("output", PerImage)],
    lengths: |c| {
        vec![c.size("IN_HEIGHT") * c.size("IN_WIDTH") * c.size("CHANNELS"), output_length(c)]
    },
    terms: |c, _| c.size("KERNEL_HEIGHT") * c.size("KERNEL_WIDTH") + 1,
    variants: &[only("avg_pool_forward", include_str!("../avg_pool_forward.wgsl"), |c, images| {
        linear_workgroups(images * output_length(c), WORKGROUP)
    })],
    cpu,
    reference,
    cases: || sizes().into_iter().map(|(images, constants)| Case::new(images, constants)).collect(),
};

fn output_length(c: &Constants) -> usize {
    c.size("OUT_HEIGHT") * c.size("OUT_WIDTH") * c.size("CHANNELS")
}

fn cpu(args: &mut Args<'_, f32>) {
    let pool = Windows::from(args.constants);
    let input = args.read("input").chunks_exact(pool.input());
    for (input, output) in input.zip(args.write("output").chunks_exact_mut(pool.output())) {
        take_means(args.isa, &pool, input, output);
    }
}

vectorized! {
    fn take_means(pool: &Windows, input: &[f32], output: &mut [f32]) {
        for (output, window) in output.chunks_exact_mut(pool.channels).zip(pool.iter()) {
            in_strips(pool.channels, &mut Mean { pool, input, window, output });
        }
    }
}

/// The mean over a window.
struct Mean<'a> {
    pool: &'a Windows,
    input: &'a [f32],
    window: Window,
    output: &'a mut [f32],
}

impl Strips for Mean<'_> {
    #[inline(always)]
    fn strip<const N: usize>(&mut self, first: usize) {
        let mut sums = [0.0; N];
        for ky in self.window.rows.clone() {
            for kx in self.window.columns.clone() {
                let at = self.pool.place(&self.window, [ky, kx]);
                let values = lanes::<N>(&self.input[at..], first);
                for i in 0..N {
                    sums[i] += values[i];
                }
            }
        }
        let share = self.window.share();
        let output = &mut self.output[first..][..N];
        output.iter_mut().zip(sums).for_each(|(output, sum)| *output = share * sum);
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let size = |name| args.constants.size(name);
    let input = args.read("input");
    let (height, width, channels) = (size("IN_HEIGHT"), size("IN_WIDTH"), size("CHANNELS"));
    let mut means = Vec::new();
    for image in 0..args.images() {
        for oy in 0..size("OUT_HEIGHT") {
            for ox in 0..size("OUT_WIDTH") {
                for channel in 0..channels {
                    let (mut sum, mut count) = (0.0, 0.0_f64);
                    for ky in 0..size("KERNEL_HEIGHT") {
                        for kx in 0..size("KERNEL_WIDTH") {
                            let y =
                                (oy * size("STRIDE_Y") + ky) as isize - size("PAD_TOP") as isize;
                            let x =
                                (ox * size("STRIDE_X") + kx) as isize - size("PAD_LEFT") as isize;
                            if y < 0 || x < 0 || y >= height as isize || x >= width as isize {
                                continue;
                            }
                            let pixel = (image * height + y as usize) * width + x as usize;
                            sum += input[pixel * channels + channel];
                            count += 1.0;
                        }
                    }
                    means.push(sum / count.max(1.0));
                }
            }
        }
    }
    args.write("output")[..means.len()].copy_from_slice(&means);
}
