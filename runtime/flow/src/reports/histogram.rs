//! How numbers are distributed, fast enough to ask of every weight and activation.

use std::fmt;

/// Bits of an f32 below those that choose its bucket: sign, exponent and 3 bits of the mantissa.
const SHIFT: u32 = 20;
/// Buckets, those of infinities and of what is no number among them.
const BUCKETS: usize = 1 << (32 - SHIFT);
/// The first bucket of a negative sign.
const NEGATIVE: usize = BUCKETS / 2;
/// The bucket of infinity; that of negative infinity is as far from [`NEGATIVE`].
const INFINITE: usize = 0x7f80_0000 >> SHIFT;
/// Values taken at once. Each position has sums of its own, so that none waits for another's.
const LANES: usize = 8;

/// The distribution of finite f32 values, in buckets an eighth of a power of two wide.
#[derive(Clone, PartialEq)]
pub struct Histogram {
    /// By top bits. Twice, taken in turn: alike values would wait for each other.
    counts: Box<[[u64; BUCKETS]]>,
    zeros: u64,
    min: f32,
    max: f32,
    sum: f64,
    sum_squares: f64,
}

/// Buckets in rising order, each beginning where the one before it ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Where each ends.
    pub limits: Vec<f64>,
    /// The values in each.
    pub counts: Vec<f64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![[0; BUCKETS]; 2].into_boxed_slice(),
            zeros: 0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            sum: 0.0,
            sum_squares: 0.0,
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("finite", &self.finite())
            .field("non_finite", &self.non_finite())
            .field("min", &self.min)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

impl Histogram {
    /// Of no values yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds values. Those that are infinite or no number are counted apart and enter nothing else.
    pub fn add(&mut self, values: &[f32]) {
        let mut lanes = Lanes::default();
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            self.count(chunk);
            lanes.add(chunk);
        }
        if !rest.is_empty() {
            self.count(rest);
            // What fills the last chunk up is no number, which enters nothing.
            let mut chunk = [f32::NAN; LANES];
            chunk[..rest.len()].copy_from_slice(rest);
            lanes.add(&chunk);
        }
        self.min = lanes.min.into_iter().fold(self.min, f32::min);
        self.max = lanes.max.into_iter().fold(self.max, f32::max);
        self.sum += lanes.sum.iter().sum::<f64>();
        self.sum_squares += lanes.sum_squares.iter().sum::<f64>();
        self.zeros += lanes.zeros.into_iter().sum::<u64>();
    }

    fn count(&mut self, values: &[f32]) {
        let [even, odd] = &mut *self.counts else { return };
        for pair in values.chunks(2) {
            even[bucket(pair[0])] += 1;
            if let Some(value) = pair.get(1) {
                odd[bucket(*value)] += 1;
            }
        }
    }

    /// The values in a bucket.
    fn at(&self, bucket: usize) -> u64 {
        self.counts.iter().map(|counts| counts[bucket]).sum()
    }

    /// Values that are numbers.
    pub fn finite(&self) -> u64 {
        rising().map(|bucket| self.at(bucket)).sum()
    }

    /// Values that are infinite or no number.
    pub fn non_finite(&self) -> u64 {
        let infinite = (INFINITE..NEGATIVE).chain(NEGATIVE + INFINITE..BUCKETS);
        infinite.map(|bucket| self.at(bucket)).sum()
    }

    /// Values that are exactly zero, of either sign.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// The smallest value, if there is one.
    pub fn min(&self) -> Option<f32> {
        self.min.is_finite().then_some(self.min)
    }

    /// The largest value, if there is one.
    pub fn max(&self) -> Option<f32> {
        self.max.is_finite().then_some(self.max)
    }

    /// The sum of the values.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The sum of their squares.
    pub fn sum_squares(&self) -> f64 {
        self.sum_squares
    }

    /// The distribution from the first bucket that holds values to the last, with all empty ones
    /// between two of them as one.
    pub fn buckets(&self) -> Buckets {
        let mut buckets = Buckets::default();
        for bucket in rising() {
            let count = self.at(bucket);
            if count == 0 {
                continue;
            }
            let [left, right] = ends(bucket);
            if buckets.limits.last().is_some_and(|last| *last < left) {
                buckets.limits.push(left);
                buckets.counts.push(0.0);
            }
            buckets.limits.push(right);
            buckets.counts.push(count as f64);
        }
        buckets
    }
}

/// Sums of values, one per position in a chunk.
struct Lanes {
    min: [f32; LANES],
    max: [f32; LANES],
    sum: [f64; LANES],
    sum_squares: [f64; LANES],
    zeros: [u64; LANES],
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            min: [f32::INFINITY; LANES],
            max: [f32::NEG_INFINITY; LANES],
            sum: [0.0; LANES],
            sum_squares: [0.0; LANES],
            zeros: [0; LANES],
        }
    }
}

impl Lanes {
    fn add(&mut self, values: &[f32; LANES]) {
        for (at, value) in values.iter().copied().enumerate() {
            let finite = value.is_finite();
            let [low, high] = if finite { [value; 2] } else { [f32::INFINITY, f32::NEG_INFINITY] };
            self.min[at] = if low < self.min[at] { low } else { self.min[at] };
            self.max[at] = if high > self.max[at] { high } else { self.max[at] };
            let value = if finite { f64::from(value) } else { 0.0 };
            self.sum[at] += value;
            self.sum_squares[at] += value * value;
            self.zeros[at] += u64::from(finite && value == 0.0);
        }
    }
}

