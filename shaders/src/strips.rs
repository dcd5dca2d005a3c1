//! Strips of neighbouring channels, whose numbers stay in registers over many positions.

use crate::simd::MOST_LANES;

/// Neighbouring channels whose numbers stay in registers over many positions: enough for several
/// additions to be under way at once.
const WIDE: usize = 4 * MOST_LANES;

/// What is done to neighbouring channels.
pub(crate) trait Strips {
    /// Does it to `N` channels from `first` on. To be `#[inline(always)]`.
    fn strip<const N: usize>(&mut self, first: usize);
}

/// Takes all channels in strips, the widest first.
#[inline(always)]
pub(crate) fn in_strips(channels: usize, work: &mut impl Strips) {
    let mut first = 0;
    while first < channels {
        match channels - first {
            WIDE.. => {
                work.strip::<WIDE>(first);
                first += WIDE;
            }
            MOST_LANES.. => {
                work.strip::<MOST_LANES>(first);
                first += MOST_LANES;
            }
            _ => {
                work.strip::<1>(first);
                first += 1;
            }
        }
    }
}

/// The `N` numbers of a row from `first` on.
#[inline(always)]
pub(crate) fn lanes<const N: usize>(row: &[f32], first: usize) -> [f32; N] {
    let row = &row[first..][..N];
    std::array::from_fn(|i| row[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_take_each_channel_once() {
        struct Count(Vec<usize>);
        impl Strips for Count {
            fn strip<const N: usize>(&mut self, first: usize) {
                self.0[first..first + N].iter_mut().for_each(|times| *times += 1);
            }
        }
        for channels in [1, 3, 17, 70, 256] {
            let mut count = Count(vec![0; channels]);
            in_strips(channels, &mut count);
            assert_eq!(count.0, vec![1; channels]);
        }
    }
}
