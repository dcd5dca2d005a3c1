//! What the `cpu` forms of local response normalisation share: sums over neighbouring channels, and
//! powers of them, for strips of channels that fit vector registers.

use runtime::kernel::Constants;

/// Channels that are worked on together.
pub(crate) const LANES: usize = 16;

/// A strip of channels.
pub(crate) type Strip = [f32; LANES];

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

impl Norm {
    /// Numbers of a row: whole strips of channels, with `radius` zeros on both sides so that every
    /// window has its full width.
    pub(crate) fn row(&self) -> usize {
        self.channels.next_multiple_of(LANES) + 2 * self.radius
    }

    /// Writes the channels of a row; what is around them stays 0.
    #[inline(always)]
    pub(crate) fn fill(&self, row: &mut [f32], values: impl Iterator<Item = f32>) {
        row[self.radius..][..self.channels].iter_mut().zip(values).for_each(|(to, v)| *to = v);
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
    pub(crate) fn powers(&self, sums: Strip) -> [Strip; 2] {
        let scales = sums.map(|sum| self.bias + self.alpha * sum);
        let inverses = scales.map(|scale| 1.0 / scale);
        let powers = if self.beta == 0.75 {
            // Two square roots are much faster than a power.
            inverses.map(|inverse| {
                let root = inverse.sqrt();
                root * root.sqrt()
            })
        } else {
            scales.map(|scale| scale.powf(-self.beta))
        };
        [powers, inverses]
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