/// The bucket of a value; that of 0 for -0.
fn bucket(value: f32) -> usize {
    ((value + 0.0).to_bits() >> SHIFT) as usize
}

/// The buckets of finite values, from the most negative to the most positive.
fn rising() -> impl Iterator<Item = usize> {
    (NEGATIVE..NEGATIVE + INFINITE).rev().chain(0..INFINITE)
}

/// Where a bucket of finite values begins and ends.
fn ends(bucket: usize) -> [f64; 2] {
    let edge = |bucket: usize| {
        let edge = f32::from_bits((bucket as u32) << SHIFT);
        f64::from(if edge.is_finite() { edge } else { f32::MAX })
    };
    match bucket.checked_sub(NEGATIVE) {
        None => [edge(bucket), edge(bucket + 1)],
        // 0 less the edge, not its negative: there is no -0 among the edges.
        Some(size) => [0.0 - edge(size + 1), 0.0 - edge(size)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::random::Random;

    fn of(values: &[f32]) -> Histogram {
        let mut histogram = Histogram::new();
        histogram.add(values);
        histogram
    }

    #[test]
    fn a_few_values_lie_in_their_buckets() {
        let histogram = of(&[1.0, -1.0, 1.05, 0.0, -0.0, 4.0, f32::NAN, f32::INFINITY]);
        assert_eq!((histogram.finite(), histogram.non_finite(), histogram.zeros()), (6, 2, 2));
        assert_eq!((histogram.min(), histogram.max()), (Some(-1.0), Some(4.0)));
        let buckets = histogram.buckets();
        // Zeros share their bucket with what is all but zero.
        let tiny = f64::from(f32::from_bits(1 << SHIFT));
        let expected = [(-1.0, 1.0), (0.0, 0.0), (tiny, 2.0), (1.0, 0.0), (1.125, 2.0)];
        let found: Vec<_> = buckets.limits.iter().copied().zip(buckets.counts).collect();
        assert_eq!(found[..5], expected);
        assert_eq!(found[5..], [(4.0, 0.0), (4.5, 1.0)]);
    }

    #[test]
    fn buckets_hold_what_lies_between_their_limits() {
        let mut random = Random::keyed(1, "histogram", 0, 0);
        let mut values = vec![f32::MAX, f32::MIN, f32::MIN_POSITIVE, -1e-45, 0.0, f32::NAN];
        // All magnitudes alike, so that most buckets have something and some do not.
        values.extend((0..5003).map(|_| {
            let magnitude = random.between(-40.0, 38.0);
            random.between(-1.0, 1.0) * 10_f32.powf(magnitude)
        }));
        let histogram = of(&values);
        values.retain(|value| value.is_finite());
        let Buckets { limits, counts } = histogram.buckets();
        assert!(limits.windows(2).all(|two| two[0] < two[1]));
        assert!(counts.windows(2).all(|two| two[0] > 0.0 || two[1] > 0.0));
        assert!(counts.first() > Some(&0.0) && counts.last() > Some(&0.0));
        // A negative value on a limit belongs to the bucket that ends there, a positive one to
        // the bucket that begins there.
        let below = |limit: f64| {
            let below =
                |v: &&f32| f64::from(**v) < limit || (limit < 0.0 && f64::from(**v) == limit);
            values.iter().filter(below).count() as f64
        };
        let mut total = 0.0;
        let last = counts.len() - 1;
        for (at, (limit, count)) in limits.iter().zip(&counts).enumerate() {
            total += count;
            // The largest f32 ends the last bucket and lies in it.
            let expected = if at == last { values.len() as f64 } else { below(*limit) };
            assert_eq!(total, expected, "{limit}");
        }
        assert_eq!(total, histogram.finite() as f64);
    }

    #[test]
    fn sums_are_those_of_the_finite_values() {
        let values: Vec<f32> = (0..1001).map(|i| (i % 17) as f32 - 8.0).collect();
        let mut histogram = Histogram::new();
        let (first, second) = values.split_at(333);
        histogram.add(first);
        histogram.add(&[f32::NEG_INFINITY]);
        histogram.add(second);
        // Whole numbers: exact in any order.
        let sum: f64 = values.iter().map(|v| f64::from(*v)).sum();
        let squares: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
        assert_eq!((histogram.sum(), histogram.sum_squares()), (sum, squares));
        let zeros = values.iter().filter(|v| **v == 0.0).count() as u64;
        assert_eq!((histogram.finite(), histogram.zeros()), (1001, zeros));
        assert_eq!((histogram.min(), histogram.max()), (Some(-8.0), Some(8.0)));
        let mut again = of(&values[500..]);
        again.add(&values[..500]);
        assert_eq!(histogram.buckets(), again.buckets());
        assert_eq!((histogram.sum(), histogram.zeros()), (again.sum(), again.zeros()));
    }

    #[test]
    fn nothing_and_nothing_finite_have_no_buckets() {
        for values in [&[][..], &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]] {
            let histogram = of(values);
            assert_eq!(histogram.non_finite(), values.len() as u64);
            assert_eq!((histogram.min(), histogram.max()), (None, None));
            assert_eq!(histogram.buckets(), Buckets::default());
        }
    }
}
