//! The moving averages of the weights, and a look at the weights on the way.

use compute::kernel::{Args, Binding, Case, Constants, Extent, Kernel, linear_workgroups};
use rayon::prelude::*;

use crate::finite_flags::{STRETCH, is_finite, stretches};
use crate::form::{LENGTHS, only};

/// Moves the averages towards the weights: `averages -= (1 - decay) * (averages - weights)`. As the
/// weights are being read, it flags them as [`finite_flags`](crate::finite_flags) does.
pub static KERNEL: Kernel = Kernel {
    name: "moving_average_update",
    about: "Moves the averages towards the weights, and notes in which step these first were not \
            finite.",
    bindings: &[
        Binding::read("weights", Extent::Whole),
        Binding::write("averages", Extent::Whole),
        Binding::write("flags", Extent::Whole).of_indices(),
    ],
    lengths: |c| vec![c.size("LENGTH"), c.size("LENGTH"), c.size("TOTAL")],
    terms: |_, _| 2,
    variants: &[only(
        "moving_average_update",
        include_str!("../moving_average_update.wgsl"),
        |c, _| linear_workgroups(stretches(c.size("LENGTH")), 1),
    )],
    cpu,
    reference,
    cases: || {
        let case = |length, [offset, total]: [usize; 2]| {
            let constants = Constants::default()
                .with("LENGTH", length)
                .with("OFFSET", offset)
                .with("TOTAL", total);
            Case::new(1, constants)
        };
        let none = |total| vec![0.0; total];
        let mut cases: Vec<Case> = LENGTHS
            .map(|length| {
                let total = 2 + stretches(length);
                case(length, [1, total]).given("flags", none(total))
            })
            .to_vec();
        let weights = |length, wrong: &[usize]| -> Vec<f64> {
            (0..length).map(|i| if wrong.contains(&i) { f64::INFINITY } else { 1.0 }).collect()
        };
        // What is set stays, beside a stretch that is not yet.
        cases.push(
            case(2 * STRETCH + 7, [1, 4])
                .given("weights", weights(2 * STRETCH + 7, &[5, 2 * STRETCH]))
                .given("averages", weights(2 * STRETCH + 7, &[]))
                .given("flags", vec![0.0, 2.0, 0.0, 0.0]),
        );
        cases
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let (rest, flag) = (1.0 - args.step.average_decay, args.step.step.wrapping_add(1));
    let weights = args.read("weights").par_chunks(STRETCH);
    let flags = args.write_index("flags")[args.size("OFFSET")..].par_iter_mut();
    let averages = args.write("averages").par_chunks_mut(STRETCH);
    averages.zip(weights).zip(flags).for_each(|((averages, weights), to)| {
        for (average, weight) in averages.iter_mut().zip(weights) {
            *average -= rest * (*average - weight);
        }
        if *to == 0 && !weights.iter().all(is_finite) {
            *to = flag;
        }
    });
}

fn reference(args: &mut Args<'_, f64>) {
    let (weights, averages) = (args.read("weights"), args.write("averages"));
    let flags = args.write_index("flags");
    let decay = f64::from(args.step.average_decay);
    for i in 0..args.size("LENGTH") {
        averages[i] = decay * averages[i] + (1.0 - decay) * weights[i];
        let at = args.size("OFFSET") + i / STRETCH;
        if flags[at] == 0 && !weights[i].is_finite() {
            flags[at] = args.step.step + 1;
        }
    }
}
