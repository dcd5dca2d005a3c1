//! The first half of a batch's statistics.

use compute::kernel::{Args, Binding, Case, Extent::PerImage, Extent::PerPart, Kernel};

use crate::batch_norm::{WORKGROUP_CHANNELS, part_length, sizes};
use crate::form::only;
use crate::simd::vectorized;
use crate::strips::{Strips, in_strips, lanes};

/// For each part of the images: its positions, each channel's mean over them, and the sum of the
/// squared distances from that mean. A part is the next `images / SPLITS` images, rounded up; one that
/// is left without images is 0.
///
/// Distances are from the part's own mean, so that nothing is lost where a channel's mean is large
/// beside its deviation; parts are put together as Chan, Golub and LeVeque do ("Updating formulae and a
/// pairwise algorithm for computing sample variances", 1979).
pub static KERNEL: Kernel = Kernel {
    name: "batch_norm_statistics",
    about: "Takes each channel's mean and squared distances from it, in several parts of a batch.",
    bindings: &[Binding::read("input", PerImage), Binding::write("partials", PerPart("SPLITS"))],
    lengths: |c| vec![c.size("POSITIONS") * c.size("CHANNELS"), c.size("SPLITS") * part_length(c)],
    terms: |c, images| images.div_ceil(c.size("SPLITS")) * c.size("POSITIONS"),
    variants: &[only(
        "batch_norm_statistics",
        include_str!("../batch_norm_statistics.wgsl"),
        |c, _| {
            let groups = c.size("CHANNELS").div_ceil(WORKGROUP_CHANNELS);
            [groups as u32, c.size("SPLITS") as u32, 1]
        },
    )],
    cpu,
    reference,
    cases: || {
        let mut cases: Vec<Case> =
            sizes().into_iter().map(|(images, constants)| Case::new(images, constants)).collect();
        // Means that are large beside the deviation: sums of squares would be all rounding.
        for case in cases.clone() {
            let input = (KERNEL.lengths)(&case.constants)[0] * case.images;
            let values = (0..input).map(|i| 500.0 + ((i * 37) % 101) as f64 / 64.0).collect();
            cases.push(case.given("input", values));
        }
        cases
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let (positions, channels) = (args.size("POSITIONS"), args.size("CHANNELS"));
    let (images, part) = (args.read("input"), args.write("partials"));
    add_images(args.isa, images, positions, channels, part);
}

vectorized! {
    fn add_images(images: &[f32], positions: usize, channels: usize, part: &mut [f32]) {
        for image in images.chunks_exact(positions * channels) {
            let (count, sums) = part.split_at_mut(1);
            let (means, squares) = sums.split_at_mut(channels);
            let (before, here) = (count[0], positions as f32);
            let share = here / (before + here);
            in_strips(channels, &mut Merge { image, channels, before, share, means, squares });
            count[0] += here;
        }
    }
}

/// An image that is added to the statistics of those before it. One at a time: nothing depends on how
/// many images a call gets.
struct Merge<'a> {
    image: &'a [f32],
    channels: usize,
    /// Positions of the images before.
    before: f32,
    /// The image's share of all positions.
    share: f32,
    means: &'a mut [f32],
    squares: &'a mut [f32],
}

impl Strips for Merge<'_> {
    #[inline(always)]
    fn strip<const N: usize>(&mut self, first: usize) {
        let rows = || self.image.chunks_exact(self.channels).map(|row| lanes::<N>(row, first));
        let mut sums = [0.0; N];
        for row in rows() {
            for i in 0..N {
                sums[i] += row[i];
            }
        }
        let positions = (self.image.len() / self.channels) as f32;
        let image_means = sums.map(|sum| sum / positions);
        let mut image_squares = [0.0; N];
        for row in rows() {
            for i in 0..N {
                let distance = row[i] - image_means[i];
                image_squares[i] += distance * distance;
            }
        }
        let means = &mut self.means[first..][..N];
        let squares = &mut self.squares[first..][..N];
        for i in 0..N {
            let apart = image_means[i] - means[i];
            squares[i] += image_squares[i] + apart * apart * self.before * self.share;
            means[i] += apart * self.share;
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let size = |name| args.constants.size(name);
    let (positions, channels, splits) = (size("POSITIONS"), size("CHANNELS"), size("SPLITS"));
    let (images, input) = (args.images(), args.read("input"));
    let images_of_part = images.div_ceil(splits);
    let partials = args.write("partials");
    for (split, part) in partials.chunks_exact_mut(1 + 2 * channels).enumerate() {
        let first = (split * images_of_part).min(images);
        let last = (first + images_of_part).min(images);
        part.fill(0.0);
        let count = ((last - first) * positions) as f64;
        if count == 0.0 {
            continue;
        }
        part[0] = count;
        for channel in 0..channels {
            let values =
                || (first * positions..last * positions).map(|at| input[at * channels + channel]);
            let mean = values().sum::<f64>() / count;
            part[1 + channel] = mean;
            part[1 + channels + channel] = values().map(|x| (x - mean).powi(2)).sum();
        }
    }
}
