//! Every `cpu` form in every set of instructions that the processor has, against the reference.

use base::random::Random;
use compute::adapter::Adapter as _;
use compute::adapter::host::Cpu;
use compute::isa::Isa;
use compute::kernel::{Access, Args, Dtype, Extent, Kernel, Slot, Step};
use compute::precision::{Precision, to_bf16};
use compute::verify;

#[test]
fn every_set_of_instructions_matches_the_reference() {
    for isa in Isa::all() {
        let adapter = Cpu::with_isa(2, isa).expect("the cpu adapter starts");
        for precision in adapter.info().precisions.clone() {
            for kernel in shaders::ALL {
                let outcomes = verify::kernel(&adapter, kernel, precision);
                for outcome in outcomes.expect("the reference runs") {
                    assert!(outcome.passed, "{}: {outcome}", isa.name());
                }
            }
        }
    }
}

/// The kernels that multiply pairs of bf16.
const PAIRED: [&Kernel; 6] = [
    &shaders::conv2d_forward::KERNEL,
    &shaders::conv2d_backward_input::KERNEL,
    &shaders::conv2d_backward_weights::KERNEL,
    &shaders::dense_forward::KERNEL,
    &shaders::dense_backward_input::KERNEL,
    &shaders::dense_backward_weights::KERNEL,
];

/// What a form gives for any numbers is what the reference gives for the numbers rounded to bf16,
/// but for the sums' rounding; with the plain form of pairs as well, which any processor has.
#[test]
fn factors_are_rounded_to_the_nearest_bf16() {
    for kernel in PAIRED {
        for (number, case) in (kernel.cases)().iter().enumerate() {
            // A part of sums over images is handed to a form by itself.
            let is_parted = case.constants.pairs().iter().any(|(n, v)| *n == "SPLITS" && *v > 1.0);
            // Where the reversed convolution is none, products are those of f32.
            let is_strided = ["STRIDE_Y", "STRIDE_X"].iter().any(|stride| {
                case.constants.pairs().iter().any(|(name, value)| name == stride && *value > 1.0)
            });
            if is_parted || is_strided && kernel.name == "conv2d_backward_input" {
                continue;
            }
            let step = Step::of(case.images);
            let mut random = Random::keyed(number as u64, kernel.name, 0, 0);
            let lengths = (kernel.lengths)(&case.constants);
            let tensors: Vec<Vec<f32>> = kernel
                .bindings
                .iter()
                .zip(lengths)
                .map(|(binding, length)| {
                    assert_eq!(binding.dtype, Dtype::Real);
                    let images = match binding.extent {
                        Extent::PerImage => case.images,
                        _ => 1,
                    };
                    match binding.access {
                        Access::Read => {
                            (0..images * length).map(|_| random.normal() as f32).collect()
                        }
                        Access::Write => vec![0.0; images * length],
                    }
                })
                .collect();
            let is_factor = |name: &str| name != "biases";
            let rounded = |name: &str, value: f32| {
                f64::from(if is_factor(name) { to_bf16(value) } else { value })
            };
            let mut expected: Vec<Vec<f64>> = tensors
                .iter()
                .zip(kernel.bindings)
                .map(|(values, b)| values.iter().map(|value| rounded(b.name, *value)).collect())
                .collect();
            (kernel.reference)(&mut Args::new(
                &case.constants,
                &step,
                slots(kernel, &mut expected),
            ));
            let terms = (kernel.terms)(&case.constants, case.images).max(1) as f64;
            for isa in Isa::all() {
                let mut actual = tensors.clone();
                let slots = slots(kernel, &mut actual);
                let mut args = Args::new(&case.constants, &step, slots);
                (args.isa, args.precision) = (isa, Precision::Bf16);
                (kernel.cpu)(&mut args);
                let (actual, expected) = (&actual[actual.len() - 1], &expected[expected.len() - 1]);
                let largest = expected.iter().fold(0.0_f64, |m, value| m.max(value.abs()));
                let bound = 1e-6 * terms.sqrt() * largest;
                for (at, (actual, expected)) in actual.iter().zip(expected).enumerate() {
                    assert!(
                        (f64::from(*actual) - expected).abs() <= bound,
                        "{} in {}, {}, element {at}: {actual} for {expected}",
                        kernel.name,
                        isa.name(),
                        case.constants
                    );
                }
            }
        }
    }
}

fn slots<'a, T>(
    kernel: &'static Kernel,
    tensors: &'a mut [Vec<T>],
) -> impl Iterator<Item = (&'static str, Slot<'a, T>)> {
    kernel.bindings.iter().zip(tensors).map(|(binding, values)| match binding.access {
        Access::Read => (binding.name, Slot::Read(values)),
        Access::Write => (binding.name, Slot::Write(values)),
    })
}
