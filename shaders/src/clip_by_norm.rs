//! The second half of clipping gradients by their norm.

use compute::kernel::{Args, Binding, Case, Constants, Extent::Summed, Kernel, linear_workgroups};
use rayon::prelude::*;

use crate::form::{CHUNK, LENGTHS, WORKGROUP, only};

/// Scales gradients so that the norm of all of a model is at most `NORM`: `gradients *= min(1,
/// NORM / sqrt(squares))`. `squares` is the sum of the squares of all, of which these are a part.
pub static KERNEL: Kernel = Kernel {
    name: "clip_by_norm",
    about: "Scales gradients down to a norm of the whole model.",
    bindings: &[Binding::read("squares", Summed), Binding::write("gradients", Summed)],
    lengths: |c| vec![1, c.size("LENGTH")],
    terms: |_, _| 2,
    variants: &[only("clip_by_norm", include_str!("../clip_by_norm.wgsl"), |c, _| {
        linear_workgroups(c.size("LENGTH"), WORKGROUP)
    })],
    cpu,
    reference,
    cases: || {
        let case = |length, squares| {
            let constants = Constants::default().with("LENGTH", length).with_real("NORM", 1.5);
            Case::new(1, constants).given("squares", vec![squares])
        };
        let mut cases = LENGTHS.map(|length| case(length, 70.0)).to_vec();
        // Of the norm itself, below it, none, and far beyond it.
        cases.extend([2.25, 2.0, 0.0, 1e30].map(|squares| case(33, squares)));
        cases
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let most = args.constants.real("NORM") as f32;
    let norm = args.read("squares")[0].sqrt();
    let gradients = args.write("gradients");
    if norm > most {
        let scale = most / norm;
        gradients.par_chunks_mut(CHUNK).for_each(|gradients| {
            gradients.iter_mut().for_each(|gradient| *gradient *= scale);
        });
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (squares, gradients) = (args.read("squares"), args.write("gradients"));
    let scale = (args.constants.real("NORM") / squares[0].sqrt()).min(1.0);
    for gradient in &mut gradients[..args.size("LENGTH")] {
        *gradient *= scale;
    }
}
