//! How fast an adapter multiplies and adds where nothing else holds it up.

use compute::kernel::{
    Args, Binding, Case, Constants, Extent::PerImage, Kernel, linear_workgroups,
};

use crate::form::{WORKGROUP, only};
use crate::simd::{self, MOST_LANES, Simd, Vectorized};

/// Chains that an element takes at once: more than the multiply-adds that are under way at a time
/// in any processor, and as many as fit the 16 registers of the fewest.
const CHAINS: usize = 12;

/// Steps of each chain in a round.
const STEPS: usize = 8;

/// What a chain is multiplied by in each step: it comes to rest, whatever the value.
const FACTOR: f64 = 0.5;

/// `results[i]` is the sum of 12 chains of `8 * ROUNDS` steps `x = 0.5 * x + values[i]`, which
/// begin at 0, 1, .., 11. No memory is read or written meanwhile.
pub static KERNEL: Kernel = Kernel {
    name: "peak_fma",
    about: "Multiplies and adds in registers, to find out how fast that can be.",
    bindings: &[Binding::read("values", PerImage), Binding::write("results", PerImage)],
    lengths: |c| vec![c.size("LENGTH"); 2],
    terms: |c, _| CHAINS * STEPS * c.size("ROUNDS"),
    variants: &[only("peak_fma", include_str!("../peak_fma.wgsl"), |c, images| {
        linear_workgroups(images * c.size("LENGTH"), WORKGROUP)
    })],
    cpu,
    reference,
    cases: || vec![sizes(1, 1, 1), sizes(3, 257, 2), sizes(2, 300, 9)],
};

/// Enough invocations for a large GPU, and enough work for each that starting it does not count:
/// 1.6 * 10^9 multiply-adds.
pub(crate) fn probe() -> Case {
    sizes(256, 1 << 10, 64)
}

fn sizes(images: usize, length: usize, rounds: usize) -> Case {
    Case::new(images, Constants::default().with("LENGTH", length).with("ROUNDS", rounds))
}

fn cpu(args: &mut Args<'_, f32>) {
    let steps = STEPS * args.size("ROUNDS");
    let chains = Chains { values: args.read("values"), results: args.write("results"), steps };
    simd::run(args.isa, chains);
}

struct Chains<'a> {
    values: &'a [f32],
    results: &'a mut [f32],
    steps: usize,
}

impl Vectorized for Chains<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (factor, one) = (simd.splat(FACTOR as f32), simd.splat(1.0));
        let values = self.values.chunks(S::LANES);
        for (values, results) in values.zip(self.results.chunks_mut(S::LANES)) {
            let mut strip = [0.0; MOST_LANES];
            strip[..values.len()].copy_from_slice(values);
            // SAFETY: no vector is longer than the strip.
            let value = unsafe { simd.load(strip.as_ptr()) };
            let mut chains = [simd.splat(0.0); CHAINS];
            for (start, chain) in chains.iter_mut().enumerate() {
                *chain = simd.splat(start as f32);
            }
            for _ in 0..self.steps {
                for chain in &mut chains {
                    *chain = simd.multiply_add(*chain, factor, value);
                }
            }
            let mut sum = simd.splat(0.0);
            for chain in chains {
                sum = simd.multiply_add(chain, one, sum);
            }
            // SAFETY: as above.
            unsafe { simd.store(sum, strip.as_mut_ptr()) };
            results.copy_from_slice(&strip[..results.len()]);
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (values, results) = (args.read("values"), args.write("results"));
    for i in 0..args.images() * args.size("LENGTH") {
        let mut chains: [f64; CHAINS] = std::array::from_fn(|start| start as f64);
        for _ in 0..STEPS * args.size("ROUNDS") {
            chains = chains.map(|x| FACTOR * x + values[i]);
        }
        results[i] = chains.iter().sum();
    }
}
