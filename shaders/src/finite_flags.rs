//! Looks for numbers that are none.

use compute::kernel::{Args, Binding, Case, Constants, Extent, Kernel, linear_workgroups};
use rayon::prelude::*;

use crate::form::only;

/// Values that share a flag.
pub(crate) const STRETCH: usize = 4096;

/// The bits of the exponent of an f32: all set where it is infinite or no number.
const EXPONENT: u32 = 0x7f80_0000;

/// Notes in which step a stretch of values first held one that is infinite or no number: sets its
/// flag, from `OFFSET` on, to the number of steps, this one included, unless it is set already.
pub static KERNEL: Kernel = Kernel {
    name: "finite_flags",
    about: "Notes in which step values first were not finite.",
    bindings: &[
        Binding::read("values", Extent::Whole),
        Binding::write("flags", Extent::Whole).of_indices(),
    ],
    lengths: |c| vec![c.size("LENGTH"), c.size("TOTAL")],
    terms: |_, _| 1,
    variants: &[only("finite_flags", include_str!("../finite_flags.wgsl"), |c, _| {
        linear_workgroups(stretches(c.size("LENGTH")), 1)
    })],
    cpu,
    reference,
    cases: || {
        let case = |length, [offset, total]: [usize; 2], wrong: &[(usize, f64)]| {
            let mut values: Vec<f64> = (0..length).map(|i| (i % 9) as f64 - 4.0).collect();
            wrong.iter().for_each(|(at, value)| values[*at] = *value);
            let constants = Constants::default()
                .with("LENGTH", length)
                .with("OFFSET", offset)
                .with("TOTAL", total);
            Case::new(1, constants).given("values", values)
        };
        let none = |total| vec![0.0; total];
        let most = f64::from(f32::MAX);
        vec![
            case(1, [0, 1], &[(0, f64::NAN)]).given("flags", none(1)),
            case(1, [0, 1], &[(0, -most)]).given("flags", none(1)),
            case(33, [2, 5], &[(32, f64::INFINITY), (7, most)]).given("flags", none(5)),
            case(4096, [1, 2], &[(4095, f64::NEG_INFINITY)]).given("flags", none(2)),
            case(4097, [0, 2], &[(4096, f64::NAN)]).given("flags", none(2)),
            // What is set stays, beside a stretch that is not yet.
            case(2 * 4096 + 7, [0, 3], &[(5, f64::NAN), (2 * 4096, f64::NAN)])
                .given("flags", vec![2.0, 0.0, 0.0]),
            case(2304 * 384, [3, 220], &[(100_000, f64::NAN), (800_000, f64::INFINITY)])
                .given("flags", none(220)),
            case(257, [0, 1], &[]).given("flags", none(1)),
        ]
    },
};

/// Flags that so many values need.
pub const fn stretches(length: usize) -> usize {
    length.div_ceil(STRETCH)
}

/// Whether a value is finite, by its bits.
pub(crate) fn is_finite(value: &f32) -> bool {
    value.to_bits() & EXPONENT != EXPONENT
}

fn cpu(args: &mut Args<'_, f32>) {
    let flag = args.step.step.wrapping_add(1);
    let values = args.read("values");
    let flags = &mut args.write_index("flags")[args.size("OFFSET")..];
    flags.par_iter_mut().zip(values.par_chunks(STRETCH)).for_each(|(to, values)| {
        if *to == 0 && !values.iter().all(is_finite) {
            *to = flag;
        }
    });
}

fn reference(args: &mut Args<'_, f64>) {
    let (values, flags) = (args.read("values"), args.write_index("flags"));
    for (i, value) in values.iter().enumerate() {
        let at = args.size("OFFSET") + i / STRETCH;
        if flags[at] == 0 && !value.is_finite() {
            flags[at] = args.step.step + 1;
        }
    }
}
