//! The moving averages of the losses.

use compute::kernel::{Args, Binding, Case, Constants, Extent, Kernel, linear_workgroups};

use crate::form::{WORKGROUP, only};

/// Moves the averages towards the losses by a share: `averages -= REST * (averages - losses)`.
pub static KERNEL: Kernel = Kernel {
    name: "loss_average_update",
    about: "Moves the averages of the losses towards the losses.",
    bindings: &[Binding::read("losses", Extent::Summed), Binding::write("averages", Extent::Whole)],
    lengths: |c| vec![c.size("LENGTH"); 2],
    terms: |_, _| 2,
    variants: &[only(
        "loss_average_update",
        include_str!("../loss_average_update.wgsl"),
        |c, _| linear_workgroups(c.size("LENGTH"), WORKGROUP),
    )],
    cpu,
    reference,
    cases: || {
        let constants =
            |length, rest| Constants::default().with("LENGTH", length).with_real("REST", rest);
        [(1, 0.1), (3, 0.1), (33, 0.5), (257, 0.1)]
            .map(|(length, rest)| Case::new(1, constants(length, rest)))
            .to_vec()
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let rest = args.constants.real("REST") as f32;
    let losses = args.read("losses");
    for (average, loss) in args.write("averages").iter_mut().zip(losses) {
        *average -= rest * (*average - loss);
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (losses, averages) = (args.read("losses"), args.write("averages"));
    let rest = args.constants.real("REST");
    for i in 0..args.size("LENGTH") {
        averages[i] = (1.0 - rest) * averages[i] + rest * losses[i];
    }
}
