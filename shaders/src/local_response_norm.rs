//! What the `cpu` forms of local response normalisation share: sums over neighbouring channels, and
//! powers of them, for strips of channels that fit vector registers.

use compute::kernel::Constants;

use crate::simd::{MOST_LANES as LANES, Simd, Strip, inverse_roots};

/// The numbers of a normalisation.
pub(crate) struct Norm {
    pub(crate) channels: usize,
    radius: usize,
    bias: f32,
    alpha: f32,
    beta: f32,
}

impl From<&Constants> for Norm {
    fn from(constants: &Constants) -> Self {
        let channels = constants.size("CHANNELS");
        Self {
            channels,
            // A wider window reaches no further channel.
            radius: constants.size("RADIUS").min(channels),
            bias: constants.real("BIAS") as f32,
            alpha: constants.real("ALPHA") as f32,
            beta: constants.real("BETA") as f32,
        }
    }
}

/// Positions whose rows are written before the first is read: windows across two vectors that were
/// only just written would wait for them.
const AT_ONCE: usize = 16;

impl Norm {
    /// Numbers of some positions that are worked on together.
    pub(crate) fn block(&self) -> usize {
        AT_ONCE * self.channels
    }

    /// Numbers of their rows.
    pub(crate) fn rows(&self) -> usize {
        AT_ONCE * self.row()
    }

    /// Numbers of a row: whole strips of channels, with `radius` zeros on both sides so that every
    /// window has its full width.
    pub(crate) fn row(&self) -> usize {
        self.channels.next_multiple_of(LANES) + 2 * self.radius
    }

    /// Writes the squares of some positions' channels to their rows; what is around them stays 0.
    #[inline(always)]
    pub(crate) fn square(&self, input: &[f32], rows: &mut [f32]) {
        for (input, row) in input.chunks_exact(self.channels).zip(rows.chunks_exact_mut(self.row()))
        {
            let row = &mut row[self.radius..][..self.channels];
            row.iter_mut().zip(input).for_each(|(to, x)| *to = x * x);
        }
    }

    /// The channels of a row from this strip on.
    #[inline(always)]
    pub(crate) fn strip_mut<'a>(&self, row: &'a mut [f32], strip: usize) -> &'a mut [f32] {
        let first = strip * LANES;
        let len = LANES.min(self.channels - first);
        &mut row[self.radius + first..][..len]
    }

    /// For each channel of a strip the sum of those of the row that are within the radius.
    #[inline(always)]
    pub(crate) fn window_sums(&self, row: &[f32], strip: usize) -> Strip {
        let mut sums = [0.0; LANES];
        let reached = &row[strip * LANES..][..LANES + 2 * self.radius];
        for window in reached.windows(LANES) {
            sums.iter_mut().zip(window).for_each(|(sum, value)| *sum += value);
        }
        sums
    }

    /// `N^-BETA` and `1 / N`, where `N` is `BIAS + ALPHA * sum`.
    #[inline(always)]
    pub(crate) fn powers<S: Simd>(&self, simd: S, sums: Strip) -> [Strip; 2] {
        let scales = sums.map(|sum| self.bias + self.alpha * sum);
        if self.beta == 0.75 {
            // Two roots are much faster than a power.
            let roots = inverse_roots(simd, scales);
            let fourth = inverse_roots(simd, roots);
            let squares = roots.map(|root| root * root);
            [std::array::from_fn(|i| squares[i] * fourth[i]), squares]
        } else {
            [scales.map(|scale| scale.powf(-self.beta)), scales.map(|scale| 1.0 / scale)]
        }
    }
}

/// A strip of channels, with 0 for those that there are not.
#[inline(always)]
pub(crate) fn load(channels: &[f32]) -> Strip {
    match channels.first_chunk() {
        Some(strip) => *strip,
        None => {
            let mut strip = [0.0; LANES];
            strip[..channels.len()].copy_from_slice(channels);
            strip
        }
    }
}

/// Writes those channels of a strip that there are.
#[inline(always)]
pub(crate) fn store(strip: Strip, channels: &mut [f32]) {
    match channels.first_chunk_mut() {
        Some(to) => *to = strip,
        None => channels.copy_from_slice(&strip[..channels.len()]),
    }
}
