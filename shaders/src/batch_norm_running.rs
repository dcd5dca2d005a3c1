//! Running statistics.

use compute::kernel::{Args, Binding, Case, Constants, Extent::Whole, Kernel, linear_workgroups};

use crate::form::{LENGTHS, WORKGROUP, only};

/// Moves the running statistics towards those of a batch: `running += MOMENTUM * (batch - running)`,
/// where the batch's variance is divided by one position less than there are, as PyTorch does. The
/// positions are those of the whole batch, or of the images at hand alone where SYNC is 0.
pub static KERNEL: Kernel = Kernel {
    name: "batch_norm_running",
    about: "Moves the running mean and variance towards those of a batch.",
    bindings: &[
        Binding::read("mean", Whole),
        Binding::read("variance", Whole),
        Binding::write("running_mean", Whole),
        Binding::write("running_variance", Whole),
    ],
    lengths: |c| vec![c.size("CHANNELS"); 4],
    terms: |_, _| 3,
    variants: &[only("batch_norm_running", include_str!("../batch_norm_running.wgsl"), |c, _| {
        linear_workgroups(c.size("CHANNELS"), WORKGROUP)
    })],
    cpu,
    reference,
    cases: || {
        let case = |images, positions, channels, sync| {
            let constants = Constants::default()
                .with("POSITIONS", positions)
                .with("CHANNELS", channels)
                .with("SYNC", sync)
                .with_real("MOMENTUM", 0.1);
            Case::new(images, constants)
        };
        let mut cases: Vec<Case> = LENGTHS[..5].iter().map(|n| case(3, 4, *n, 1)).collect();
        // A single position has no variance that could be corrected.
        cases.push(case(1, 1, 3, 1));
        // As part of a batch that is three times as large.
        cases.push(case(2, 1, 3, 1).accumulating());
        cases.push(case(2, 1, 3, 0).accumulating());
        cases
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let momentum = args.constants.real("MOMENTUM") as f32;
    let correction = correction(args) as f32;
    let (mean, variance) = (args.read("mean"), args.read("variance"));
    for (running, mean) in args.write("running_mean").iter_mut().zip(mean) {
        *running += momentum * (mean - *running);
    }
    for (running, variance) in args.write("running_variance").iter_mut().zip(variance) {
        *running += momentum * (correction * variance - *running);
    }
}

/// What makes of a batch's variance an estimate of that of all images.
fn correction<T>(args: &Args<'_, T>) -> f64 {
    let images = if args.size("SYNC") == 1 { args.step.batch } else { args.step.images };
    let positions = f64::from(images) * args.constants.real("POSITIONS");
    positions / (positions - 1.0).max(1.0)
}

fn reference(args: &mut Args<'_, f64>) {
    let (momentum, correction) = (args.constants.real("MOMENTUM"), correction(args));
    let (mean, variance) = (args.read("mean"), args.read("variance"));
    let (running_mean, running_variance) =
        (args.write("running_mean"), args.write("running_variance"));
    for channel in 0..args.size("CHANNELS") {
        running_mean[channel] = (1.0 - momentum) * running_mean[channel] + momentum * mean[channel];
        running_variance[channel] = (1.0 - momentum) * running_variance[channel]
            + momentum * correction * variance[channel];
    }
}
