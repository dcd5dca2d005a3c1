//! What the three dense kernels share.

use compute::kernel::{Case, Constants, linear_workgroups};

/// Invocations in a workgroup of the dense kernels.
const WORKGROUP: usize = 64;

/// Whether inputs and outputs can be taken four at once.
pub(crate) fn by_four(c: &Constants) -> bool {
    c.size("INPUTS").is_multiple_of(4) && c.size("OUTPUTS").is_multiple_of(4)
}

/// Workgroups that each take 8 images and 32 columns. Those that run one after the other share
/// the weights of their columns, not the images: there are more weights.
pub(crate) fn tiles(images: usize, columns: usize) -> [u32; 3] {
    [images.div_ceil(8) as u32, columns.div_ceil(32) as u32, 1]
}

/// Workgroups that each take a tile of `ROWS` x `COLUMNS` sums out of this many.
pub(crate) fn tile_workgroups<const ROWS: usize, const COLUMNS: usize>(
    rows: usize,
    columns: usize,
) -> [u32; 3] {
    linear_workgroups(rows.div_ceil(ROWS) * columns.div_ceil(COLUMNS), 1)
}

/// Workgroups for this many invocations.
pub(crate) fn workgroups(invocations: usize) -> [u32; 3] {
    linear_workgroups(invocations, WORKGROUP)
}

/// Sizes to test the dense kernels on.
pub(crate) fn cases() -> Vec<Case> {
    let sizes = [
        (1, 1, 1),
        (3, 7, 33),
        (9, 33, 7),
        (1, 4, 4),
        (11, 36, 100),
        (33, 132, 12),
        // Several tiles in both directions.
        (70, 68, 140),
        // More inputs than the iterations that some drivers allow an invocation.
        (1, 70_001, 1),
        // The layers of the tutorial's network.
        (2, 2304, 384),
        (7, 384, 192),
        (128, 192, 10),
    ];
    sizes
        .map(|(images, inputs, outputs)| {
            let constants = Constants::default().with("INPUTS", inputs).with("OUTPUTS", outputs);
            Case::new(images, constants)
        })
        .to_vec()
}
