//! What the three kernels of locally connected layers share: sizes, how images lie side by side in
//! the `cpu` forms, and the cases of their tests. The sizes are those of a convolution whose weights,
//! output height x output width x kernel height x kernel width x input channels x output channels,
//! are others at each position.

use compute::kernel::{Constants, linear_workgroups};

use crate::conv2d::{Conv2d, size};

/// Rows and columns of sums that a workgroup of the WGSL forms computes.
const TILE: usize = 32;

/// Elements of the weights of all positions.
pub(crate) fn weights(conv: &Conv2d) -> usize {
    conv.positions() * conv.weights()
}

/// Workgroups for so many products of this many rows and columns.
pub(crate) fn workgroups(products: usize, rows: usize, columns: usize) -> [u32; 3] {
    linear_workgroups(products * rows.div_ceil(TILE) * columns.div_ceil(TILE), 1)
}

/// Copies images so that each element's values in all images are neighbours; what is left of a row
/// beyond them is 0.
pub(crate) fn lay_across(images: &[f32], length: usize, row: usize, across: &mut [f32]) {
    let count = images.len() / length;
    for (at, to) in across.chunks_exact_mut(row).enumerate() {
        let (values, rest) = to.split_at_mut(count);
        values.iter_mut().zip(images[at..].iter().step_by(length)).for_each(|(to, x)| *to = *x);
        rest.fill(0.0);
    }
}

/// Copies them back.
pub(crate) fn lay_along(across: &[f32], row: usize, length: usize, images: &mut [f32]) {
    for (at, image) in images.chunks_exact_mut(length).enumerate() {
        image.iter_mut().zip(across[at..].iter().step_by(row)).for_each(|(to, x)| *to = *x);
    }
}

/// Images and sizes to test the kernels on.
pub(crate) fn sizes() -> Vec<(usize, Constants)> {
    vec![
        (1, size([1, 1, 1], [1, 1, 1], [1, 1], [1, 1], [0, 0])),
        (3, size([7, 5, 7], [4, 3, 33], [3, 3], [2, 2], [1, 1])),
        // Without padding, few input channels, and more images than fill a tile.
        (35, size([5, 6, 3], [4, 2, 8], [2, 5], [1, 1], [0, 0])),
        // Padding of 1 before and 2 after, and the reverse.
        (13, size([6, 13, 4], [3, 14, 12], [4, 3], [2, 1], [1, 2])),
        // Taps that no position of the image meets.
        (2, size([1, 2, 4], [1, 2, 8], [5, 5], [1, 1], [2, 2])),
        // Steps beyond the kernel leave elements that nothing looks at.
        (2, size([9, 9, 2], [3, 3, 3], [2, 2], [3, 3], [0, 0])),
        // A few channels beyond whole vectors and tiles.
        (17, size([3, 4, 17], [3, 4, 35], [3, 3], [1, 1], [1, 1])),
        // The two of cuda-convnet's 11 % network.
        (33, size([6, 6, 64], [6, 6, 64], [3, 3], [1, 1], [1, 1])),
        (5, size([6, 6, 64], [6, 6, 32], [3, 3], [1, 1], [1, 1])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_lie_across_and_along_again() {
        let images: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let mut across = [9.0; 12];
        lay_across(&images, 3, 4, &mut across);
        assert_eq!(across, [0.0, 3.0, 0.0, 0.0, 1.0, 4.0, 0.0, 0.0, 2.0, 5.0, 0.0, 0.0]);
        let mut again = [9.0; 6];
        lay_along(&across, 4, 3, &mut again);
        assert_eq!(again, images[..]);
    }
}
